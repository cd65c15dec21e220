//go:build race

package daemon_test

// raceEnabled is true with the race detector, which makes tests several times slower.
const raceEnabled = true

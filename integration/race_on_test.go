//go:build race

package integration_test

// raceEnabled says whether the test has the race detector: then so has the binary.
const raceEnabled = true

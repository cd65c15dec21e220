//go:build !race

package integration_test

// raceEnabled reports whether the test has the race detector. The binary under test then has it
// too.
const raceEnabled = false

//go:build race

package serve_test

// The race detector makes everything about ten times slower, so the tests do less.
const (
	closeRaces  = 60
	sharedTails = 200
)

//go:build race

package serve_test

// The race detector makes everything some ten times slower.
const (
	closeRaces  = 60
	sharedTails = 200
)

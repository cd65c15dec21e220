//go:build !race

package serve_test

const (
	closeRaces  = 1000
	sharedTails = 1000
)

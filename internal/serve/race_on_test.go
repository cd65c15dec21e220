//go:build race

package serve_test

const closeRaces = 60 // the race detector makes each of them some ten times slower

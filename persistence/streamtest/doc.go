// Package streamtest is the contract of persistence.Store as tests: every backend runs the same suite.
//
//	suite.go   Backend, Run, what the tests share
//	append.go  appending, checkpoints, closing
//	read.go    ranges, pages, bounds
//	tail.go    waiting, waking, many at once
//	bounds.go  what pages say of where they are
//	retain.go  trimming, fingerprints
//	model.go   random operations against a model
//	events.go  events with honest entropy, for tests and benchmarks
package streamtest

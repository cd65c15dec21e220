// Package streamtest is the contract of persistence.Store as tests. Every backend runs the same
// suite.
//
//	suite.go     Backend, Run, helpers of the tests
//	append.go    appending, checkpoints, closing
//	read.go      ranges, pages, bounds
//	byname.go    reading by the stream's name
//	tail.go      waiting, waking, many tails at once
//	bounds.go    the positions that pages report
//	retain.go    trimming, fingerprints
//	delete.go    deleting a stream
//	consumer.go  named consumers
//	model.go     random operations compared with a model
//	events.go    events with realistic entropy, for tests and benchmarks
package streamtest

// Package consumer serves named consumers: positions in a stream that the store keeps
// (persistence.ConsumerStore), for workers that take batches and acknowledge them.
//
// The model: [State] makes all decisions about a consumer, without I/O, clock or randomness. A
// request looks at the state, does the [Step] that is next (it waits, or reads the entries of a
// batch), and then changes the state in one atomic step, provided that the state has not changed
// since the look. This makes any number of workers safe, at any number of daemons.
//
// The promises, each a property in the tests: every entry is handed out at least once; a batch has
// one holder at a time within its lease; an ack that was answered is never lost; batches go out in
// the stream's order, and a returned batch goes out again before any other.
//
// Memory holds only the requests that wait, so that an ack can wake them. One of the requests that
// wait for the same consumer reads the stream; the others wait for it.
//
//	state.go      State: the state machine, and tokens
//	consumer.go   Consumers: their routes; creating, describing, moving, removing one
//	definition.go what a consumer is created with, and where it begins
//	next.go       handing out a batch
//	lease.go      ack, nack, extend
//	queue.go      the requests that wait for a consumer
//	status.go     a consumer's status and lag
//	metrics.go    metrics
package consumer

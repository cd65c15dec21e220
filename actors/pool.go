package actors

import "tempestd/messages"

// Credits is how many batches a feed has: one is filled, one waits and one is committed. Together
// with the bounds of a batch they bound the memory between socket and store (I5).
const Credits = 3

// Pool holds a feed's free batches. It lives longer than the incarnations of the connection, so
// that a batch in flight always comes back to it.
type Pool chan *messages.Batch

// NewPool makes a pool of Credits empty batches.
func NewPool() Pool {
	p := make(Pool, Credits)
	for range Credits {
		p <- &messages.Batch{}
	}
	return p
}

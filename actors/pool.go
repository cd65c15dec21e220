package actors

import "tempestd/messages"

// Credits is how many batches a feed has: one being filled, one waiting, one being committed. With the bounds of a batch they bound
// the memory between socket and store (I5).
const Credits = 3

// Pool holds a feed's free batches. It outlives the connection's incarnations, so that a batch in flight finds its way back.
type Pool chan *messages.Batch

// NewPool makes a pool of Credits empty batches.
func NewPool() Pool {
	p := make(Pool, Credits)
	for range Credits {
		p <- &messages.Batch{}
	}
	return p
}

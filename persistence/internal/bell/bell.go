// Package bell wakes the tails that wait for the next change of a stream.
package bell

import (
	"runtime"
	"sync/atomic"
)

const (
	// perRope is how many tails are woken at a time. If all were woken at once, the next append
	// would wait behind them for a core.
	perRope = 64
	ropes   = 128
	// turns is how often the goroutine yields before it wakes the next rope: an HTTP answer takes
	// several turns.
	turns = 8
)

// Bell is rung once, at the next change of a stream. The waiting tails are spread over its ropes, a
// few on each. Ring releases one rope after the other and lets other goroutines run in between. The
// zero Bell is ready to use. No method takes a lock. It is safe for concurrent use.
type Bell struct {
	ropes [ropes]atomic.Pointer[chan struct{}]
}

// rung takes the place of every rope of a bell that was rung.
var rung = func() *chan struct{} {
	c := make(chan struct{})
	close(c)
	return &c
}()

// Rope returns a channel that is closed when the bell is rung. waiting is the number of tails that
// already wait; it selects the rope.
func (b *Bell) Rope(waiting int64) <-chan struct{} {
	at := &b.ropes[uint64(waiting)/perRope%ropes]
	rope := at.Load()
	if rope == nil {
		made := make(chan struct{})
		if rope = &made; !at.CompareAndSwap(nil, rope) {
			rope = at.Load()
		}
	}
	return *rope
}

// Ring wakes all waiting tails. If there are many, Ring returns before all are woken.
func (b *Bell) Ring() {
	b.let(0)
	for i := 1; i < ropes; i++ {
		if b.ropes[i].Load() != nil {
			go b.ringFrom(i)
			return
		}
		b.let(i)
	}
}

func (b *Bell) ringFrom(i int) {
	for ; i < ropes; i++ {
		for range turns {
			runtime.Gosched() // behind all goroutines that can run now
		}
		b.let(i)
	}
}

// let releases a rope.
func (b *Bell) let(i int) {
	if rope := b.ropes[i].Swap(rung); rope != nil {
		close(*rope)
	}
}

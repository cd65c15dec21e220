// Package bell wakes those who wait for what happens next in a stream.
package bell

import (
	"runtime"
	"sync/atomic"
)

const (
	// perRope is how many tails are woken at a time. All at once they would stand in front of the
	// next append wherever it waits for a core.
	perRope = 64
	ropes   = 128
	// turns is for how many turns of the cores others run before the next rope: an answer over HTTP
	// takes several.
	turns = 8
)

// Bell is rung once, for what happens next in a stream. Those who wait hang on its ropes, a few on
// each; ringing lets go of one rope after the other and lets others run in between. The zero Bell
// is ready. Nobody takes a lock.
type Bell struct {
	ropes [ropes]atomic.Pointer[chan struct{}]
}

// rung is every rope of a bell that was rung.
var rung = func() *chan struct{} {
	c := make(chan struct{})
	close(c)
	return &c
}()

// Rope is closed when the bell is rung. Which one it is goes by how many wait already.
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

// Ring wakes everyone. It does not wait for that where they are many.
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
			runtime.Gosched() // behind all who can run now
		}
		b.let(i)
	}
}

// let lets go of a rope.
func (b *Bell) let(i int) {
	if rope := b.ropes[i].Swap(rung); rope != nil {
		close(*rope)
	}
}

package persistence

import (
	"runtime"
	"sync/atomic"
)

const (
	// bellRope is how many tails are woken at a time. All at once they would stand in front of the next append wherever it waits for a core.
	bellRope  = 64
	bellRopes = 128
	// bellTurns is for how many turns of the cores others run before the next rope: an answer over HTTP takes several.
	bellTurns = 8
)

// bell is rung once, for what happens next in a stream. Those who wait hang on its ropes, a few on each; ringing lets go of one rope after the other and lets others
// run in between. The zero bell is ready. Nobody takes a lock.
type bell struct {
	ropes [bellRopes]atomic.Pointer[chan struct{}]
}

// rung is every rope of a bell that was rung.
var rung = func() *chan struct{} {
	c := make(chan struct{})
	close(c)
	return &c
}()

// rope is closed when the bell is rung. Which one it is goes by how many wait already.
func (b *bell) rope(waiting int64) <-chan struct{} {
	at := &b.ropes[uint64(waiting)/bellRope%bellRopes]
	rope := at.Load()
	if rope == nil {
		made := make(chan struct{})
		if rope = &made; !at.CompareAndSwap(nil, rope) {
			rope = at.Load()
		}
	}
	return *rope
}

// ring wakes everyone. It does not wait for that where they are many.
func (b *bell) ring() {
	b.let(0)
	for i := 1; i < bellRopes; i++ {
		if b.ropes[i].Load() != nil {
			go b.ringFrom(i)
			return
		}
		b.let(i)
	}
}

func (b *bell) ringFrom(i int) {
	for ; i < bellRopes; i++ {
		for range bellTurns {
			runtime.Gosched() // behind all who can run now
		}
		b.let(i)
	}
}

// let lets go of a rope.
func (b *bell) let(i int) {
	if rope := b.ropes[i].Swap(rung); rope != nil {
		close(*rope)
	}
}

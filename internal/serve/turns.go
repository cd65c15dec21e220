package serve

import (
	"context"
	"sync"
)

// turns wakes the requests that wait for a consumer when something has happened to it: a batch was acknowledged or given back, the position was moved.
// Nothing is kept of a consumer that nobody waits for. The zero value is ready, and safe for concurrent use.
type turns struct {
	mu    sync.Mutex
	queue map[string]*queue // by turnOf
}

// queue are those who wait for one consumer.
type queue struct {
	next    context.Context // done, and replaced, when something happens
	end     context.CancelFunc
	waiting int
	reading chan struct{} // full while one of them reads the stream: the others would read the same
}

// turn is one that waits.
type turn struct {
	turns *turns
	key   string
	next  context.Context // done when something has happened since the turn was joined

	reading chan struct{} // the queue's
}

// turnOf is a consumer's key. A "/" is in no name.
func turnOf(stream, consumer string) string { return stream + "/" + consumer }

// join begins to wait: what happens from now on ends the turn's context. leave must be called.
func (t *turns) join(key string) *turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	q := t.queue[key]
	if q == nil {
		if t.queue == nil {
			t.queue = make(map[string]*queue)
		}
		q = &queue{reading: make(chan struct{}, 1)}
		q.next, q.end = context.WithCancel(context.Background())
		t.queue[key] = q
	}
	q.waiting++
	return &turn{turns: t, key: key, next: q.next, reading: q.reading}
}

// happened wakes all who wait.
func (t *turns) happened(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if q := t.queue[key]; q != nil {
		q.end()
		q.next, q.end = context.WithCancel(context.Background())
	}
}

func (t *turn) leave() {
	t.turns.mu.Lock()
	defer t.turns.mu.Unlock()
	q := t.turns.queue[t.key]
	if q.waiting--; q.waiting == 0 {
		q.end()
		delete(t.turns.queue, t.key)
	}
}

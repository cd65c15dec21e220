package serve

import (
	"context"
	"sync"
)

// turns wakes the requests that wait for a consumer when the consumer changes: a batch was
// acknowledged or returned, or the position was moved. It keeps nothing for a consumer without
// waiting requests. The zero value is ready to use and safe for concurrent use.
type turns struct {
	mu    sync.Mutex
	queue map[string]*queue // by turnOf
}

// queue is the set of requests that wait for one consumer.
type queue struct {
	next    context.Context // done, and replaced, when the consumer changes
	end     context.CancelFunc
	waiting int
	reading chan struct{} // full while one of them reads the stream: the others would read the same
}

// turn is one waiting request.
type turn struct {
	turns *turns
	key   string
	next  context.Context // done when the consumer has changed since join

	reading chan struct{} // the queue's
}

// turnOf returns a consumer's key. No name contains a "/".
func turnOf(stream, consumer string) string { return stream + "/" + consumer }

// join begins to wait: the next change of the consumer ends the turn's context. The caller must
// call leave.
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

// happened wakes all requests that wait for the consumer.
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

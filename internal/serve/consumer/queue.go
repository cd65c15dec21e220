package consumer

import (
	"context"
	"sync"
)

// queues wake the requests that wait for a consumer when the consumer changes: a batch was
// acknowledged or returned, or the position was moved. They keep nothing for a consumer without
// waiting requests. The zero value is ready to use and safe for concurrent use.
type queues struct {
	mu sync.Mutex
	of map[key]*queue
}

// key names a consumer.
type key struct{ stream, name string }

// queue is the set of requests that wait for one consumer.
type queue struct {
	changed context.Context // done, and replaced, when the consumer changes
	change  context.CancelFunc
	waiting int
	reading chan struct{} // full while one of them reads the stream: the others would read the same
}

// waiter is one waiting request.
type waiter struct {
	queues  *queues
	key     key
	changed context.Context // done when the consumer has changed since join
	reading chan struct{}   // the queue's
}

// join begins to wait: the next change of the consumer ends the waiter's context. The caller must
// call leave.
func (q *queues) join(k key) *waiter {
	q.mu.Lock()
	defer q.mu.Unlock()
	of := q.of[k]
	if of == nil {
		if q.of == nil {
			q.of = make(map[key]*queue)
		}
		of = &queue{reading: make(chan struct{}, 1)}
		of.changed, of.change = context.WithCancel(context.Background())
		q.of[k] = of
	}
	of.waiting++
	return &waiter{queues: q, key: k, changed: of.changed, reading: of.reading}
}

// wake wakes all requests that wait for the consumer.
func (q *queues) wake(k key) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if of := q.of[k]; of != nil {
		of.change()
		of.changed, of.change = context.WithCancel(context.Background())
	}
}

func (w *waiter) leave() {
	w.queues.mu.Lock()
	defer w.queues.mu.Unlock()
	of := w.queues.of[w.key]
	if of.waiting--; of.waiting == 0 {
		of.change()
		delete(w.queues.of, w.key)
	}
}

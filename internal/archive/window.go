package archive

import (
	"context"
	"sync"
)

// window bounds the bytes that are in memory between the network and the consumer. Jobs have tickets
// in the order in which they are delivered. The first of them gets all that it asks for, or nothing
// would ever be delivered: so the bound is max, and one job more.
type window struct {
	mu   sync.Mutex
	free *sync.Cond
	used int64
	max  int64
	head int // the ticket that is delivered next
}

func newWindow(most int64) *window {
	w := &window{max: most}
	w.free = sync.NewCond(&w.mu)
	return w
}

// take waits until there is room for n bytes of the job with a ticket. Something must call wake when
// ctx ends.
func (w *window) take(ctx context.Context, ticket int, n int64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.used+n > w.max && ticket != w.head {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		w.free.Wait()
	}
	w.used += n
	return nil
}

// give returns the bytes of a job.
func (w *window) give(n int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.used -= n
	w.free.Broadcast()
}

// next makes the next job the first.
func (w *window) next() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.head++
	w.free.Broadcast()
}

func (w *window) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.free.Broadcast()
}

package pace

import (
	"context"
	"sync"
)

// Waits are the waits of the requests with one context, at hosts that said when to come again. It is
// safe for concurrent use.
type Waits struct {
	mu   sync.Mutex
	last uint64
	now  map[uint64]Wait
}

type waitsKey struct{}

// Watch returns a context and the Waits of the requests that are made with it. The Status of such a
// Wait is 0.
func Watch(ctx context.Context) (context.Context, *Waits) {
	w := &Waits{now: map[uint64]Wait{}}
	return context.WithValue(ctx, waitsKey{}, w), w
}

// Longest returns the wait that ends last, and whether there is one.
func (w *Waits) Longest() (longest Wait, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, wait := range w.now {
		if !ok || wait.Until.After(longest.Until) {
			longest, ok = wait, true
		}
	}
	return longest, ok
}

// watched has the Waits of ctx, if there are some, have a wait as long as it lasts.
func watched(ctx context.Context, wait Wait, sleep func() error) error {
	w, ok := ctx.Value(waitsKey{}).(*Waits)
	if !ok {
		return sleep()
	}
	w.mu.Lock()
	w.last++
	id := w.last
	w.now[id] = wait
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.now, id)
	}()
	return sleep()
}

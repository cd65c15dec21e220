package beside

import (
	"context"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"
)

// Crew runs goroutines that belong to no actor. Tell is required; Keep also needs Clock. A Crew is
// safe for concurrent use, and must not be copied.
type Crew struct {
	// Tell is called for every panic, in the goroutine that panicked.
	Tell  func(task string, p *Panic)
	Clock clockwork.Clock
	Fault Fault

	running sync.WaitGroup
}

// The bounds of the wait before Keep calls do again after a panic.
const (
	firstAgain = time.Second
	lastAgain  = time.Minute
)

// Start starts a goroutine that Wait waits for. When do panics, Start calls Tell and then, unless
// it is nil, failed with the panic.
func (c *Crew) Start(task string, do func(), failed func(error)) {
	c.running.Go(func() { c.guard(task, do, failed) })
}

// Keep starts a goroutine that runs until do returns; do should return when ctx ends. When do
// panics, Keep calls Tell, waits, and calls do again. The wait begins at firstAgain and doubles up
// to lastAgain.
func (c *Crew) Keep(ctx context.Context, task string, do func(context.Context)) {
	c.running.Go(func() {
		for wait := firstAgain; ctx.Err() == nil; wait = min(2*wait, lastAgain) {
			again := false
			c.guard(task, func() { do(ctx) }, func(error) { again = true })
			if !again {
				return
			}
			select {
			case <-c.Clock.After(wait):
			case <-ctx.Done():
			}
		}
	})
}

// After arranges that do is called in its own goroutine when ctx has ended, as context.AfterFunc
// does. Wait does not wait for it.
func (c *Crew) After(ctx context.Context, task string, do func()) (stop func() bool) {
	return context.AfterFunc(ctx, func() { c.guard(task, do, nil) })
}

// Wait waits for all goroutines that Start and Keep started.
func (c *Crew) Wait() { c.running.Wait() }

func (c *Crew) guard(task string, do func(), failed func(error)) {
	Do(task, c.Fault, do, func(p *Panic) {
		c.Tell(task, p)
		if failed != nil {
			failed(p)
		}
	})
}

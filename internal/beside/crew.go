package beside

import (
	"context"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"
)

// Crew is goroutines that are no actor's. Tell is required, Clock by Keep. It is safe for concurrent use, and must not be copied.
type Crew struct {
	Tell  func(task string, p *Panic) // is told of every panic, by the goroutine that panicked
	Clock clockwork.Clock
	Fault Fault

	running sync.WaitGroup
}

// The waits before what panicked is begun anew.
const (
	firstAgain = time.Second
	lastAgain  = time.Minute
)

// Start starts a goroutine that Wait waits for. When it panics that is told, and failed is called with it, unless that is nil.
func (c *Crew) Start(task string, do func(), failed func(error)) {
	c.running.Go(func() { c.guard(task, do, failed) })
}

// Keep starts a goroutine that goes on until do returns, which it should when ctx ends. When do panics that is told, and do is called again after a while.
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

// After arranges for do to be called in a goroutine of its own when ctx has ended, as context.AfterFunc does. Wait does not wait for it.
func (c *Crew) After(ctx context.Context, task string, do func()) (stop func() bool) {
	return context.AfterFunc(ctx, func() { c.guard(task, do, nil) })
}

// Wait waits for everything that Start and Keep started.
func (c *Crew) Wait() { c.running.Wait() }

func (c *Crew) guard(task string, do func(), failed func(error)) {
	Do(task, c.Fault, do, func(p *Panic) {
		c.Tell(task, p)
		if failed != nil {
			failed(p)
		}
	})
}

package archive

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// tries is how often a request is made that may succeed soon.
const tries = 6

// The waits between tries.
const (
	firstWait = 500 * time.Millisecond
	lastWait  = 30 * time.Second
)

// patience counts the tries of one request. Only what brings it further starts the count anew.
type patience struct {
	failed int
	wait   backoff.ExponentialBackOff
}

func newPatience() *patience {
	p := &patience{}
	p.progress()
	return p
}

func (p *patience) progress() {
	p.failed = 0
	p.wait = backoff.ExponentialBackOff{InitialInterval: firstWait, Multiplier: 2, MaxInterval: lastWait}
}

// retry waits after an error, and returns nil when the request may be made again. A quota is waited
// for, however long; other temporary errors are, a bounded number of times.
func (c *Client) retry(ctx context.Context, p *patience, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r, refused := errors.AsType[*RefusedError](err)
	if refused && errors.Is(err, ErrQuota) && !r.Until.IsZero() {
		c.gate.close(r.Until)
		return c.pass(ctx)
	}
	if !temporary(err) {
		return err
	}
	if p.failed++; p.failed >= tries {
		return err
	}
	until := c.opt.Clock.Now().Add(c.jitter(p.wait.NextBackOff()))
	if refused && r.Until.After(until) {
		until = r.Until
	}
	return c.pause(ctx, until, err)
}

// jitter is between half of d and all of it.
func (c *Client) jitter(d time.Duration) time.Duration {
	c.gate.mu.Lock()
	defer c.gate.mu.Unlock()
	return d/2 + time.Duration(c.opt.Rand.Int64N(int64(d/2)+1))
}

// gate holds all requests back while the quota is used up, and counts those that wait.
type gate struct {
	mu      sync.Mutex // guards Options.Rand as well
	until   time.Time  // the quota's
	waiters int
	told    time.Time // the latest that Options.Waiting was told
}

func (g *gate) close(until time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if until.After(g.until) {
		g.until = until
	}
}

// pass waits while the quota is used up.
func (c *Client) pass(ctx context.Context) error {
	for {
		c.gate.mu.Lock()
		until := c.gate.until
		c.gate.mu.Unlock()
		if !c.opt.Clock.Now().Before(until) {
			return nil
		}
		if err := c.pause(ctx, until, ErrQuota); err != nil {
			return err
		}
	}
}

// pause waits until a time, and says so.
func (c *Client) pause(ctx context.Context, until time.Time, why error) error {
	g := &c.gate
	g.mu.Lock()
	g.waiters++
	tell := until.After(g.told)
	if tell {
		g.told = until
	}
	g.mu.Unlock()
	if tell {
		c.waiting(until, why)
	}
	err := c.sleep(ctx, until)
	g.mu.Lock()
	g.waiters--
	over := g.waiters == 0
	if over {
		g.told = time.Time{}
	}
	g.mu.Unlock()
	if over {
		c.waiting(time.Time{}, nil)
	}
	return err
}

func (c *Client) waiting(until time.Time, why error) {
	if c.opt.Waiting != nil {
		c.opt.Waiting(until, why)
	}
}

func (c *Client) sleep(ctx context.Context, until time.Time) error {
	d := until.Sub(c.opt.Clock.Now())
	if d <= 0 {
		return nil
	}
	timer := c.opt.Clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.Chan():
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

package actors

import (
	"context"
	"errors"
	"time"

	"tempestd/internal/dedupe"
	"tempestd/internal/observe"
	"tempestd/messages"
	"tempestd/persistence"
)

// trouble is what a committer has with its store. It is told once, and once when it is over.
type trouble struct {
	since    time.Time // zero while there is none
	reason   string    // as last told
	full     bool      // … of a full disk
	refusals int       // appends that were refused, since the last one that was not
}

// patiently waits for a store that is full or away, or refuses what it is asked, with the job it is at held and the socket not read: the upstream is the buffer.
func (c *committer) patiently(ctx context.Context, do func() error) error {
	err := patiently(ctx, c.cfg.Clock, c.jobs.enough, c.stall, do)
	if err == nil && c.refusals == 0 {
		c.resume()
	}
	return err
}

// stall tells of trouble.
func (c *committer) stall(err error, wait time.Duration) {
	reason := StoreReason(err)
	_, full := errors.AsType[*persistence.NoSpaceError](err)
	if c.since.IsZero() {
		c.since = c.cfg.Clock.Now()
		c.cfg.Observer.Emit(observe.AppendFailed, c.cfg.Feed, "error", err.Error(), "retry_in", wait.String())
	} else if reason == c.reason || full && c.full {
		return // how much is free changes all the time
	}
	c.reason, c.full = reason, full
	c.feed(&messages.WriterStalled{Reason: reason})
}

// resume tells that the trouble is over.
func (c *committer) resume() {
	if c.since.IsZero() {
		return
	}
	c.cfg.Observer.Emit(observe.AppendResumed, c.cfg.Feed, "after", c.cfg.Clock.Since(c.since).String())
	c.feed(&messages.WriterResumed{})
	c.since = time.Time{}
}

// stored notes that an append was not refused.
func (c *committer) stored() {
	c.refusals = 0
	c.resume()
}

// recover goes on after a failure that is a state of the store's; any other it gives back.
func (c *committer) recover(ctx context.Context, err error) error {
	_, isRefused := errors.AsType[*refusedError](err)
	switch {
	case ctx.Err() != nil:
		return err
	case errors.Is(err, errEnough):
		c.giveUp()
		return nil
	case !isRefused:
		return err
	}
	c.forget()
	if err = c.startOver(ctx, err); errors.Is(err, errEnough) {
		c.giveUp()
		return nil
	}
	return err
}

// forget ends the epoch, and the backfill: what they brought and was not stored is read again.
func (c *committer) forget() {
	c.epoch.refuse()
	c.repair = repairing{}
	c.dedupe = dedupe.New(c.cfg.Stream, c.cfg.Dedupe)
}

// giveUp leaves what waits unstored: the feed is to end, and the store takes nothing.
func (c *committer) giveUp() {
	c.cfg.Observer.Emit(observe.AppendGivenUp, c.cfg.Feed, "reason", c.reason)
	c.forget()
	c.jobs.clear()
	c.feed(&messages.Drained{})
}

// startOver waits until a store that refused an append takes one that changes nothing, and lets the feed resume from what is stored then. What was refused may be
// part of it.
func (c *committer) startOver(ctx context.Context, refusal error) error {
	var wait time.Duration
	for range c.refusals + 1 {
		wait = nextWait(wait, refusal)
	}
	c.refusals++
	c.stall(refusal, wait)
	if err := sleep(ctx, c.cfg.Clock, c.jobs.enough, wait); err != nil {
		return err
	}
	probe := probe{stream: c.cfg.Stream}
	if err := patiently(ctx, c.cfg.Clock, c.jobs.enough, c.stall, func() error { return probe.try(ctx) }); err != nil {
		return err
	}
	if c.refusals == 1 {
		c.resume() // else it refuses what we have, and not everything
	}
	c.feed(&messages.ReadAgain{Epoch: c.epoch.number})
	return nil
}

// probe stores a stream's checkpoint once more.
type probe struct {
	stream persistence.Stream
	cp     messages.Checkpoint
	batch  messages.Batch
	begun  bool // an append is under way: only it may follow
}

func (p *probe) try(ctx context.Context) (err error) {
	if !p.begun {
		p.cp, err = p.stream.Checkpoint(ctx)
		if errors.Is(err, persistence.ErrNoCheckpoint) {
			return nil // nothing is stored: only an event can tell
		}
		if err != nil {
			return err
		}
	}
	_, err = p.stream.Append(ctx, &p.batch, p.cp)
	p.begun = persistence.Temporary(err)
	return err
}

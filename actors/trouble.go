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

// trouble is the committer's trouble with its store. It is reported once when it begins and once
// when it is over.
type trouble struct {
	since    time.Time // when it began, zero while there is none
	reason   string    // as last reported
	full     bool      // the last reported reason is a full disk
	refusals int       // appends that were refused since the last successful one
}

// retry calls do again and again while the store is full, is unavailable or refuses. Meanwhile
// the committer holds its job, and the connection does not read its socket: the upstream is the
// buffer.
func (c *committer) retry(ctx context.Context, do func() error) error {
	err := retry(ctx, c.cfg.Clock, c.jobs.draining, c.reportTrouble, do)
	if err == nil && c.refusals == 0 {
		c.endTrouble()
	}
	return err
}

// reportTrouble reports trouble when it begins, and when its reason changes.
func (c *committer) reportTrouble(err error, wait time.Duration) {
	reason := StoreReason(err)
	_, full := errors.AsType[*persistence.NoSpaceError](err)
	if c.since.IsZero() {
		c.since = c.cfg.Clock.Now()
		c.cfg.Observer.Emit(observe.AppendFailed, c.cfg.Feed, "error", err.Error(), "retry_in", wait.String())
	} else if reason == c.reason || full && c.full {
		// A full disk is not reported again: the free space in its message changes all the time.
		return
	}
	c.reason, c.full = reason, full
	c.feed(&messages.WriterTrouble{Reason: reason})
}

// endTrouble reports that the trouble is over.
func (c *committer) endTrouble() {
	if c.since.IsZero() {
		return
	}
	c.cfg.Observer.Emit(observe.AppendResumed, c.cfg.Feed, "after", c.cfg.Clock.Since(c.since).String())
	c.feed(&messages.WriterTrouble{})
	c.since = time.Time{}
}

// stored notes that an append succeeded.
func (c *committer) stored() {
	c.refusals = 0
	c.endTrouble()
}

// recover handles a failure that is a state of the store, so that the committer can go on. It
// returns every other failure.
func (c *committer) recover(ctx context.Context, err error) error {
	_, isRefused := errors.AsType[*refusedError](err)
	switch {
	case ctx.Err() != nil:
		return err
	case errors.Is(err, errGivenUp):
		c.giveUp()
		return nil
	case !isRefused:
		return err
	}
	c.abandon()
	if err = c.startOver(ctx, err); errors.Is(err, errGivenUp) {
		c.giveUp()
		return nil
	}
	return err
}

// abandon ends the epoch, the backfill and the fetch. Events of theirs that are not stored are read again.
func (c *committer) abandon() {
	c.epoch.close()
	c.backfill, c.fetch = backfillState{}, fetching{}
	c.dedupe = dedupe.New(c.cfg.Stream, c.cfg.Dedupe)
}

// giveUp drops the waiting jobs without storing them: the feed is stopping, and the store takes
// nothing.
func (c *committer) giveUp() {
	c.cfg.Observer.Emit(observe.AppendGivenUp, c.cfg.Feed, "reason", c.reason)
	c.abandon()
	c.jobs.clear()
	c.feed(&messages.Drained{})
}

// startOver waits until a store that refused an append accepts an append that changes nothing. Then
// it tells the feed to resume from the position that is stored by then, which may include the
// refused append.
func (c *committer) startOver(ctx context.Context, refusal error) error {
	var wait time.Duration
	for range c.refusals + 1 {
		wait = nextWait(wait, refusal)
	}
	c.refusals++
	c.reportTrouble(refusal, wait)
	if err := sleep(ctx, c.cfg.Clock, c.jobs.draining, wait); err != nil {
		return err
	}
	probe := probe{stream: c.cfg.Stream}
	if err := retry(ctx, c.cfg.Clock, c.jobs.draining, c.reportTrouble, func() error { return probe.try(ctx) }); err != nil {
		return err
	}
	if err := c.loadLedger(ctx); err != nil { // the refused append may have changed rows
		return err
	}
	if c.refusals == 1 {
		// Only after the first refusal. At a second one in a row the store refuses this batch,
		// although it accepts others, so the trouble is not over.
		c.endTrouble()
	}
	c.feed(&messages.ReadAgain{Epoch: c.epoch.number})
	return nil
}

// probe is an append that changes nothing: it stores a stream's checkpoint again.
type probe struct {
	stream persistence.Stream
	cp     messages.Checkpoint
	batch  messages.Batch
	begun  bool // an append is under way, and only the same append may follow it
}

func (p *probe) try(ctx context.Context) (err error) {
	if !p.begun {
		p.cp, err = p.stream.Checkpoint(ctx)
		if errors.Is(err, persistence.ErrNoCheckpoint) {
			// Nothing is stored, so there is no checkpoint to store again. Only an event can test
			// the store.
			return nil
		}
		if err != nil {
			return err
		}
	}
	_, err = p.stream.Append(ctx, &p.batch, p.cp)
	p.begun = persistence.Temporary(err)
	return err
}

package actors

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/dedupe"
	"tempestd/internal/observe"
	"tempestd/messages"
	"tempestd/persistence"
)

// futureTolerance is how far an event's upstream time may lie in our future. Beyond it the time is not believed: it would push every later ID, and
// the resume position, past the present, where an upstream answers a cursor with the live tip and no word of what it left out (PROTOCOL.md, 2).
const futureTolerance = 5 * time.Minute

// committer is the writer's goroutine. It takes jobs in order, so that "commit what you hold" is simply the next job.
type committer struct {
	cfg    WriterConfig
	dedupe *dedupe.Deduper
	feed   func(any) // sends to the feed
	cursor func(any) // sends to the cursor

	epoch messages.Epoch
	next  uint64 // the batch number that comes next in this epoch
	host  string
	at    messages.Checkpoint // position so far; every append stores its successor
	gap   *messages.Gap       // to be recorded before the next event
	doubt bool                // the gap is a suspicion, refuted when the stream holds something of the next batch
	dups  uint64              // duplicates dropped in this overlap

	sameClock     bool // the epoch's upstream is the one the position is of
	prove, accept bool // the epoch's first batch must hold something the stream has; without it a gap is recorded (accept), or the epoch refused

	repair repairing
}

// run does the jobs until ctx ends or one fails. A panic is a failure too: it must not take the process along.
func (c *committer) run(ctx context.Context, jobs <-chan any) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &Panic{Value: r, Stack: debug.Stack()}
		}
	}()
	if err := c.checkOpen(ctx); err != nil {
		return c.outcome(ctx, err)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case job := <-jobs:
			if err := c.do(ctx, job); err != nil {
				return c.outcome(ctx, err)
			}
		}
	}
}

// checkOpen refuses a stream that was closed for good before anything is read for it.
func (c *committer) checkOpen(ctx context.Context) error {
	var info persistence.StreamInfo
	err := c.patiently(ctx, func() (err error) {
		info, err = c.cfg.Stream.Info(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("look at the stream: %w", err)
	}
	return info.Ended()
}

// outcome tells the feed of a stream that takes no more appends through this handle, whatever is tried, and does nothing more then: the feed will end us. Any other
// failure is the writer's.
func (c *committer) outcome(ctx context.Context, err error) error {
	fenced, isFenced := errors.AsType[*persistence.FencedError](err)
	moved, isMoved := errors.AsType[*persistence.ConflictError](err)
	switch {
	case isFenced:
		c.feed(&messages.Fenced{Stream: fenced.Stream, Epoch: fenced.Epoch, Current: fenced.Current, Owner: fenced.Owner})
	case isMoved:
		c.feed(&messages.StreamMoved{Expected: moved.Expected, Found: moved.Found})
	case errors.Is(err, persistence.ErrStreamClosed):
		c.feed(&messages.StreamClosed{Reason: err.Error()})
	default:
		return err
	}
	<-ctx.Done()
	return nil
}

func (c *committer) do(ctx context.Context, job any) error {
	switch m := job.(type) {
	case *messages.AppendBatch:
		defer release(m.Batch, m.Release)
		return c.append(ctx, m.Batch)
	case *messages.Quiesce:
		c.next = 0 // no batch has this number: nothing more of the old epoch is accepted
		c.feed(&messages.Quiesced{Epoch: m.Epoch})
	case *messages.BeginEpoch:
		return c.begin(ctx, m)
	case *messages.EpochLive:
		return c.live(ctx, m)
	case *messages.SuspectGap:
		c.suspect(m)
	case *messages.BeginRepair:
		return c.beginRepair(ctx, m)
	case *messages.AppendRepair:
		defer release(m.Batch, m.Release)
		return c.appendRepair(ctx, m)
	case *messages.EndRepair:
		c.endRepair(m)
	case *messages.FilterChanged:
		c.at.Filter = m.Hash
	case *messages.RecordGap:
		return c.recordGapHere(ctx, m.Gap)
	case *messages.Drain:
		c.feed(&messages.Drained{})
	}
	return nil
}

// release gives a batch back to the feed's pool.
func release(b *messages.Batch, pool chan<- *messages.Batch) {
	b.Reset()
	pool <- b
}

// begin starts an epoch.
func (c *committer) begin(ctx context.Context, m *messages.BeginEpoch) error {
	c.epoch, c.next, c.host, c.at, c.gap, c.doubt = m.Epoch, 1, m.Host, m.Resume, m.Gap, false
	c.prove, c.accept, c.sameClock = m.Prove, m.Accept, m.SameClock
	if !m.Overlap {
		return nil
	}
	c.dups = 0
	return c.loadIndex(ctx)
}

// loadIndex begins an overlap.
func (c *committer) loadIndex(ctx context.Context) error {
	start := c.cfg.Clock.Now()
	var loaded dedupe.Loaded
	err := c.patiently(ctx, func() (err error) {
		loaded, err = c.dedupe.Begin(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("load the identity index: %w", err)
	}
	if !c.sameClock {
		c.dedupe.KeepOlder()
	}
	c.prove = c.prove && loaded.Fingerprints > 0 // an empty stream proves nothing
	c.cfg.Observer.Emit(observe.FeedOverlap, c.cfg.Feed, "epoch", uint64(c.epoch), "fingerprints", loaded.Fingerprints,
		"took", c.cfg.Clock.Since(start).String())
	return nil
}

// suspect notes a gap that the connection's first event makes likely.
func (c *committer) suspect(m *messages.SuspectGap) {
	if m.Epoch == c.epoch && c.gap == nil {
		c.gap, c.doubt = &m.Gap, true
		c.accept = c.accept || m.Said
	}
}

// live records a pending gap: the connection stands, so nothing after this moment is missing.
func (c *committer) live(ctx context.Context, m *messages.EpochLive) error {
	if m.Epoch != c.epoch || c.gap == nil || c.doubt {
		return nil
	}
	return c.recordGap(ctx, m.At.UnixMicro())
}

// recordGap appends the pending gap entry, and moves the position past it in the same step: a crash after it does not record it twice.
func (c *committer) recordGap(ctx context.Context, toUS int64) error {
	g := *c.gap
	g.ToUS = max(toUS, g.FromUS)
	c.gap = nil
	c.at = messages.Checkpoint{Position: messages.Position{TimeUS: g.ToUS}, Filter: c.at.Filter} // of no host: there is no event at it
	stored, err := c.store(ctx, gapBatch(g), 0)
	if err != nil {
		return err
	}
	c.feed(&messages.GapRecorded{Epoch: c.epoch, ID: stored.Last, Gap: g})
	return nil
}

// append makes one batch durable. A batch of another epoch, or one that does not follow the last, is dropped: what it holds is read
// again from the position that did not move.
func (c *committer) append(ctx context.Context, b *messages.Batch) error {
	if b.Epoch != c.epoch || b.Number != c.next {
		return nil
	}
	c.next++
	c.believeTimes(b)
	if len(b.Events) == 0 {
		// Nothing to append; but what was passed over is not asked for again. The cursor saves that by itself.
		if !c.prove {
			c.reach(b)
		}
		c.report(b, persistence.Appended{}, 0)
		return nil
	}
	marked, err := c.mark(ctx, b)
	if err != nil {
		return err
	}
	// What was skipped came before the stream, by the same clock; by another it proves nothing.
	known := marked.Duplicates > 0 || c.sameClock && marked.Skipped > 0
	if c.prove {
		c.prove = false
		switch {
		case known: // one is enough: what precedes it was stamped anew, or is from before we began
		case !c.accept:
			c.next = 0 // nothing more of this epoch
			c.feed(&messages.NoOverlap{Epoch: c.epoch})
			return nil
		case c.gap == nil:
			c.gap = &messages.Gap{Host: c.host, FromUS: c.at.CoveredUS(), ToUS: b.Events[0].TimeUS, Cause: messages.GapServerMoved}
		}
	}
	if c.doubt && known {
		c.gap, c.doubt = nil, false
	}
	if c.gap != nil {
		if err := c.recordGap(ctx, b.Events[0].TimeUS); err != nil {
			return err
		}
	}
	c.reach(b)
	for i := range b.Events {
		if e := &b.Events[i]; e.Kind == messages.KindCommit {
			c.at.CommitUS = max(c.at.CommitUS, e.TimeUS)
		}
	}
	return c.storeMarked(ctx, b, marked)
}

// reach moves the position to the batch's end.
func (c *committer) reach(b *messages.Batch) {
	if b.TimeUS > 0 {
		c.at.Host, c.at.Seq, c.at.TimeUS = c.host, b.Seq, max(c.at.TimeUS, b.TimeUS)
	}
}

// believeTimes replaces times that lie too far in the future by the present.
func (c *committer) believeTimes(b *messages.Batch) {
	now := c.cfg.Clock.Now()
	limit := now.Add(futureTolerance).UnixMicro()
	if b.TimeUS <= limit {
		return // it is the greatest of them
	}
	b.TimeUS = now.UnixMicro()
	implausible, first := 0, int64(0)
	for i := range b.Events {
		if b.Events[i].TimeUS > limit {
			if implausible++; implausible == 1 {
				first = b.Events[i].TimeUS
			}
			b.Events[i].TimeUS = now.UnixMicro()
		}
	}
	if implausible > 0 {
		c.cfg.Observer.Emit(observe.TimeImplausible, c.cfg.Feed, "epoch", uint64(c.epoch), "time_us", first, "count", implausible)
	}
}

// mark finds what the stream holds already.
func (c *committer) mark(ctx context.Context, b *messages.Batch) (m dedupe.Marked, err error) {
	err = c.patiently(ctx, func() error {
		marked, err := c.dedupe.Mark(ctx, b)
		// What was marked before an attempt was cut short is not marked again.
		m.Duplicates, m.Misses, m.FalseHits, m.Skipped = m.Duplicates+marked.Duplicates, marked.Misses, m.FalseHits+marked.FalseHits, m.Skipped+marked.Skipped
		m.Ended = marked.Ended
		return err
	})
	if err != nil {
		return m, fmt.Errorf("compare with the stored stream: %w", err)
	}
	metrics := c.cfg.Observer.Metrics()
	dropped := m.Duplicates + m.Skipped
	c.dups += uint64(dropped)
	if dropped > 0 {
		metrics.Duplicates.WithLabelValues(c.cfg.Feed).Add(float64(dropped))
	}
	if m.Misses > 0 {
		metrics.Misses.WithLabelValues(c.cfg.Feed).Add(float64(m.Misses))
	}
	if m.FalseHits > 0 {
		metrics.FalseHits.WithLabelValues(c.cfg.Feed).Add(float64(m.FalseHits))
	}
	if m.Ended {
		c.cfg.Observer.Emit(observe.FeedOverlapEnded, c.cfg.Feed, "epoch", uint64(c.epoch), "duplicates", c.dups)
	}
	return m, nil
}

// storeMarked is store for a batch that was compared with the stream. A gap entry is not, and must not come between the two.
func (c *committer) storeMarked(ctx context.Context, b *messages.Batch, m dedupe.Marked) error {
	stored, err := c.store(ctx, b, m.Duplicates+m.Skipped)
	if err == nil {
		c.dedupe.Appended(b, stored)
	}
	return err
}

// store appends what is not marked, with the position, and tells everyone.
func (c *committer) store(ctx context.Context, b *messages.Batch, dropped int) (persistence.Appended, error) {
	start := c.cfg.Clock.Now()
	cp := c.at
	cp.Saved = start.UnixMicro()
	var stored persistence.Appended
	// A failure for good may have landed or not, and is not tried again: the writer fails, the next one resumes from what is stored.
	err := c.patiently(ctx, func() (err error) {
		stored, err = c.cfg.Stream.Append(ctx, b, cp)
		return err
	})
	if err != nil {
		return stored, fmt.Errorf("append: %w", err)
	}
	c.cfg.Observer.Metrics().Append.WithLabelValues(c.cfg.Feed).Observe(c.cfg.Clock.Since(start).Seconds())
	if stored.Entries > 0 {
		c.at.LastID = stored.Last
	}
	c.report(b, stored, dropped)
	return stored, nil
}

// patiently waits for a store that is full or away, with the job it is at held and the socket not read: the upstream is the buffer. It says so
// once, and once when that is over.
func (c *committer) patiently(ctx context.Context, do func() error) error {
	var stalled time.Time
	err := patiently(ctx, c.cfg.Clock, func(err error, wait time.Duration) {
		if stalled.IsZero() {
			stalled = c.cfg.Clock.Now()
			c.cfg.Observer.Emit(observe.AppendFailed, c.cfg.Feed, "error", err.Error(), "retry_in", wait.String())
			c.feed(&messages.WriterStalled{Reason: err.Error()})
		}
	}, do)
	if err == nil && !stalled.IsZero() {
		c.cfg.Observer.Emit(observe.AppendResumed, c.cfg.Feed, "after", c.cfg.Clock.Since(stalled).String())
		c.feed(&messages.WriterResumed{})
	}
	return err
}

// report says what became of a batch.
func (c *committer) report(b *messages.Batch, stored persistence.Appended, dropped int) {
	metrics := c.cfg.Observer.Metrics()
	metrics.Frames.WithLabelValues(c.cfg.Feed).Add(float64(b.Frames))
	metrics.BadFrames.WithLabelValues(c.cfg.Feed).Add(float64(b.Bad))
	m := &messages.Committed{Epoch: c.epoch, Checkpoint: c.at, Entries: stored.Entries, Duplicates: dropped,
		Bad: b.Bad, Frames: b.Frames, At: c.cfg.Clock.Now()}
	if stored.Entries > 0 {
		m.NewestUS = newest(b)
		metrics.Stored.WithLabelValues(c.cfg.Feed).Add(float64(stored.Entries))
		metrics.BatchSize.WithLabelValues(c.cfg.Feed).Observe(float64(stored.Entries))
		metrics.Lag.WithLabelValues(c.cfg.Feed).Set(float64(m.At.UnixMicro()-m.NewestUS) / 1e6)
	}
	metrics.Position.WithLabelValues(c.cfg.Feed).Set(float64(c.at.TimeUS) / 1e6)
	c.cursor(m)
	c.feed(m)
}

// newest is the upstream time of the last event that was stored.
func newest(b *messages.Batch) int64 {
	for i := len(b.Events) - 1; i >= 0; i-- {
		if !b.Events[i].Drop {
			return b.Events[i].TimeUS
		}
	}
	return 0
}

// sleep waits for d or the end of ctx, whose error it returns.
func sleep(ctx context.Context, clock clockwork.Clock, d time.Duration) error {
	t := clock.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.Chan():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

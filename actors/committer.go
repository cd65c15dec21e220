package actors

import (
	"context"
	"errors"
	"fmt"

	"tempestd/internal/dedupe"
	"tempestd/internal/jetstream"
	"tempestd/internal/observe"
	"tempestd/messages"
	"tempestd/persistence"
)

// committer is the writer's goroutine. It does its jobs in order, so "commit everything that you
// hold" is simply one more job.
type committer struct {
	cfg    WriterConfig
	jobs   *jobs
	dedupe *dedupe.Deduper
	feed   func(any) // sends to the feed
	cursor func(any) // sends to the cursor

	epoch expected
	at    messages.Checkpoint // the position so far; every append stores the next one
	gap   *pendingGap
	dups  uint64 // duplicates dropped in this overlap

	// Rate limits of two log events: of implausible times, and of events from before the stream's
	// first entry.
	implausible, skipped limited

	repair repairing
	trouble
}

// run does the jobs until ctx ends, or until a job fails for good.
func (c *committer) run(ctx context.Context) error {
	err := c.checkOpen(ctx)
	for {
		if err != nil {
			if err = c.recover(ctx, err); err != nil {
				return c.outcome(ctx, err)
			}
		}
		job, ok := c.jobs.next(ctx)
		if !ok {
			return nil
		}
		err = c.do(ctx, job)
	}
}

// checkOpen refuses a stream that was closed for good, before anything is read for it.
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

// outcome tells the feed when the stream will take no append through this handle, whatever is
// tried. Then it waits until the feed ends the writer. It returns every other failure, and the
// writer fails with it.
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
		c.cfg.Fault.At("writer.commit")
		return c.append(ctx, m.Batch)
	case *messages.Quiesce:
		c.epoch.refuse() // from here on no batch of the old epoch is accepted
		c.feed(&messages.Quiesced{Epoch: m.Epoch})
	case *BeginEpoch:
		return c.begin(ctx, m)
	case *messages.Opened:
		return c.opened(ctx, m)
	case *messages.Proven:
		c.proven(m)
	case *messages.SuspectGap:
		c.suspect(m)
	case *messages.BeginBackfill:
		return c.beginBackfill(ctx, m)
	case *messages.AppendBackfill:
		defer release(m.Batch, m.Release)
		return c.appendBackfill(ctx, m)
	case *messages.EndBackfill:
		c.endBackfill(m)
	case *messages.FilterChanged:
		c.at.Filter, c.at.FilterUS = m.Hash, m.SinceUS
	case *messages.RecordGap:
		return c.recordGapHere(ctx, m.Gap)
	case *messages.Drain:
		c.feed(&messages.Drained{})
	}
	return nil
}

// release returns a batch to the feed's pool.
func release(b *messages.Batch, pool chan<- *messages.Batch) {
	b.Reset()
	pool <- b
}

// begin starts an epoch.
func (c *committer) begin(ctx context.Context, m *BeginEpoch) error {
	c.epoch, c.at, c.gap = expect(m), m.Resume, nil
	switch {
	case m.Plan.Gap != nil:
		c.gap = &pendingGap{Gap: *m.Plan.Gap, atOnce: true}
	case m.Plan.Skip != nil:
		c.gap = &pendingGap{Gap: *m.Plan.Skip}
	case m.Lost != nil:
		c.gap = &pendingGap{Gap: *m.Lost, lost: true}
	}
	if m.Plan.Overlap == jetstream.OverlapNone {
		return nil
	}
	c.dups = 0
	held := m.Plan.Proof == jetstream.ProofHeld
	loaded, err := c.loadIndex(ctx, m.Plan.Overlap == jetstream.OverlapShort, held && !m.Plan.Accept)
	if !m.bySeq() && m.Plan.Gap == nil && m.Plan.Skip == nil {
		// The request was for a time, rewound: the replay may begin before the stream's first
		// entry.
		c.dedupe.ExpectEarly()
	}
	if err == nil && held && loaded.Fingerprints == 0 {
		c.epoch.prove = false // an empty stream holds no event that could prove it
	}
	return err
}

// loadIndex begins an overlap: it loads the identity index.
func (c *committer) loadIndex(ctx context.Context, short, prove bool) (loaded dedupe.Loaded, err error) {
	start := c.cfg.Clock.Now()
	err = c.patiently(ctx, func() (err error) {
		loaded, err = c.dedupe.Begin(ctx, short, prove)
		return err
	})
	if err != nil {
		return loaded, fmt.Errorf("load the identity index: %w", err)
	}
	c.cfg.Observer.Emit(observe.FeedOverlap, c.cfg.Feed, "epoch", uint64(c.epoch.number), "fingerprints", loaded.Fingerprints,
		"took", c.cfg.Clock.Since(start).String())
	return loaded, nil
}

// opened handles the news that the connection is open. A certain gap ends here. A feed without a
// position gets its first one here, so that it can later ask for events that come while this first
// connection is down.
func (c *committer) opened(ctx context.Context, m *messages.Opened) error {
	if m.Epoch != c.epoch.number {
		return nil
	}
	c.epoch.open(m.Present, &c.at)
	if c.gap != nil && c.gap.atOnce && m.Present.Host != "" {
		// Where the host does not tell its clock, the gap ends at the first event: our own clock
		// may be the wrong one.
		return c.recordGap(ctx, m.Present)
	}
	if c.at.Covered().IsZero() {
		c.at.Position = beginning(m.Present)
		_, err := c.store(ctx, &messages.Batch{}, true)
		return err
	}
	return nil
}

// suspect notes a gap that the connection's first event makes likely.
func (c *committer) suspect(m *messages.SuspectGap) {
	if m.Epoch == c.epoch.number && c.gap == nil {
		c.gap = &pendingGap{Gap: m.Gap, doubt: true}
		c.epoch.said = true
	}
}

// proven notes that the replay begins where it should.
func (c *committer) proven(m *messages.Proven) {
	if m.Epoch == c.epoch.number && c.epoch.prove {
		c.epoch.prove = false
		c.feed(m)
	}
}

// append makes one batch durable. A batch of another epoch, or one that does not follow the last,
// is dropped: the position did not move, so its events are read again from there.
func (c *committer) append(ctx context.Context, b *messages.Batch) error {
	if !c.epoch.takes(b) {
		return nil
	}
	gaps := c.tellSkipped(b)
	c.believeTimes(b)
	unwanted := c.epoch.dropFormer(b)
	if !hasEvents(b) {
		// There is nothing to append, but the position moves past the events that were passed over,
		// so that they are not asked for again. The cursor saves that position by itself.
		c.report(b, persistence.Appended{}, unwanted, !c.epoch.prove && c.epoch.reach(b, &c.at, false))
		return nil
	}
	marked, err := c.mark(ctx, b)
	if err != nil {
		return err
	}
	switch c.epoch.judge(b, marked) {
	case refuse:
		c.epoch.refuse()
		c.feed(&messages.NoOverlap{Epoch: c.epoch.number, Outdated: c.epoch.said})
		return nil
	case wait:
		c.report(b, persistence.Appended{}, marked.Duplicates+marked.Early, false)
		return nil
	case accept:
		c.dedupe.AcceptStart()
		if marked, err = c.mark(ctx, b); err != nil {
			return err
		}
	case begins:
		c.feed(&messages.Proven{Epoch: c.epoch.number})
	}
	if c.epoch.accepts && c.gap == nil && !marked.FirstHeld {
		c.gap = &pendingGap{Gap: messages.Gap{Host: c.epoch.host, FromUS: c.at.Covered().US, Cause: messages.GapServerMoved}}
	}
	c.epoch.accepts = false
	if c.gap != nil && c.gap.refuted(b, marked) {
		c.gap = nil
	}
	if c.gap != nil {
		if err := c.recordGap(ctx, messages.UpstreamTime{Host: c.epoch.host, US: firstEvent(b)}); err != nil {
			return err
		}
	}
	moved := c.epoch.reach(b, &c.at, marked.Misses > 0 || marked.ReachedEnd || !c.dedupe.Overlaps())
	for i := range b.Events {
		if e := &b.Events[i]; e.Kind == messages.KindCommit {
			c.at.CommitUS = max(c.at.CommitUS, e.TimeUS)
		}
	}
	last := c.at.LastID
	if err := c.storeMarked(ctx, b, marked, moved); err != nil {
		return err
	}
	if gaps > 0 {
		c.tellGaps(b, last)
	}
	return nil
}

// believeTimes replaces each time that lies beyond the host's present, or too far beyond ours, by
// the present: otherwise it would push every later ID into the future. The position is limited to
// the host's present elsewhere, in reach.
func (c *committer) believeTimes(b *messages.Batch) {
	now := c.cfg.Clock.Now()
	present := min(b.PresentUS, now.Add(futureMost).UnixMicro())
	if b.PresentUS == 0 {
		present = now.Add(futureTolerance).UnixMicro()
	}
	b.PresentUS = present
	count, first := 0, int64(0)
	for i := range b.Events {
		if e := &b.Events[i]; e.TimeUS > present {
			if count++; count == 1 {
				first = e.TimeUS
			}
			e.TimeUS = min(present, now.UnixMicro())
		}
	}
	if count == 0 {
		return
	}
	if n, due := c.implausible.count(now, count); due {
		c.cfg.Observer.Emit(observe.TimeImplausible, c.cfg.Feed, "epoch", uint64(c.epoch.number), "time_us", first, "count", n)
	}
}

// mark marks the events that the stream already holds.
func (c *committer) mark(ctx context.Context, b *messages.Batch) (m dedupe.Marked, err error) {
	err = c.patiently(ctx, func() error {
		marked, err := c.dedupe.Mark(ctx, b)
		// An attempt that was cut short has marked events, and the next attempt does not count them
		// again.
		marked.Duplicates += m.Duplicates
		marked.FalseHits += m.FalseHits
		marked.Early += m.Early
		m = marked
		return err
	})
	if err != nil {
		return m, fmt.Errorf("compare with the stored stream: %w", err)
	}
	metrics := c.cfg.Observer.Metrics()
	c.dups += uint64(m.Duplicates)
	if m.Duplicates > 0 {
		metrics.Duplicates.WithLabelValues(c.cfg.Feed).Add(float64(m.Duplicates))
	}
	if m.Early > 0 {
		metrics.Skipped.WithLabelValues(c.cfg.Feed).Add(float64(m.Early))
		if n, due := c.skipped.count(c.cfg.Clock.Now(), m.Early); due {
			c.cfg.Observer.Emit(observe.EventsSkipped, c.cfg.Feed, "epoch", uint64(c.epoch.number), "count", n)
		}
	}
	if m.Misses > 0 {
		metrics.Misses.WithLabelValues(c.cfg.Feed).Add(float64(m.Misses))
	}
	if m.FalseHits > 0 {
		metrics.FalseHits.WithLabelValues(c.cfg.Feed).Add(float64(m.FalseHits))
	}
	if m.OverlapEnded {
		c.cfg.Observer.Emit(observe.FeedOverlapEnded, c.cfg.Feed, "epoch", uint64(c.epoch.number), "duplicates", c.dups)
	}
	return m, nil
}

// storeMarked is store for a batch that was compared with the stream. A gap entry is not compared,
// and must not be appended between mark and storeMarked.
func (c *committer) storeMarked(ctx context.Context, b *messages.Batch, m dedupe.Marked, moved bool) error {
	stored, err := c.commit(ctx, b)
	if err != nil {
		return err
	}
	c.dedupe.Appended(b, stored)
	c.report(b, stored, m.Duplicates+m.Early, moved)
	return nil
}

// store appends a batch of our own with the position, and reports it.
func (c *committer) store(ctx context.Context, b *messages.Batch, moved bool) (persistence.Appended, error) {
	stored, err := c.commit(ctx, b)
	if err == nil {
		c.report(b, stored, 0, moved)
	}
	return stored, err
}

// commit appends the events that are not marked, with the position.
func (c *committer) commit(ctx context.Context, b *messages.Batch) (persistence.Appended, error) {
	start := c.cfg.Clock.Now()
	cp := c.at
	cp.Saved = start.UnixMicro()
	var stored persistence.Appended
	// A refused append may be durable or not. It is not tried again: the epoch is over, and the
	// next one resumes from the stored position.
	err := c.patiently(ctx, func() (err error) {
		stored, err = c.cfg.Stream.Append(ctx, b, cp)
		return refused(err)
	})
	if err != nil {
		return stored, fmt.Errorf("append: %w", err)
	}
	c.stored()
	c.cfg.Observer.Metrics().Append.WithLabelValues(c.cfg.Feed).Observe(c.cfg.Clock.Since(start).Seconds())
	if stored.Entries > 0 {
		c.at.LastID = stored.Last
	}
	return stored, nil
}

// report tells the cursor, the feed and the metrics the outcome of a batch.
func (c *committer) report(b *messages.Batch, stored persistence.Appended, dropped int, moved bool) {
	c.cfg.Fault.At("writer.stored")
	metrics := c.cfg.Observer.Metrics()
	metrics.Frames.WithLabelValues(c.cfg.Feed).Add(float64(b.Frames))
	metrics.BadFrames.WithLabelValues(c.cfg.Feed).Add(float64(b.Bad))
	m := &messages.Committed{Epoch: c.epoch.number, Checkpoint: c.at, Moved: moved, Entries: stored.Entries, Duplicates: dropped,
		Bad: b.Bad, Frames: b.Frames, At: c.cfg.Clock.Now()}
	if stored.Entries > 0 {
		m.NewestUS = newest(b)
		metrics.Stored.WithLabelValues(c.cfg.Feed).Add(float64(stored.Entries))
		metrics.BatchSize.WithLabelValues(c.cfg.Feed).Observe(float64(stored.Entries))
	}
	metrics.Position.WithLabelValues(c.cfg.Feed).Set(float64(c.at.TimeUS) / 1e6)
	c.cursor(m)
	c.feed(m)
}

// newest is the upstream time of the last stored event, 0 for none.
func newest(b *messages.Batch) int64 {
	for i := len(b.Events) - 1; i >= 0; i-- {
		if !b.Events[i].Drop {
			return b.Events[i].TimeUS
		}
	}
	return 0
}

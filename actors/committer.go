package actors

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"tempestd/internal/crashpoint"
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
	bare   *dedupe.Bare
	feed   func(any) // sends to the feed
	cursor func(any) // sends to the cursor

	epoch      epoch
	checkpoint messages.Checkpoint // the position so far; every append stores the next one
	duplicates uint64              // duplicates dropped in this overlap

	// Rate limits of two log events: of implausible times, and of events from before the stream's
	// first entry.
	implausible, early rateLimit

	backfill backfillState
	ledger   ledger
	fetch    fetching
	found    finding
	// unended is the ID of the gap that ended when the epoch's connection opened, until its first event
	// comes; "" for none.
	unended string
	beside  func(point string, do func(ctx context.Context) any) // runs until the writer ends
	trouble
}

// run does the jobs until ctx ends, or until a job fails for good.
func (c *committer) run(ctx context.Context) error {
	err := c.checkOpen(ctx)
	if err == nil {
		err = c.loadLedger(ctx)
	}
	for {
		if err != nil {
			if err = c.recover(ctx, err); err != nil {
				return c.reportEnd(ctx, err)
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
	err := c.retry(ctx, func() (err error) {
		info, err = c.cfg.Stream.Info(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("look at the stream: %w", err)
	}
	return info.Ended()
}

// reportEnd tells the feed when the stream will take no append through this handle, whatever is
// tried. Then it waits until the feed ends the writer. It returns every other failure, and the
// writer fails with it.
func (c *committer) reportEnd(ctx context.Context, err error) error {
	fenced, isFenced := errors.AsType[*persistence.FencedError](err)
	moved, isMoved := errors.AsType[*persistence.ConflictError](err)
	switch {
	case isFenced:
		c.feed(&messages.Fenced{Epoch: fenced.Epoch, Owner: fenced.Owner})
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
		c.epoch.close() // from here on no batch of the old epoch is accepted
		c.feed(&messages.Quiesced{Epoch: m.Epoch})
	case *BeginEpoch:
		return c.begin(ctx, m)
	case *messages.EpochOpened:
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
	case *messages.BeginFetch:
		return c.beginFetch(ctx, m)
	case *indexLoaded:
		c.fetchReady(m)
	case *messages.AppendFetched:
		defer release(m.Batch, m.Release)
		return c.appendFetched(ctx, m)
	case *messages.EndFetch:
		c.endFetch(ctx, m)
	case *messages.ChangeGap:
		return c.changeGap(ctx, m)
	case *messages.LedgerQuery:
		c.tellLedger()
	case *gapsFound:
		c.gapsFound(ctx, m)
	case *messages.FilterChanged:
		c.checkpoint.Filter, c.checkpoint.FilterUS = m.Hash, m.SinceUS
	case *messages.RecordGap:
		return c.recordGapAtEnd(ctx, m.Gap)
	case *messages.Drain:
		c.feed(&messages.Drained{})
	}
	return nil
}

// release returns a batch to its pool, unless the batch was replaced there meanwhile.
func release(b *messages.Batch, pool chan<- *messages.Batch) {
	b.Reset()
	select {
	case pool <- b:
	default:
	}
}

// begin starts an epoch.
func (c *committer) begin(ctx context.Context, m *BeginEpoch) error {
	c.epoch, c.checkpoint, c.unended = newEpoch(m), m.Resume, ""
	c.findGaps()
	if m.Plan.Overlap == jetstream.OverlapNone {
		return nil
	}
	c.duplicates = 0
	loaded, err := c.loadIndex(ctx, m.Plan.Overlap == jetstream.OverlapShort, c.epoch.needsHeld())
	if !m.bySeq() && m.Plan.Gap == nil && m.Plan.Skip == nil {
		// The request was for a time, rewound: the replay may begin before the stream's first
		// entry.
		c.dedupe.ExpectEarly()
	}
	if err == nil && m.Plan.IfTrimmed && !loaded.Trimmed {
		c.dedupe.AcceptStart()
		c.proven(&messages.Proven{Epoch: c.epoch.number})
	}
	if err == nil && loaded.Fingerprints == 0 && c.epoch.needsHeld() {
		c.epoch.expectation = c.epoch.proven() // an empty stream holds no event that could prove it
	}
	return err
}

// loadIndex begins an overlap: it loads the identity index.
func (c *committer) loadIndex(ctx context.Context, short, prove bool) (loaded dedupe.Loaded, err error) {
	start := c.cfg.Clock.Now()
	err = c.retry(ctx, func() (err error) {
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
func (c *committer) opened(ctx context.Context, m *messages.EpochOpened) error {
	if m.Epoch != c.epoch.number {
		return nil
	}
	c.epoch.open(m.Present, &c.checkpoint)
	if c.epoch.kind == expectsGap && m.Present.Host != "" {
		// Where the host does not tell its clock, the gap ends at the first event: our own clock
		// may be the wrong one.
		c.epoch.kind = expectsNew
		g := c.epoch.endingAt(m.Present.US)
		if err := c.recordGap(ctx, g, m.Present, nil); err != nil {
			return err
		}
		c.unended = messages.GapID(c.cfg.Feed, g)
		return nil
	}
	if c.checkpoint.Covered().IsZero() {
		c.checkpoint.Position = beginning(m.Present)
		_, err := c.store(ctx, &messages.Batch{}, true)
		return err
	}
	return nil
}

// suspect notes a gap that the connection's first event makes likely.
func (c *committer) suspect(m *messages.SuspectGap) {
	if m.Epoch == c.epoch.number {
		c.epoch.expectation = c.epoch.suspect(m.Gap)
	}
}

// proven notes that the connection's first event is the one at the position.
func (c *committer) proven(m *messages.Proven) {
	if m.Epoch == c.epoch.number && c.epoch.unproven() {
		c.epoch.expectation = c.epoch.proven()
		c.feed(m)
	}
}

// append makes one batch durable. A batch of another epoch, or one that does not follow the last,
// is dropped: the position did not move, so its events are read again from there.
func (c *committer) append(ctx context.Context, b *messages.Batch) error {
	if !c.epoch.accepts(b) {
		return nil
	}
	gaps, present := c.insertGaps(b), b.PresentUS
	c.boundTimes(b)
	unwanted := c.epoch.dropUnwanted(b)
	if firstStored(b) == nil {
		// There is nothing to append, but the position moves past the events that were passed over,
		// so that they are not asked for again. The cursor saves that position by itself.
		moved := !c.epoch.unproven() && c.epoch.reach(b, &c.checkpoint, false)
		if moved {
			filled(b, &c.checkpoint)
		}
		c.report(b, persistence.Appended{}, unwanted, moved)
		return nil
	}
	marked, ok, err := c.admit(ctx, b, present)
	if err != nil || !ok {
		return err
	}
	moved := c.epoch.reach(b, &c.checkpoint, marked.Misses > 0 || marked.ReachedEnd || !c.dedupe.Overlaps())
	filled(b, &c.checkpoint)
	for i := range b.Events {
		if e := &b.Events[i]; e.Kind == messages.KindCommit {
			c.checkpoint.CommitUS = max(c.checkpoint.CommitUS, e.TimeUS)
		}
	}
	var recorded []*messages.GapRecorded
	if gaps > 0 {
		recorded = c.recorded(b)
	}
	ended := c.endOfGap(b)
	if err := c.storeMarked(ctx, b, marked, moved, append(rowsOf(recorded), ended...)...); err != nil {
		return err
	}
	for _, row := range ended {
		c.feed(&messages.GapChanged{Row: row})
	}
	for _, m := range recorded {
		c.feed(m)
	}
	return nil
}

// admit compares the batch with the stream, and does what the verdicts on it ask for before it is
// appended. It says whether the batch is to be appended. presentUS is the host's present, 0 for
// unknown.
func (c *committer) admit(ctx context.Context, b *messages.Batch, presentUS int64) (marked dedupe.Marked, ok bool, err error) {
	marked, err = c.mark(ctx, b)
	for err == nil {
		expected := c.epoch.expectation
		var v verdict
		v, c.epoch.expectation = judge(expected, observed(b, marked))
		switch v {
		case verdictStore:
			return marked, true, nil
		case verdictWait:
			c.report(b, persistence.Appended{}, marked.Duplicates+marked.Early, false)
			return marked, false, nil
		case verdictRefuse:
			c.epoch.close()
			c.feed(&messages.NoOverlap{Epoch: c.epoch.number, Outdated: expected.outdated()})
			return marked, false, nil
		case verdictProve:
			c.feed(&messages.Proven{Epoch: c.epoch.number})
		case verdictRecord:
			err = c.recordGap(ctx, expected.endingAt(cmp.Or(gapEnd(b, presentUS), firstUS(b))), messages.UpstreamTime{Host: c.epoch.host, US: firstUS(b)}, firstStored(b))
		case verdictAccept:
			c.dedupe.AcceptStart()
			marked, err = c.mark(ctx, b)
		}
	}
	return marked, false, err
}

// mark marks the events that the stream already holds.
func (c *committer) mark(ctx context.Context, b *messages.Batch) (m dedupe.Marked, err error) {
	err = c.retry(ctx, func() error {
		bare, err := c.bare.Mark(ctx, b)
		if m.Duplicates += bare; err != nil {
			return err
		}
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
	c.countMarked(m)
	return m, nil
}

// storeMarked is store for a batch that was compared with the stream.
func (c *committer) storeMarked(ctx context.Context, b *messages.Batch, m dedupe.Marked, moved bool, rows ...messages.GapRow) error {
	stored, err := c.commit(ctx, b, rows...)
	if err != nil {
		return err
	}
	c.dedupe.Appended(b, stored)
	c.bare.Appended(b, stored, false)
	if c.fetch.index != nil {
		c.fetch.index.Noted(b, stored)
	}
	c.report(b, stored, m.Duplicates+m.Early, moved)
	return nil
}

// store appends a batch of our own with the position, and reports it.
func (c *committer) store(ctx context.Context, b *messages.Batch, moved bool, rows ...messages.GapRow) (persistence.Appended, error) {
	stored, err := c.commit(ctx, b, rows...)
	if err == nil {
		c.report(b, stored, 0, moved)
	}
	return stored, err
}

// commit appends the events that are not marked, with the position and the rows that change with
// them.
func (c *committer) commit(ctx context.Context, b *messages.Batch, rows ...messages.GapRow) (persistence.Appended, error) {
	if !c.ledger.loaded { // its rows must stay in the checkpoint
		if err := c.loadLedger(ctx); err != nil {
			return persistence.Appended{}, err
		}
	}
	start := c.cfg.Clock.Now()
	c.checkpoint.Ledger = c.found.complete
	cp := c.checkpoint
	cp.Saved, cp.Gaps, cp.Bare = start.UnixMicro(), c.ledger.with(rows), c.bare.Range()
	var stored persistence.Appended
	// A refused append may be durable or not. It is not tried again: the epoch is over, and the
	// next one resumes from the stored position.
	crashpoint.Pass(crashpoint.WriterAppend)
	err := c.retry(ctx, func() (err error) {
		stored, err = c.cfg.Stream.Append(ctx, b, cp)
		return refused(err)
	})
	if err != nil {
		return stored, fmt.Errorf("append: %w", err)
	}
	crashpoint.Pass(crashpoint.WriterAppended)
	c.stored()
	c.cfg.Observer.Metrics().Append.WithLabelValues(c.cfg.Feed).Observe(c.cfg.Clock.Since(start).Seconds())
	if stored.Entries > 0 {
		c.checkpoint.LastID = stored.Last
	}
	for _, row := range rows {
		c.ledger.change(row, c.ledger.rows[row.ID].State != row.State)
	}
	c.saveGaps(ctx)
	return stored, nil
}

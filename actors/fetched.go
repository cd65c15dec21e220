package actors

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"tempestd/internal/crashpoint"
	"tempestd/internal/dedupe"
	"tempestd/messages"
	"tempestd/persistence"
)

// fetching is the committer's part in the fetch of a gap.
type fetching struct {
	id    uint64 // 0 while there is none
	gap   string // the ID of the row
	next  uint64 // the batch number that comes next; 0 until the index is loaded
	index *dedupe.Fetch
	bytes int64  // of the row when the fetch began
	spare []byte // the memory of the batch before, for the next one
}

// indexLoaded is the message of the goroutine that loads an index. A fetch is known by itself: a
// backfill actor that was restarted numbers its fetches anew.
type indexLoaded struct {
	fetch *dedupe.Fetch
	index *dedupe.Index
	err   error
}

// errNoFetch ends a fetch that another incarnation of the writer was asked for.
var errNoFetch = errors.New("the writer was restarted meanwhile, or its store refused an append")

// beginFetch changes the row, and has the index loaded beside the committer: live batches must not
// wait for it.
func (c *committer) beginFetch(ctx context.Context, m *messages.BeginFetch) error {
	c.fetch = fetching{}
	row, known := c.ledger.rows[m.Row.ID]
	switch {
	case !known:
		c.feed(&messages.FetchDone{ID: m.ID, Row: m.Row, Err: messages.ErrNoGap})
		return nil
	case c.epoch.isNone(), c.epoch.lost():
		c.feed(&messages.FetchDone{ID: m.ID, Row: row, Err: errNoFetch})
		return nil
	}
	row = c.changed(row, m.Row)
	c.ledger.change(row, true)
	c.saveGaps(ctx)
	c.feed(&messages.GapChanged{Row: row})
	index := dedupe.NewFetch(c.cfg.Stream, c.cfg.Dedupe.Horizon, c.ledger.around(row)...)
	c.fetch = fetching{id: m.ID, gap: row.ID, index: index, bytes: row.Bytes}
	c.beside("writer.index", func(ctx context.Context) any {
		loaded, err := index.Load(ctx)
		c.jobs.add(&indexLoaded{index, loaded, err})
		return nil
	})
	return nil
}

// around returns the parts of the stream that may hold events of the gap: the gap's own place, and
// what was recovered of gaps that it overlaps.
func (l *ledger) around(row messages.GapRow) []dedupe.Span {
	near := []dedupe.Span{dedupe.SpanOf(row.FromUS, row.ToUS)}
	for _, other := range l.rows {
		if other.Recovered > 0 && other.FromUS <= row.ToUS && row.FromUS <= other.ToUS {
			near = append(near, dedupe.Span{From: other.FirstID, To: other.LastID})
		}
	}
	return near
}

// fetchReady goes on when the index is loaded.
func (c *committer) fetchReady(m *indexLoaded) {
	if m.fetch != c.fetch.index {
		return
	}
	id, row := c.fetch.id, c.ledger.rows[c.fetch.gap]
	if m.err != nil {
		c.fetch = fetching{}
		c.feed(&messages.FetchDone{ID: id, Row: row, Err: m.err})
		return
	}
	c.fetch.index.Use(m.index)
	c.fetch.next = 1
	c.feed(&messages.FetchReady{ID: id, Row: row})
}

// appendFetched appends what the stream lacks of a fetched batch. The position stays.
func (c *committer) appendFetched(ctx context.Context, m *messages.AppendFetched) error {
	f := &c.fetch
	if m.ID != f.id || m.Batch.Number != f.next || c.epoch.lost() {
		if m.ID == f.id {
			*f = fetching{}
		}
		c.feed(&messages.FetchDone{ID: m.ID, Err: errNoFetch})
		return nil
	}
	f.next++
	c.boundTimes(m.Batch)
	row := c.ledger.rows[f.gap]
	bare := withoutRevs(row.Source)
	mark := c.markFetched
	if bare {
		mark = c.markBare
	}
	marked, err := mark(ctx, m.Batch)
	if err != nil {
		return fmt.Errorf("compare with the stored stream: %w", err)
	}
	row.Version++
	row.ChangedAt = c.cfg.Clock.Now()
	row.Held += int64(marked.Duplicates)
	row.Bytes, row.Progress = max(row.Bytes, f.bytes+m.Bytes), m.At
	if m.Planned > 0 { // by this fetch; the ones before it were no part of its plan
		row.Planned = f.bytes + m.Planned
	}
	first, last, n := c.ids(m.Batch)
	if n == 0 {
		c.ledger.change(row, false) // the place alone may be saved later
		c.saveGaps(ctx)
		c.feed(&messages.GapChanged{Row: row})
		return nil
	}
	row.Recovered += int64(n)
	if row.FirstID.IsZero() {
		row.FirstID = first
	}
	row.LastID = last
	f.spare = addRepair(f.spare, m.Batch, messages.Repair{Gap: row.ID, Source: row.Source})
	if bare {
		c.bare.Expect(first, last)
	}
	stored, err := c.commit(ctx, m.Batch, row)
	if err != nil {
		return err
	}
	crashpoint.Pass(crashpoint.FetchAppended)
	f.index.Appended(m.Batch, stored)
	c.dedupe.Noted(m.Batch, stored)
	c.bare.Appended(m.Batch, stored, bare)
	c.reportFetched(row, stored)
	return nil
}

// markFetched marks the events of a batch with revs that the stream holds.
func (c *committer) markFetched(ctx context.Context, b *messages.Batch) (marked dedupe.Marked, err error) {
	held, err := c.bare.Mark(ctx, b)
	if err != nil {
		return marked, err
	}
	err = c.retry(ctx, func() (err error) {
		held += marked.Duplicates
		marked, err = c.fetch.index.Mark(ctx, b)
		return err
	})
	marked.Duplicates += held
	return marked, err
}

// ids returns the IDs that the batch's events get, and how many there are.
func (c *committer) ids(b *messages.Batch) (first, last messages.EntryID, n int) {
	last = c.checkpoint.LastID
	for i := range b.Events {
		e := &b.Events[i]
		if e.Drop {
			continue
		}
		last = messages.DeriveID(e.TimeUS, last)
		if n++; n == 1 {
			first = last
		}
	}
	return first, last, n
}

// endFetch answers when everything that was fetched is stored.
func (c *committer) endFetch(ctx context.Context, m *messages.EndFetch) {
	f := &c.fetch
	done := &messages.FetchDone{ID: m.ID, Row: c.ledger.rows[f.gap]}
	switch {
	case m.ID != f.id:
		done.Err = errNoFetch
		c.feed(done)
		return
	case m.Batches != f.next-1:
		done.Err = errNoFetch
	default:
		row := done.Row
		row.Version++
		row.Bytes = max(row.Bytes, f.bytes+m.Bytes)
		c.ledger.change(row, true)
		c.saveGaps(ctx)
		done.Row = row
	}
	c.fetch = fetching{}
	c.feed(done)
}

// reportFetched reports what was appended for a gap. It says nothing of the feed's own progress.
func (c *committer) reportFetched(row messages.GapRow, stored persistence.Appended) {
	c.cfg.Fault.At("writer.stored")
	m := &messages.Committed{Epoch: c.epoch.number, Checkpoint: c.checkpoint, Entries: stored.Entries, At: c.cfg.Clock.Now()}
	c.cfg.Observer.Metrics().Stored.WithLabelValues(c.cfg.Feed).Add(float64(stored.Entries))
	c.cursor(m)
	c.feed(m)
	c.feed(&messages.GapChanged{Row: row})
}

// addRepair adds the member "repair" to the events that are to be stored, as their last one. An
// event that has it from its source keeps that. The batch gets the spare memory, and its own is
// returned.
func addRepair(spare []byte, b *messages.Batch, r messages.Repair) []byte {
	member := fmt.Appendf(nil, `,"repair":{"gap":%q,"source":%q`, r.Gap, r.Source)
	unknown := fmt.Appendf(nil, `,"time":%q`, messages.RepairTimeUnknown)
	buf := slices.Grow(spare[:0], len(b.Buf)+len(b.Events)*(len(member)+len(unknown)+len(`}}`)))
	for i := range b.Events {
		e := &b.Events[i]
		if e.Drop {
			continue
		}
		event := bytes.TrimRight(b.Bytes(i), " \t\r\n")
		off := len(buf)
		if tail := event[max(0, len(event)-2*len(member)):]; bytes.Contains(tail, member) {
			buf = append(buf, event...)
		} else {
			buf = append(append(buf, event[:len(event)-1]...), member...)
			if withoutRevs(r.Source) && timeUnknown(event) {
				buf = append(buf, unknown...)
			}
			buf = append(buf, `}}`...)
		}
		e.Off, e.Len = uint32(off), uint32(len(buf)-off)
	}
	spare, b.Buf = b.Buf, buf
	return spare
}

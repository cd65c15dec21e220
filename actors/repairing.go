package actors

import (
	"context"
	"errors"

	"tempestd/messages"
)

// repairing is the committer's part in a backfill.
type repairing struct {
	id    uint64
	next  uint64 // the batch number that comes next
	found int
	known int   // events in the wanted range that the stream held
	endUS int64 // how far the backfill has come, Unix µs

	fromUS, toUS int64
}

// narrow drops the events outside of the range that was asked for: if the stream lacks them, the
// live connection brings them. It says whether it dropped any. These events are compared with the
// stream before, because only the comparison shows what is from before the stream's first entry.
func (r *repairing) narrow(b *messages.Batch) (any bool) {
	for i := range b.Events {
		e := &b.Events[i]
		switch outside := e.TimeUS < r.fromUS || e.TimeUS > r.toUS; {
		case outside && !e.Drop:
			e.Drop, any = true, true
		case !outside && e.Drop:
			r.known++
		}
	}
	return any
}

// errWriterRestarted ends a backfill whose earlier batches went to another incarnation of the
// writer.
var errWriterRestarted = errors.New("the writer was restarted meanwhile")

// beginBackfill loads the identity index. The stream may hold events that the backfill brings, and
// the backfill may bring events before the live connection does.
func (c *committer) beginBackfill(ctx context.Context, m *messages.BeginBackfill) error {
	c.repair = repairing{id: m.ID, next: 1, fromUS: m.FromUS, toUS: m.ToUS}
	// A proof that the live connection still owes stays required.
	_, err := c.loadIndex(ctx, false, c.epoch.needsHeld())
	c.dedupe.ExpectEarly()
	return err
}

// appendBackfill appends the events that the stream lacks. The position stays, because it belongs
// to the live connection.
func (c *committer) appendBackfill(ctx context.Context, m *messages.AppendBackfill) error {
	if m.ID != c.repair.id || m.Batch.Number != c.repair.next {
		return nil
	}
	c.repair.next++
	end := max(c.repair.endUS, m.Batch.TimeUS)
	c.boundTimes(m.Batch)
	marked, err := c.mark(ctx, m.Batch)
	if err == nil && c.repair.narrow(m.Batch) {
		dups := marked.Duplicates
		marked, err = c.mark(ctx, m.Batch) // takes back the marks of the dropped events
		marked.Duplicates += dups
	}
	if err != nil {
		return err
	}
	for i := range m.Batch.Events {
		if !m.Batch.Events[i].Drop {
			c.repair.found++
		}
	}
	if err := c.storeMarked(ctx, m.Batch, marked, false); err != nil {
		return err
	}
	c.repair.endUS = end
	return nil
}

func (c *committer) endBackfill(m *messages.EndBackfill) {
	done := &messages.BackfillDone{ID: m.ID, Found: c.repair.found, Known: c.repair.known, Err: m.Err}
	if done.Err == nil && (m.ID != c.repair.id || m.Batches != c.repair.next-1) {
		done.Err = errWriterRestarted
	}
	if m.ID == c.repair.id {
		done.EndUS = c.repair.endUS
	}
	c.repair = repairing{}
	c.feed(done)
}

// recordGapHere appends a gap entry at the end of the stream. The position stays. A writer that no
// epoch has told its position yet does nothing: the feed asks again in the next epoch. A damaged
// block is recorded once, however often it is found.
func (c *committer) recordGapHere(ctx context.Context, g messages.Gap) error {
	if c.epoch.isNone() {
		return nil
	}
	if g.Cause == messages.GapCorrupt {
		if !c.dedupe.Overlaps() {
			if _, err := c.loadIndex(ctx, false, false); err != nil {
				return err
			}
		}
		if c.dedupe.Holds(gapBatch(g).Events[0].Fingerprint) {
			c.feed(&messages.GapRecorded{Epoch: c.epoch.number, Gap: g, Known: true})
			return nil
		}
	}
	return c.storeGap(ctx, g, false)
}

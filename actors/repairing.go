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
	known int   // of what was asked for
	endUS int64 // of what was taken so far, Unix µs

	fromUS, toUS int64
}

// narrow leaves out what the stream lacks and was not asked for: it is the live connection's. It says whether there was any. What is outside is compared with the
// stream all the same: that tells what is from before the stream began.
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

// errWriterRestarted ends a backfill whose earlier batches another incarnation of the writer took.
var errWriterRestarted = errors.New("the writer was restarted meanwhile")

// beginRepair loads the identity index: what a backfill brings may be stored already, and what the live connection brings may come by the backfill first.
func (c *committer) beginRepair(ctx context.Context, m *messages.BeginRepair) error {
	c.repair = repairing{id: m.ID, next: 1, fromUS: m.FromUS, toUS: m.ToUS}
	_, err := c.loadIndex(ctx, false, c.epoch.prove && c.epoch.held) // what the live connection has to show stays to be shown
	c.dedupe.Replays()
	return err
}

// appendRepair appends what the stream lacks. The position stays: it is the live connection's.
func (c *committer) appendRepair(ctx context.Context, m *messages.AppendRepair) error {
	if m.ID != c.repair.id || m.Batch.Number != c.repair.next {
		return nil
	}
	c.repair.next++
	end := max(c.repair.endUS, m.Batch.TimeUS)
	c.believeTimes(m.Batch)
	marked, err := c.mark(ctx, m.Batch)
	if err == nil && c.repair.narrow(m.Batch) {
		dups := marked.Duplicates
		marked, err = c.mark(ctx, m.Batch) // … which takes back what is left out
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

func (c *committer) endRepair(m *messages.EndRepair) {
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

// recordGapHere appends a gap entry behind everything that is stored; the position stays. A writer that no epoch has told of the position leaves it: the feed asks again
// with the next one. What a damaged block has cost is recorded once, however often the block is found again.
func (c *committer) recordGapHere(ctx context.Context, g messages.Gap) error {
	if !c.epoch.begun() {
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

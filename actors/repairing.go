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
}

// errWriterRestarted ends a backfill whose earlier batches another incarnation of the writer took.
var errWriterRestarted = errors.New("the writer was restarted meanwhile")

// beginRepair loads the identity index: what a backfill brings may be stored already, and what the live connection brings may come by the backfill first.
func (c *committer) beginRepair(ctx context.Context, m *messages.BeginRepair) error {
	c.repair = repairing{id: m.ID, next: 1}
	return c.loadIndex(ctx)
}

// appendRepair appends what the stream lacks. The position stays: it is the live connection's.
func (c *committer) appendRepair(ctx context.Context, m *messages.AppendRepair) error {
	if m.ID != c.repair.id || m.Batch.Number != c.repair.next {
		return nil
	}
	c.repair.next++
	wanted := false
	for i := range m.Batch.Events {
		wanted = wanted || !m.Batch.Events[i].Drop
	}
	if !wanted {
		return nil
	}
	c.believeTimes(m.Batch)
	marked, err := c.mark(ctx, m.Batch)
	if err != nil {
		return err
	}
	for i := range m.Batch.Events {
		if !m.Batch.Events[i].Drop {
			c.repair.found++
		}
	}
	return c.storeMarked(ctx, m.Batch, marked)
}

func (c *committer) endRepair(m *messages.EndRepair) {
	done := &messages.BackfillDone{ID: m.ID, Found: c.repair.found, Err: m.Err}
	if done.Err == nil && (m.ID != c.repair.id || m.Batches != c.repair.next-1) {
		done.Err = errWriterRestarted
	}
	c.repair = repairing{}
	c.feed(done)
}

// recordGapHere appends a gap entry behind everything that is stored.
func (c *committer) recordGapHere(ctx context.Context, g messages.Gap) error {
	stored, err := c.store(ctx, gapBatch(g), 0)
	if err != nil {
		return err
	}
	c.feed(&messages.GapRecorded{Epoch: c.epoch, ID: stored.Last, Gap: g})
	return nil
}

package archive

import (
	"context"
	"errors"
	"slices"

	"tempestd/internal/archive/jss"
	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// delivery makes batches of blocks. It allocates nothing per event once its buffers have grown.
type delivery struct {
	*Sweep
	render Renderer
	match  *jetstream.Matcher
	batch  *messages.Batch
	frame  []byte
	row    jss.Row
	events int64

	point  Point
	handed Point  // as it was last handed over
	last   uint64 // the number of the row before, in this pass
	moved  bool   // the point has moved since it was handed over
	silent int    // blocks since it was handed over
}

// silence is how many blocks without a wanted event may pass before the point alone is handed over.
const silence = 64

func newDelivery(s *Sweep) *delivery {
	d := &delivery{Sweep: s, render: Renderer{Witnessed: s.Witnessed}, match: jetstream.NewMatcher(s.Filter), batch: s.Batch, point: s.From}
	if d.batch == nil {
		d.batch = &messages.Batch{}
	}
	d.point.Host = s.Client.Host()
	d.point.Seq = max(d.point.Seq, s.After)
	if d.point.Seq >= d.point.Sealed {
		d.point.Sealed = 0 // more may be sealed by now
	}
	d.handed = d.point
	return d
}

// start begins a pass, and returns the point from which it plans.
func (d *delivery) start() Point {
	d.last = 0
	return d.point
}

// block delivers the wanted rows of a block.
func (d *delivery) block(ctx context.Context, u *unit, n int, b *jss.Block) error {
	if d.point.Segment != u.name {
		d.point.Segment, d.point.Block = u.name, n
	}
	for b.Next(&d.row) {
		seq := d.row.Seq
		if seq <= d.last {
			return corrupt("event %d after event %d", seq, d.last)
		}
		if d.last = seq; seq <= d.point.Seq || seq > d.point.Sealed {
			continue
		}
		if err := d.event(ctx); err != nil {
			return err
		}
	}
	d.point.Block, d.moved = n+1, true
	if d.silent++; d.silent >= silence {
		return d.flush(ctx)
	}
	return nil
}

// leave hands over everything before damage, and tells of it.
func (d *delivery) leave(ctx context.Context, err error) error {
	if err := d.flush(ctx); err != nil {
		return err
	}
	if damage, ok := errors.AsType[*SegmentError](err); ok {
		d.Leave(damage)
	}
	return nil
}

// event appends the current row to the batch if it is wanted, and hands a full batch over.
func (d *delivery) event(ctx context.Context) error {
	row, b := &d.row, d.batch
	d.point.Seq, d.moved = row.Seq, true
	b.Frames++
	b.Seq, b.TimeUS = int64(row.Seq), row.WitnessedUS
	if !d.Witnessed && row.IndexedUS != 0 {
		b.TimeUS = row.IndexedUS
	}
	if !d.match.Wants(kind(row.Kind), row.DID, row.Collection) {
		return nil
	}
	e := messages.Event{Off: uint32(len(b.Buf))}
	frame, err := d.render.AppendFrame(d.frame[:0], row)
	if d.frame = frame; err == nil {
		if d.Raw {
			if err = jetstream.Scan(frame, &e); err == nil {
				b.Buf = append(b.Buf, frame...)
			}
		} else {
			b.Buf, err = jetstream.Unwrap(b.Buf, frame, &e)
		}
	}
	if err != nil {
		d.Watcher.Skipped(row.Seq, reason(err), err)
		return nil
	}
	e.Len = uint32(len(b.Buf)) - e.Off
	if len(b.Events) == cap(b.Events) {
		b.Events = slices.Grow(b.Events, min(max(len(b.Events), 64), d.BatchEvents))
	}
	if b.Events = append(b.Events, e); len(b.Events) >= d.BatchEvents || len(b.Buf) >= d.BatchBytes {
		return d.hand(ctx)
	}
	return nil
}

func kind(k jss.Kind) messages.Kind {
	switch k {
	case jss.Identity:
		return messages.KindIdentity
	case jss.Account:
		return messages.KindAccount
	case jss.Sync:
		return messages.KindSync
	}
	return messages.KindCommit
}

// planned notes that a page is done: nothing that is wanted lies between its last block and its end.
func (d *delivery) planned(ctx context.Context, through uint64) error {
	if through > d.point.Seq {
		d.point.Seq = through
		d.batch.Seq = int64(through)
	}
	d.point.Planned, d.point.Segment, d.point.Block, d.moved = through, "", 0, true
	d.last = 0 // the next page may name a segment again
	return d.flush(ctx)
}

// idle hands over the events there are, because the next ones have yet to come.
func (d *delivery) idle(ctx context.Context) error {
	if len(d.batch.Events) == 0 {
		return nil
	}
	return d.hand(ctx)
}

// flush hands over the batch if there is something new in it, or the point has moved.
func (d *delivery) flush(ctx context.Context) error {
	if !d.moved {
		return nil
	}
	return d.hand(ctx)
}

func (d *delivery) hand(ctx context.Context) error {
	n := len(d.batch.Events)
	d.moved, d.silent = false, 0
	next, err := d.Deliver(ctx, d.batch, d.point)
	if err != nil {
		return err
	}
	d.events += int64(n)
	d.handed = d.point
	d.Watcher.Delivered(n, d.point.Seq)
	if d.batch = next; next == nil {
		return ErrStopped
	}
	return nil
}

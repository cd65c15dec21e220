package dedupe

import (
	"context"
	"errors"
	"fmt"

	"tempestd/internal/jetstream"
	"tempestd/messages"
	"tempestd/persistence"
)

// Lead says what an overlap that has to prove itself begins with.
type Lead uint8

// The leads.
const (
	LeadNone    Lead = iota // nothing was asked, nothing was looked at, or it was told before
	LeadHeld                // an event that the stream holds: nothing between it and the stream's end can be missing
	LeadPending             // events from before the stream's first entry, as it seems: dropped, until one comes that it holds
	LeadLate                // an event that the stream lacks, or one from its middle behind such ones: what lies between may be missing
)

// lead is how a replay begins, until it is known where in the stream that is.
type lead uint8

const (
	led      lead = iota // it is known, or was not asked for
	leading              // nothing was looked at yet, or nothing that the index holds
	skipping             // it began with an entry older than the index: everything up to the index is stored
)

// Replays says that the overlap that has begun may bring what is from before the stream's first entry, although it has nothing to prove.
func (d *Deduper) Replays() {
	if d.overlap != nil {
		d.overlap.replays = true
	}
}

// Accept ends the question of where the replay begins: whatever it brings that the stream does not hold is new.
func (d *Deduper) Accept() {
	if d.overlap != nil {
		d.overlap.lead = led
	}
}

// leads judges event i, which the index lacks, while it is not known where in the stream the replay begins.
//
// Where the index covers the stream, an event that it lacks can be one from before the first entry: appended it would stand behind what came after it. It
// is dropped, and what comes next decides. Where the stream is older than the index, only the stored entry itself shows that the replay begins there.
func (d *Deduper) leads(ctx context.Context, b *messages.Batch, i int, m *Marked) error {
	o := d.overlap
	if !o.complete && o.lead == leading {
		stored, err := d.stored(ctx, b, i)
		if err != nil {
			return err
		}
		if !stored {
			m.Lead = LeadLate
			return nil
		}
		o.lead = skipping
	}
	b.Events[i].Drop = true
	m.Skipped++
	o.before++
	m.Lead = LeadPending
	if o.lead == skipping {
		m.Lead = LeadHeld
	}
	return nil
}

// begins is how many of the batch's events come before the last one that is among the stream's first entries: what the stream lacks of them is from before it began. An
// upstream that crashed sends such events again, in another order.
func (o *overlap) begins(b *messages.Batch) (n int) {
	if !o.complete || !o.replays || o.begun || o.loaded < leastBegun {
		return 0
	}
	for i := range b.Events {
		e := &b.Events[i]
		if e.Drop || e.Kind == messages.KindGap {
			continue
		}
		key := slotKey(e.Fingerprint)
		slot, hit := o.table.find(key, o.table.first(key))
		switch {
		case !hit:
		case o.isFirst(o.table.places[slot], min(leadReach, o.loaded/4)):
			n = i
		default:
			o.begun = true
		}
	}
	return n
}

// leadReach is how many of the stream's first entries a replay may reach first that began before them: another instance has another order.
const leadReach = 256

// isFirst says whether the place is one of the stream's first n entries, or the very first.
func (o *overlap) isFirst(place, n uint32) bool {
	return place&inBatch == 0 && place < o.loaded && o.table.older(place, o.loaded) < max(n, 1)
}

// leastBegun is how many entries a stream must have for its beginning to be told from its end, in a replay in another order.
const leastBegun = 4

// isTail says whether the place is of the newest entry that the index was loaded with.
func (o *overlap) isTail(place uint32) bool {
	return place&inBatch == 0 && o.loaded > 0 && o.table.older(place, o.loaded) == o.loaded-1
}

// stored says whether the stream has event i where its time says that it should be.
func (d *Deduper) stored(ctx context.Context, b *messages.Batch, i int) (bool, error) {
	at := messages.DeriveID(b.Events[i].TimeUS, messages.EntryID{})
	page, err := d.stream.Read(ctx, persistence.CursorAt(at), persistence.CursorAt(messages.EntryID{MS: at.MS + 1}), storedNear)
	if _, corrupt := errors.AsType[*persistence.CorruptError](err); corrupt {
		return false, nil
	}
	if _, expired := errors.AsType[*persistence.CursorExpiredError](err); expired {
		return true, nil // it is older than anything that is kept
	}
	if err != nil {
		return false, fmt.Errorf("look for an event in stream %s: %w", d.stream.Name(), err)
	}
	for _, f := range page.Frames {
		if jetstream.SameIdentity(f.Event, b.Bytes(i)) {
			return true, nil
		}
	}
	return false, nil
}

// storedNear is how many entries of one millisecond are looked at.
const storedNear = 64

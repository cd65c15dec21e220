package dedupe

import (
	"context"
	"errors"
	"fmt"

	"tempestd/internal/jetstream"
	"tempestd/messages"
	"tempestd/persistence"
)

// Start says what an overlap begins with, if the overlap must prove that it begins early enough.
type Start uint8

// Starts.
const (
	StartNone Start = iota // no proof was asked for, nothing was compared, or it was told before
	// StartHeld: an event that the stream holds. Nothing between it and the stream's end can be
	// missing.
	StartHeld
	// StartPending: events that seem to be from before the stream's first entry. They are dropped
	// until one comes that the stream holds.
	StartPending
	// StartLate: an event that the stream lacks; or an event from the stream's middle that follows
	// events that it lacks. Events in between may be missing.
	StartLate
)

// startState is the state of the question where in the stream the replay begins.
type startState uint8

const (
	startKnown startState = iota // it is known, or was not asked
	startOpen                    // no event was compared yet, or none that the index holds
	// It began with an entry older than the index: everything up to the index is stored.
	startOlder
)

// ExpectEarly says that the current overlap may bring events from before the stream's first entry,
// although it need not prove anything.
func (d *Deduper) ExpectEarly() {
	if d.overlap != nil {
		d.overlap.early = true
	}
}

// AcceptStart ends the question where the replay begins: every event that the stream does not hold
// is new.
func (d *Deduper) AcceptStart() {
	if d.overlap != nil {
		d.overlap.start = startKnown
	}
}

// judgeStart judges event i, which the index lacks, while it is unknown where in the stream the
// replay begins.
//
// If the index covers the stream, such an event can be from before the first entry; appended it
// would follow events that came after it. It is dropped, and the next events decide. If the stream
// is older than the index, only the stored entry itself shows that the replay begins there.
func (d *Deduper) judgeStart(ctx context.Context, b *messages.Batch, i int, m *Marked) error {
	o := d.overlap
	if !o.complete && o.start == startOpen {
		stored, err := d.stored(ctx, b, i)
		if err != nil {
			return err
		}
		if !stored {
			m.Start = StartLate
			return nil
		}
		o.start = startOlder
	}
	b.Events[i].Drop = true
	m.Early++
	o.unheld++
	m.Start = StartPending
	if o.start == startOlder {
		m.Start = StartHeld
	}
	return nil
}

// earlyUntil returns how many of the batch's events come before the last event that is one of the
// stream's first entries. Those that the stream lacks are from before its beginning. An upstream
// that crashed sends such events again, in another order. Where the batch ends with such events, the
// ones that follow it decide.
func (d *Deduper) earlyUntil(ctx context.Context, b *messages.Batch) (n int) {
	o := d.overlap
	if !o.complete || !o.early || o.pastFirst || o.loaded < leastLoaded {
		return 0
	}
	first, past, open := o.firstEntries(b)
	n, o.pastFirst = max(first, 0), past
	if past || !open || o.awaited || d.opt.Ahead == nil || first < 0 && o.start != startKnown {
		return n
	}
	for i := 0; ; i++ {
		next := d.opt.Ahead(ctx, i)
		if next == nil {
			o.awaited = true
			return n
		}
		switch first, past, _ := o.firstEntries(next); {
		case first >= 0:
			return len(b.Events)
		case past:
			o.pastFirst = true
			return n
		}
	}
}

// firstEntries returns the index of the last of the batch's events that is one of the stream's first
// entries, -1 for none. past says whether one is an entry behind these, and open whether the batch
// ends with an event that the stream lacks.
func (o *overlap) firstEntries(b *messages.Batch) (last int, past, open bool) {
	last = -1
	for i := range b.Events {
		e := &b.Events[i]
		if e.Drop || e.Kind == messages.KindGap {
			continue
		}
		key := slotKey(e.Fingerprint)
		slot, hit := o.table.find(key, o.table.first(key))
		open = !hit
		switch {
		case !hit:
		case o.isFirst(o.table.ref(slot), min(firstReach, o.loaded/4)):
			last = i
		default:
			past = true
		}
	}
	return last, past, open
}

// firstReach is the number of the stream's first entries among which a replay that began before
// them must reach the stream. It is not 1 because another instance has another order.
const firstReach = 256

// isFirst says whether ref refers to one of the stream's first n entries, or the very first.
func (o *overlap) isFirst(ref, n uint32) bool {
	return ref&inBatch == 0 && ref < o.loaded && o.table.older(ref, o.loaded) < max(n, 1)
}

// leastLoaded is the least number of entries of a stream whose beginning can be told from its end,
// in a replay in another order.
const leastLoaded = 4

// isNewest says whether it is the newest entry of the loaded index.
func (o *overlap) isNewest(ref uint32) bool {
	return ref&inBatch == 0 && o.loaded > 0 && o.table.older(ref, o.loaded) == o.loaded-1
}

// stored says whether the stream has event i at the place that its time gives.
func (d *Deduper) stored(ctx context.Context, b *messages.Batch, i int) (bool, error) {
	at := messages.DeriveID(b.Events[i].TimeUS, messages.EntryID{})
	page, err := d.stream.Read(ctx, persistence.CursorAt(at), persistence.CursorAt(messages.EntryID{MS: at.MS + 1}), storedNear)
	if _, corrupt := errors.AsType[*persistence.CorruptError](err); corrupt {
		return false, nil
	}
	if _, expired := errors.AsType[*persistence.CursorExpiredError](err); expired {
		return true, nil // it is older than everything that is kept
	}
	if err != nil {
		return false, fmt.Errorf("look for an event in stream %s: %w", d.stream.Name(), err)
	}
	for _, f := range page.Entries {
		if jetstream.SameIdentity(f.Event, b.Bytes(i)) {
			return true, nil
		}
	}
	return false, nil
}

// storedNear is the greatest number of entries of one millisecond that are compared.
const storedNear = 64

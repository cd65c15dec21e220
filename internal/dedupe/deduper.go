package dedupe

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/jetstream"
	"tempestd/messages"
	"tempestd/persistence"
)

// Options configure a Deduper.
type Options struct {
	Horizon persistence.Horizon // how far back a replay is compared; the zero value sets no bound
	Always  bool                // detect repeats outside of overlaps too
	Clock   clockwork.Clock     // required
	// Ahead returns the n-th of the batches that follow the one being marked, counted from 0. It
	// waits for it as long as is worth it, and returns nil if none comes. Without Ahead each batch
	// is judged by itself.
	Ahead func(ctx context.Context, n int) *messages.Batch
}

// Deduper marks the events that one stream already holds. It belongs to the stream's writer and is
// not safe for concurrent use.
type Deduper struct {
	stream persistence.Stream
	opt    Options

	recent  *recent // nil unless Always
	seeded  bool    // recent has the fingerprints of the stream's newest entries
	repeats []int   // indexes of the batch's events that recent already had
	// earlyGaps are the indexes of the batch's gap entries from before the stream's first entry.
	// They are dropped once the batch shows that the replay does begin before it.
	earlyGaps []int
	overlap   *overlap
}

// New makes a Deduper for the stream. It does not read the stream yet.
func New(stream persistence.Stream, opt Options) *Deduper {
	d := &Deduper{stream: stream, opt: opt}
	if opt.Always {
		d.recent = newRecent()
	}
	return d
}

// Loaded describes the index that Begin loaded.
type Loaded struct {
	Fingerprints int
	Complete     bool // the index covers the whole stream
	oldest       messages.EntryID
	Trimmed      bool // retention has dropped entries from the stream
}

// leastHorizon is the least number of entries that an overlap compares with, whatever is
// configured. An upstream that crashed repeats some thousands of events, and a smaller horizon
// would not recognise them.
const leastHorizon = 1 << 15

// Begin begins an overlap: the events that come next may already be stored. It loads the
// fingerprints of the horizon or, with short, of the newest entries only. During an overlap it
// begins the overlap again. After an error there is no overlap, and no event may be marked until a
// call of Begin has succeeded.
//
// With prove the replay must show where in the stream it begins: see Marked.Start.
func (d *Deduper) Begin(ctx context.Context, short, prove bool) (Loaded, error) {
	h := d.opt.Horizon
	if h.Entries > 0 {
		h.Entries = max(h.Entries, leastHorizon)
	}
	if short = short && (d.recent == nil || d.seeded); short {
		h = persistence.Horizon{Entries: leastHorizon}
	}
	loaded, err := d.begin(ctx, h, true, prove)
	if err == nil {
		d.overlap.short, d.overlap.early, d.seeded = short, prove, true
	}
	return loaded, err
}

func (d *Deduper) begin(ctx context.Context, h persistence.Horizon, asked, prove bool) (Loaded, error) {
	d.overlap = nil // frees its memory for the next one
	o := &overlap{horizon: h, asked: asked, hitAt: d.opt.Clock.Now()}
	info, err := d.stream.Info(ctx)
	if err != nil {
		return Loaded{}, fmt.Errorf("look at stream %s: %w", d.stream.Name(), err)
	}
	loaded, err := d.load(ctx, o, 0)
	if err != nil {
		return Loaded{}, err
	}
	loaded.Trimmed = info.Trimmed != nil
	loaded.Complete = info.Oldest == nil || loaded.Fingerprints > 0 && loaded.oldest.Compare(*info.Oldest) <= 0
	o.complete = loaded.Complete
	if prove && loaded.Fingerprints > 0 {
		o.start = startOpen
	}
	d.overlap = o
	return loaded, nil
}

// Overlaps says whether an overlap is in progress, so that events are compared with the stream.
func (d *Deduper) Overlaps() bool { return d.overlap != nil }

// Holds says whether the index of the overlap contains the fingerprint. Without an overlap it
// returns false.
func (d *Deduper) Holds(fingerprint uint64) bool {
	if d.overlap == nil || d.overlap.table == nil {
		return false
	}
	key := slotKey(fingerprint)
	_, hit := d.overlap.table.find(key, d.overlap.table.first(key))
	return hit
}

// load fills a new table with the fingerprints of the overlap's horizon, and leaves room for at
// least need more.
func (d *Deduper) load(ctx context.Context, o *overlap, need int) (Loaded, error) {
	o.table, o.pending, o.stale = nil, o.pending[:0], true
	var loaded Loaded
	err := d.stream.Fingerprints(ctx, o.horizon, func(b persistence.FingerprintBlock) bool {
		loaded.Fingerprints += len(b.Fingerprints)
		loaded.oldest = b.First
		return true
	})
	if err == nil {
		o.table = newTable(loaded.Fingerprints + max(loaded.Fingerprints/4, minRoom, need))
		err = d.stream.Fingerprints(ctx, o.horizon, func(b persistence.FingerprintBlock) bool {
			o.table.load(b.Last, b.Fingerprints)
			if d.recent != nil {
				d.recent.seed(b.Fingerprints)
			}
			return true
		})
	}
	if err != nil {
		return Loaded{}, fmt.Errorf("read the fingerprints of stream %s: %w", d.stream.Name(), err)
	}
	o.stale, o.noted, o.loaded = false, false, o.table.next
	return loaded, nil
}

// Marked describes what Mark found.
type Marked struct {
	Duplicates int // hits: events dropped because the stream, or the batch before them, has them
	Misses     int // events that were looked up during an overlap and are new
	// FalseHits counts the fingerprints that were found but belong to another event or to a corrupt
	// entry.
	FalseHits int
	// Early counts the events dropped because they are from before the beginning of the stream, or
	// of the index.
	Early        int
	OverlapEnded bool // the overlap that Begin began is over
	FirstHeld    bool // the stream holds the first event that was looked up
	ReachedEnd   bool // one of the hits is the entry that was newest when the overlap began
	Start        Start
}

// Mark sets Drop on the batch's events that must not be stored. It ignores events that already have
// it set. Gap entries are not compared; they are dropped if they are from before the beginning of
// the stream. Mark expects that the other events are stored next: append them and call Appended. A
// batch that could not be appended, or that Mark did not finish because of an error, can be marked
// again.
func (d *Deduper) Mark(ctx context.Context, b *messages.Batch) (Marked, error) {
	d.noteRepeats(b)
	if d.overlap == nil && len(d.repeats) > 0 {
		if err := d.overlapRepeats(ctx); err != nil {
			return Marked{}, err
		}
	}
	if d.overlap == nil {
		return Marked{}, nil
	}
	m, err := d.compare(ctx, b)
	if err != errBeyond {
		return m, err
	}
	if err := d.overlapRepeats(ctx); err != nil {
		return m, err
	}
	again, err := d.compare(ctx, b)
	again.Duplicates += m.Duplicates
	again.FirstHeld = again.FirstHeld || m.FirstHeld
	return again, err
}

// errBeyond says that an event was seen recently but is not in the index of a short overlap.
var errBeyond = errors.New("beyond the index")

// overlapRepeats begins an overlap over all entries whose fingerprints recent can have.
func (d *Deduper) overlapRepeats(ctx context.Context) error {
	asked := d.overlap != nil && d.overlap.asked
	_, err := d.begin(ctx, persistence.Horizon{Entries: 2 * mostRecent}, asked, false)
	return err
}

// noteRepeats adds the batch's fingerprints to recent, and notes those that it already had.
func (d *Deduper) noteRepeats(b *messages.Batch) {
	d.repeats = d.repeats[:0]
	if d.recent == nil {
		return
	}
	d.recent.room(len(b.Events))
	for i := range b.Events {
		if e := &b.Events[i]; !e.Drop && e.Kind != messages.KindGap && d.recent.seen(e.Fingerprint) {
			d.repeats = append(d.repeats, i)
		}
	}
}

// compare marks the batch during an overlap.
func (d *Deduper) compare(ctx context.Context, b *messages.Batch) (Marked, error) {
	o := d.overlap
	o.forget()
	if o.stale || !o.table.makeRoom(len(b.Events), o.most()) {
		if _, err := d.load(ctx, o, len(b.Events)); err != nil {
			return Marked{}, err
		}
	}
	var m Marked
	d.earlyGaps = d.earlyGaps[:0]
	earlyUntil := d.earlyUntil(ctx, b)
	for i := range b.Events {
		e := &b.Events[i]
		if e.Drop {
			continue
		}
		if e.Kind == messages.KindGap {
			if o.start != startKnown || i < earlyUntil {
				d.earlyGaps = append(d.earlyGaps, i)
			}
			continue
		}
		first := m.Duplicates+m.Misses+m.Early == 0
		o.sinceHit++
		key := slotKey(e.Fingerprint)
		slot, hit := o.table.find(key, o.table.first(key))
		var ref uint32
		for hit && !e.Drop {
			ref = o.table.ref(slot)
			same, err := confirm(ctx, d.stream, o.table, b, i, ref)
			if err != nil {
				return m, err
			}
			if same {
				e.Drop = true
			} else {
				m.FalseHits++
				slot, hit = o.table.find(key, o.table.after(slot))
			}
		}
		switch {
		case e.Drop:
			m.Duplicates++
			o.sinceHit = 0
			m.FirstHeld = m.FirstHeld || first
			m.ReachedEnd = m.ReachedEnd || o.isNewest(ref)
			if o.start == startKnown {
				break
			}
			if o.start == startOpen && o.unheld > 0 && !o.isFirst(ref, min(firstReach, o.loaded/2+1)) {
				m.Start = StartLate
				return m, nil
			}
			o.start, m.Start = startKnown, StartHeld
		case o.start != startKnown:
			if err := d.judgeStart(ctx, b, i, &m); err != nil {
				return m, err
			}
			if m.Start == StartLate {
				return m, nil
			}
		case o.short && seenBefore(d.repeats, i):
			return m, errBeyond
		case i < earlyUntil:
			m.Early++
			e.Drop = true
		default:
			m.Misses++
			o.table.set(slot, key, inBatch|uint32(i))
			o.pending = append(o.pending, pending{event: i, slot: slot})
		}
	}
	for _, i := range d.earlyGaps {
		b.Events[i].Drop = true
	}
	if m.Duplicates > 0 {
		o.hitAt = d.opt.Clock.Now()
	}
	if o.start == startKnown && o.sinceHit >= quietEvents && d.opt.Clock.Since(o.hitAt) >= quietTime {
		m.OverlapEnded = o.asked
		d.end()
	}
	return m, nil
}

// seenBefore says whether repeats, which is sorted, contains event i.
func seenBefore(repeats []int, i int) bool {
	if len(repeats) == 0 {
		return false
	}
	_, found := slices.BinarySearch(repeats, i)
	return found
}

// confirm says exactly whether event i is the one that ref refers to.
//
// An entry that retention has dropped after its fingerprint was loaded can no longer be compared.
// It counts as the same event: the entry was stored, and the event is as old as it. That two of a
// few million 64-bit fingerprints are equal by chance happens once in a million such replays. A
// corrupt entry counts as another event: no reader can get it, so the replayed event is welcome.
func confirm(ctx context.Context, stream persistence.Stream, t *table, b *messages.Batch, i int, ref uint32) (bool, error) {
	if ref&inBatch != 0 {
		return jetstream.SameIdentity(b.Bytes(int(ref&^inBatch)), b.Bytes(i)), nil
	}
	last, index := t.entry(ref)
	stored, err := stream.Entry(ctx, last, index)
	if err == nil {
		return jetstream.SameIdentity(stored, b.Bytes(i)), nil
	}
	if _, corrupt := errors.AsType[*persistence.CorruptError](err); corrupt {
		return false, nil
	}
	if errors.Is(err, persistence.ErrNotFound) {
		return true, nil
	}
	return false, fmt.Errorf("compare with entry %d of block %s of stream %s: %w", index, last, stream.Name(), err)
}

// Appended says that the batch is stored; a has the IDs that it got. Call it once after each Append
// that succeeded.
func (d *Deduper) Appended(b *messages.Batch, a persistence.Appended) {
	o := d.overlap
	if o == nil || a.Entries == 0 {
		return
	}
	stored := 0
	for i := range b.Events {
		if !b.Events[i].Drop {
			stored++
		}
	}
	if stored != a.Entries {
		o.stale = true // it is not the batch that was marked
		return
	}
	waiting := o.pending
	o.table.number(b, a, func(i int, number uint32) {
		if len(waiting) > 0 && waiting[0].event == i {
			o.table.refer(waiting[0].slot, number)
			waiting = waiting[1:]
		}
	})
	o.pending = o.pending[:0]
}

// Noted says that a batch is stored that Mark has not seen: one that a repair fetched.
func (d *Deduper) Noted(b *messages.Batch, a persistence.Appended) {
	d.noteRepeats(b)
	o := d.overlap
	if o == nil || a.Entries == 0 {
		return
	}
	o.forget()
	o.noted = true
	if o.stale || !o.table.makeRoom(len(b.Events), o.most()) {
		o.stale = true
		return
	}
	o.table.number(b, a, func(i int, number uint32) {
		o.table.add(slotKey(b.Events[i].Fingerprint), number)
	})
}

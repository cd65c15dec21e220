package dedupe

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/jetstream"
	"tempestd/messages"
	"tempestd/persistence"
)

// An overlap is over when the events are past what was stored when it began, and the last hit is this long and this many events
// ago. An upstream that was restarted itself goes on repeating for a while after it has passed the old end.
const (
	quietTime   = 2 * time.Minute
	quietEvents = 1 << 16
)

// The room a table has for what is appended during its overlap: a quarter of what was loaded, and this much at least. When it is
// used up the table is loaded anew.
const minRoom = 1 << 16

// freeAtOnce is the number of fingerprints from which a dropped table's memory is given back to the system at once instead of some minutes later.
const freeAtOnce = 1 << 20

// Options are how a Deduper works.
type Options struct {
	Horizon persistence.Horizon // how far back a replay is compared; the zero value sets no bound
	Always  bool                // watch for repeats outside of overlaps too
	Clock   clockwork.Clock     // required
}

// Deduper marks what one stream holds already. It belongs to the stream's writer and is not safe for concurrent use.
type Deduper struct {
	stream persistence.Stream
	opt    Options

	recent  *recent // nil unless Always
	overlap *overlap
}

// overlap is what lasts from Begin until the replay is past.
type overlap struct {
	horizon persistence.Horizon
	asked   bool // by Begin, and not by a repeat
	table   *table
	stale   bool      // the table is missing, or lacks entries, and must be loaded anew
	pending []pending // what the last Mark added

	tail messages.EntryID // the stream's last entry when the overlap began
	past bool             // an event after tail was seen

	oldestBlock messages.EntryID // the oldest block in the index
	oldestUS    int64            // the upstream time it begins with, Unix µs: what the replay brings before is skipped; 0 once it skips nothing
	complete    bool             // the stream has nothing older than the index

	hitAt    time.Time // the last hit
	sinceHit int       // events since
}

// pending is an event that the table holds and the stream does not yet.
type pending struct{ event, slot int }

// New makes a Deduper for the stream. It reads nothing yet.
func New(stream persistence.Stream, opt Options) *Deduper {
	d := &Deduper{stream: stream, opt: opt}
	if opt.Always {
		d.recent = newRecent()
	}
	return d
}

// Loaded tells what Begin loaded.
type Loaded struct {
	Fingerprints int
	Oldest       messages.EntryID // the first entry of the oldest block in the index, zero for none
	Complete     bool             // the index covers the whole stream
}

// Begin says that an overlap begins: what comes next may repeat what is stored. It loads the horizon's fingerprints. During an overlap it
// begins the overlap anew. After an error there is no overlap, and events must not be marked before Begin has succeeded.
func (d *Deduper) Begin(ctx context.Context) (Loaded, error) {
	return d.begin(ctx, d.opt.Horizon, true)
}

func (d *Deduper) begin(ctx context.Context, h persistence.Horizon, asked bool) (Loaded, error) {
	d.overlap = nil // its memory is needed for the next
	o := &overlap{horizon: h, asked: asked, hitAt: d.opt.Clock.Now()}
	info, err := d.stream.Info(ctx)
	if err != nil {
		return Loaded{}, fmt.Errorf("look at stream %s: %w", d.stream.Name(), err)
	}
	loaded, err := d.load(ctx, o, 0)
	if err != nil {
		return Loaded{}, err
	}
	loaded.Complete = info.Oldest == nil || loaded.Fingerprints > 0 && loaded.Oldest.Compare(*info.Oldest) <= 0
	if info.Newest != nil {
		o.tail = *info.Newest
	}
	o.complete = loaded.Complete
	if asked && loaded.Fingerprints > 0 {
		o.oldestUS = d.oldestTime(ctx, o, loaded)
	}
	d.overlap = o
	return loaded, nil
}

// KeepOlder says that the overlap that has begun is of another clock than the stream's: an early time is no reason to skip an event. It matters only
// where the index covers the whole stream; what lies before an index that does not is far older than clocks differ.
func (d *Deduper) KeepOlder() {
	if d.overlap != nil && d.overlap.complete {
		d.overlap.oldestUS = 0
	}
}

// oldestTime is the upstream time of the index's first entry. The entry itself says it: its ID may lie far above it, where an upstream's clock
// once stood too early, and new events must not be taken for ones from before the index. Only an entry that cannot say it is believed by its ID.
func (d *Deduper) oldestTime(ctx context.Context, o *overlap, loaded Loaded) int64 {
	var e messages.Event
	entry, err := d.stream.Entry(ctx, o.oldestBlock, 0)
	if err != nil || jetstream.Scan(entry, &e) != nil {
		return timeOf(loaded.Oldest)
	}
	return e.TimeUS
}

// load fills a new table with what the stream has within the overlap's horizon, and leaves room for need more.
func (d *Deduper) load(ctx context.Context, o *overlap, need int) (Loaded, error) {
	o.table, o.pending, o.stale = nil, o.pending[:0], true
	var loaded Loaded
	err := d.stream.Fingerprints(ctx, o.horizon, func(b persistence.FingerprintBlock) bool {
		loaded.Fingerprints += len(b.Fingerprints)
		loaded.Oldest, o.oldestBlock = b.First, b.Last
		return true
	})
	if err == nil {
		o.table = newTable(loaded.Fingerprints + max(loaded.Fingerprints/4, minRoom, need))
		err = d.stream.Fingerprints(ctx, o.horizon, func(b persistence.FingerprintBlock) bool {
			o.table.load(b.Last, b.Fingerprints)
			return true
		})
	}
	if err != nil {
		return Loaded{}, fmt.Errorf("read the fingerprints of stream %s: %w", d.stream.Name(), err)
	}
	o.stale = false
	return loaded, nil
}

// Marked tells what Mark found.
type Marked struct {
	Duplicates int  // hits: events dropped because the stream, or the batch before them, has them
	Misses     int  // events that were looked up during an overlap and are new
	FalseHits  int  // fingerprints that were found and belong to other events, or to entries that are corrupt
	Skipped    int  // events dropped because they are older than the index: stored, a recorded gap, or from before the stream began
	Ended      bool // the overlap that Begin began is over
}

// Mark sets Drop on the batch's events that are not to be stored. Those that have it set already, and gaps, are left alone. What is
// not dropped is expected in the stream next: Append it and call Appended. A batch that could not be appended, or was not marked to its end because
// of an error, can be marked again.
func (d *Deduper) Mark(ctx context.Context, b *messages.Batch) (Marked, error) {
	repeats := d.watch(b)
	if d.overlap == nil && repeats {
		if _, err := d.begin(ctx, persistence.Horizon{Entries: 4 * recentEvents}, false); err != nil {
			return Marked{}, err
		}
	}
	if d.overlap == nil {
		return Marked{}, nil
	}
	return d.compare(ctx, b)
}

// watch remembers the batch's fingerprints, and says whether one of them is there already.
func (d *Deduper) watch(b *messages.Batch) (repeats bool) {
	if d.recent == nil {
		return false
	}
	for i := range b.Events {
		if e := &b.Events[i]; !e.Drop && d.recent.seen(e.Fingerprint) {
			repeats = true
		}
	}
	return repeats
}

// compare marks the batch during an overlap.
func (d *Deduper) compare(ctx context.Context, b *messages.Batch) (Marked, error) {
	o := d.overlap
	o.forget()
	if o.stale || !o.table.room(len(b.Events)) {
		if _, err := d.load(ctx, o, len(b.Events)); err != nil {
			return Marked{}, err
		}
	}
	var m Marked
	for i := range b.Events {
		e := &b.Events[i]
		if e.Drop || e.Kind == messages.KindGap {
			continue
		}
		o.past = o.past || e.TimeUS > timeOf(o.tail)
		o.sinceHit++
		key := slotKey(e.Fingerprint)
		slot, hit := o.table.find(key, o.table.first(key))
		for hit && !e.Drop {
			same, err := d.confirm(ctx, b, i, o.table.places[slot])
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
			if o.complete {
				// The replay has reached the stream's beginning. What it skipped on the way came before our first event, or was dropped by
				// retention: appended now it would stand behind what came after it. From here on everything unknown is new, whatever its time.
				o.oldestUS = 0
			}
		case e.TimeUS <= o.oldestUS && !o.past:
			m.Skipped++
			e.Drop = true
		default:
			m.Misses++
			o.table.set(slot, key, inBatch|uint32(i))
			o.pending = append(o.pending, pending{event: i, slot: slot})
		}
	}
	if m.Duplicates > 0 {
		o.hitAt = d.opt.Clock.Now()
	}
	if o.past && o.sinceHit >= quietEvents && d.opt.Clock.Since(o.hitAt) >= quietTime {
		m.Ended = o.asked
		d.end()
	}
	return m, nil
}

// timeOf is the latest upstream time, in Unix µs, that an entry with the ID can have had: IDs derive from times, and are only ever moved
// up (messages.DeriveID).
func timeOf(id messages.EntryID) int64 {
	return int64(id.MS)*1000 + int64(min(id.Seq/1000, 999))
}

// confirm says whether event i is the one at the place, exactly.
//
// An entry that retention has dropped since its fingerprint was loaded cannot be compared any more. It counts as the same: it was stored, the
// event is as old as it, and two of a few million 64-bit fingerprints being equal by chance is once in a million such replays. One that is
// corrupt counts as another: no reader gets it, and a replay that brings the event back is welcome.
func (d *Deduper) confirm(ctx context.Context, b *messages.Batch, i int, place uint32) (bool, error) {
	if place&inBatch != 0 {
		return jetstream.SameIdentity(b.Bytes(int(place&^inBatch)), b.Bytes(i)), nil
	}
	last, index := d.overlap.table.entry(place)
	stored, err := d.stream.Entry(ctx, last, index)
	if err == nil {
		return jetstream.SameIdentity(stored, b.Bytes(i)), nil
	}
	if _, corrupt := errors.AsType[*persistence.CorruptError](err); corrupt {
		return false, nil
	}
	if errors.Is(err, persistence.ErrNotFound) {
		return true, nil
	}
	return false, fmt.Errorf("compare with entry %d of block %s of stream %s: %w", index, last, d.stream.Name(), err)
}

// Appended says that the batch is stored: a holds the IDs it was given. Call it once after each Append that succeeded.
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
		o.stale = true // not the batch that was marked
		return
	}
	blocks := a.Blocks
	if blocks == nil {
		blocks = []persistence.AppendedBlock{{Last: a.Last, Entries: stored}}
	}
	left, number := 0, uint32(0)
	waiting := o.pending
	for i := range b.Events {
		if b.Events[i].Drop {
			continue
		}
		for left == 0 {
			number, left = o.table.addBlock(blocks[0].Last, blocks[0].Entries), blocks[0].Entries
			blocks = blocks[1:]
		}
		left--
		if len(waiting) > 0 && waiting[0].event == i {
			o.table.places[waiting[0].slot] = number
			waiting = waiting[1:]
		}
		number++
	}
	o.pending = o.pending[:0]
}

// forget takes out what the last Mark added and no append followed.
func (o *overlap) forget() {
	for i := len(o.pending) - 1; i >= 0; i-- {
		o.table.free(o.pending[i].slot)
	}
	o.pending = o.pending[:0]
}

// end drops the table.
func (d *Deduper) end() {
	big := d.overlap.table.limit >= freeAtOnce
	d.overlap = nil
	if big {
		debug.FreeOSMemory()
	}
}

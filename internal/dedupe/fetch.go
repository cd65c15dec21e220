package dedupe

import (
	"context"
	"fmt"
	"time"

	"tempestd/messages"
	"tempestd/persistence"
)

// Span is a part of a stream, both ends inclusive.
type Span struct{ From, To messages.EntryID }

// meets says whether the span and the block have an entry in common, by their IDs.
func (s Span) meets(b persistence.FingerprintBlock) bool {
	return b.First.Compare(s.To) <= 0 && b.Last.Compare(s.From) >= 0
}

// SpanOf returns the part of a stream in which the events of a gap between two times can lie that
// were stored live, Unix µs.
func SpanOf(fromUS, toUS int64) Span {
	margin := spanMargin.Microseconds()
	from := messages.DeriveID(max(fromUS-margin, 0), messages.EntryID{})
	to := messages.DeriveID(max(fromUS, toUS)+margin, messages.EntryID{})
	to.MS++
	return Span{messages.EntryID{MS: from.MS}, to}
}

// spanMargin is how far from its own time an event may be stored: clocks of hosts differ, and a
// host that crashed gives events new times.
const spanMargin = 15 * time.Minute

// Fetch marks the events of one gap's fetch that the stream already holds. They lie around the gap's
// place, among what was recovered before, or among the newest entries. Only these parts of the
// stream are held in memory, however far the gap lies back.
//
// The index is loaded beside the writer (Load), which meanwhile notes what is appended (Noted). All
// other methods belong to the stream's writer.
type Fetch struct {
	stream  persistence.Stream
	horizon persistence.Horizon
	near    []Span

	table   *table     // nil until Use
	noted   []appended // until then
	pending []pending  // what the last Mark added to the table
}

// appended is a block that was appended while the index was loaded.
type appended struct {
	last         messages.EntryID
	fingerprints []uint64
}

// Index is a loaded index.
type Index struct{ table *table }

// Len returns the number of its fingerprints.
func (i *Index) Len() int { return i.table.used }

// mostIndexed bounds the fingerprints of an index: 16 bytes each, 1 GiB in all. What is beyond is
// the oldest.
const mostIndexed = 1 << 26

// NewFetch makes a Fetch that compares with the newest entries and with the spans.
func NewFetch(stream persistence.Stream, horizon persistence.Horizon, near ...Span) *Fetch {
	if horizon.Entries > 0 {
		horizon.Entries = max(horizon.Entries, leastHorizon)
	}
	return &Fetch{stream: stream, horizon: horizon, near: near}
}

// Load loads the index. It is safe for use beside the writer.
func (f *Fetch) Load(ctx context.Context) (*Index, error) {
	t := newTable(minRoom)
	oldest := messages.EntryID{}
	for i, s := range f.near {
		if i == 0 || s.From.Compare(oldest) < 0 {
			oldest = s.From
		}
	}
	passed := 0
	var newest int64
	err := f.stream.Fingerprints(ctx, persistence.Horizon{}, func(b persistence.FingerprintBlock) bool {
		if passed == 0 {
			newest = int64(b.Last.MS)
		}
		within := (f.horizon.Entries == 0 || passed < f.horizon.Entries) &&
			(f.horizon.Age == 0 || newest-int64(b.Last.MS) <= f.horizon.Age.Milliseconds())
		passed += len(b.Fingerprints)
		if !within && (len(f.near) == 0 || b.Last.Compare(oldest) < 0) {
			return false
		}
		for _, s := range f.near {
			within = within || s.meets(b)
		}
		if within {
			if t.used+len(b.Fingerprints) > mostIndexed {
				return false
			}
			t = t.moved(len(b.Fingerprints))
			t.load(b.Last, b.Fingerprints)
		}
		return ctx.Err() == nil
	})
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("read the fingerprints of stream %s: %w", f.stream.Name(), err)
	}
	return &Index{t}, nil
}

// Use takes over the loaded index.
func (f *Fetch) Use(i *Index) {
	f.table = i.table
	for _, a := range f.noted {
		f.note(a)
	}
	f.noted = nil
}

// Mark sets Drop on the batch's events that the stream, or the batch before them, holds. It expects
// that the others are stored next, and then Appended is called. A batch that could not be appended
// can be marked again.
func (f *Fetch) Mark(ctx context.Context, b *messages.Batch) (Marked, error) {
	for i := len(f.pending) - 1; i >= 0; i-- {
		f.table.free(f.pending[i].slot)
	}
	f.pending = f.pending[:0]
	if f.table.used+len(b.Events) > mostIndexed {
		i, err := f.Load(ctx)
		if err != nil {
			return Marked{}, err
		}
		f.table = i.table
	}
	f.table.makeRoom(len(b.Events), mostIndexed+len(b.Events))
	var m Marked
	for i := range b.Events {
		e := &b.Events[i]
		if e.Drop || e.Kind == messages.KindGap {
			continue
		}
		key := slotKey(e.Fingerprint)
		slot, hit := f.table.find(key, f.table.first(key))
		for hit && !e.Drop {
			same, err := confirm(ctx, f.stream, f.table, b, i, f.table.ref(slot))
			switch {
			case err != nil:
				return m, err
			case same:
				e.Drop = true
				m.Duplicates++
			default:
				m.FalseHits++
				slot, hit = f.table.find(key, f.table.after(slot))
			}
		}
		if !e.Drop {
			m.Misses++
			f.table.set(slot, key, inBatch|uint32(i))
			f.pending = append(f.pending, pending{event: i, slot: slot})
		}
	}
	return m, nil
}

// Appended says that the marked batch is stored.
func (f *Fetch) Appended(b *messages.Batch, a persistence.Appended) {
	waiting := f.pending
	f.table.number(b, a, func(i int, number uint32) {
		if len(waiting) > 0 && waiting[0].event == i {
			f.table.refer(waiting[0].slot, number)
			waiting = waiting[1:]
		}
	})
	f.pending = f.pending[:0]
}

// Noted says that a batch of another origin is stored.
func (f *Fetch) Noted(b *messages.Batch, a persistence.Appended) {
	if a.Entries == 0 {
		return
	}
	at := 0
	for _, block := range blocksOf(a) {
		n := appended{last: block.Last, fingerprints: make([]uint64, 0, block.Entries)}
		for ; len(n.fingerprints) < block.Entries && at < len(b.Events); at++ {
			if e := &b.Events[at]; !e.Drop {
				n.fingerprints = append(n.fingerprints, e.Fingerprint)
			}
		}
		if f.table == nil {
			f.noted = append(f.noted, n)
			continue
		}
		for i := len(f.pending) - 1; i >= 0; i-- {
			f.table.free(f.pending[i].slot)
		}
		f.pending = f.pending[:0]
		f.note(n)
	}
}

// note adds a block to the table. When that is beyond its bound, the next Mark loads it again.
func (f *Fetch) note(a appended) {
	f.table.makeRoom(len(a.fingerprints), mostIndexed+len(a.fingerprints))
	f.table.load(a.last, a.fingerprints)
}

// blocksOf returns the blocks of an append that stored something.
func blocksOf(a persistence.Appended) []persistence.AppendedBlock {
	if a.Blocks != nil {
		return a.Blocks
	}
	return []persistence.AppendedBlock{{Last: a.Last, Entries: a.Entries}}
}

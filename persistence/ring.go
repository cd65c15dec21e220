package persistence

import (
	"slices"
	"time"

	"tempestd/messages"
)

// Bounds of a stream's ring of recent entries (I5).
const (
	ringBytes    = 6 << 20
	ringSegments = 1 << 10
	// ringIdle is for how long after the last tail recent entries are still kept: a stream that nobody follows pays neither the
	// copy nor the memory.
	ringIdle = 2 * MaxBlock
)

// segment is one append's entries, uncompressed. It is never written to again: frames that readers hold alias it.
type segment struct {
	ids  []EntryID
	ends []uint32 // where each entry ends in buf
	buf  []byte
}

func (g *segment) last() EntryID { return g.ids[len(g.ids)-1] }

// search is the index of the first entry with an ID of at least id.
func (g *segment) search(id EntryID) int {
	i, _ := slices.BinarySearchFunc(g.ids, id, EntryID.Compare)
	return i
}

// cost is what the segment holds in memory.
func (g *segment) cost() int { return cap(g.buf) + 20*len(g.ids) + 100 }

// appendFrames appends entries from i on, up to limit frames and until page is full, and reports how many.
func (g *segment) appendFrames(frames []Frame, i, limit int, page *int) []Frame {
	for ; i < len(g.ids) && len(frames) < limit && *page > 0; i++ {
		start := uint32(0)
		if i > 0 {
			start = g.ends[i-1]
		}
		frames = append(frames, Frame{ID: g.ids[i], Event: g.buf[start:g.ends[i]:g.ends[i]]})
		*page -= int(g.ends[i] - start)
	}
	return frames
}

// ring is the newest entries of a stream, without a hole, so that tails at the tip read no storage.
type ring struct {
	segments []*segment // readers hold former ones: they are appended to and cut, and what stands in them stays
	cost     int
	base     EntryID // the newest entry before them
}

// push adds the newest segment, which follows the entry prev, and forgets the oldest ones beyond the bounds.
func (r *ring) push(g *segment, prev EntryID) {
	if len(r.segments) == 0 {
		r.base = prev
	}
	r.segments = append(r.segments, g)
	r.cost += g.cost()
	drop := 0
	for excess := r.cost; excess > ringBytes || len(r.segments)-drop > ringSegments; drop++ {
		excess -= r.segments[drop].cost()
	}
	r.forget(drop)
}

// trim forgets the segments that end before the stream's oldest entry.
func (r *ring) trim(oldest EntryID) {
	drop := 0
	for drop < len(r.segments) && r.segments[drop].last().Compare(oldest) < 0 {
		drop++
	}
	r.forget(drop)
}

// forget drops the n oldest segments.
func (r *ring) forget(n int) {
	for _, g := range r.segments[:n] {
		r.cost -= g.cost()
	}
	if n > 0 {
		r.base = r.segments[n-1].last()
		r.segments = slices.Clone(r.segments[n:])
	}
}

// reset empties the ring. It must be when an append is not pushed, for the ring has no holes.
func (r *ring) reset() {
	r.segments, r.cost = nil, 0
}

// after gives the segments that hold everything after id; false where the recent ones do not reach back that far.
func (t *tip) after(id EntryID) ([]*segment, bool) {
	if len(t.recent) == 0 {
		return nil, false
	}
	if id.Compare(t.base) < 0 && t.meta.Oldest.Compare(t.recent[0].ids[0]) < 0 {
		return nil, false
	}
	i, _ := slices.BinarySearchFunc(t.recent, id.Next(), func(g *segment, id EntryID) int { return g.last().Compare(id) })
	return t.recent[i:], true
}

// segmentOf copies the batch's kept entries for the ring; nil when no tail has asked lately, and then the ring is emptied.
func (s *embeddedStream) segmentOf(batch *messages.Batch) *segment {
	if len(s.ids) == 0 {
		return nil
	}
	if s.waiting.Load() == 0 && s.store.clock.Since(time.Unix(0, s.wanted.Load())) >= ringIdle {
		s.recent.reset()
		return nil
	}
	g := &segment{ids: slices.Clone(s.ids), ends: make([]uint32, 0, len(s.ids)), buf: make([]byte, 0, len(batch.Buf))}
	for i := range batch.Events {
		if !batch.Events[i].Drop {
			g.buf = append(g.buf, batch.Bytes(i)...)
			g.ends = append(g.ends, uint32(len(g.buf)))
		}
	}
	return g
}

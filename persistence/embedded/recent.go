package embedded

import (
	"slices"
	"time"

	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/internal/wake"
)

// maxRuns bounds the recent entries of a stream, in addition to wake.RecentBytes (I5).
const maxRuns = 1 << 10

// run is the entries of one append, uncompressed. It is never changed: the entries that readers
// hold alias it.
type run struct {
	ids  []EntryID
	ends []uint32 // where each entry ends in buf
	buf  []byte
}

func (g *run) last() EntryID { return g.ids[len(g.ids)-1] }

// search returns the index of the first entry with an ID of at least id.
func (g *run) search(id EntryID) int {
	i, _ := slices.BinarySearchFunc(g.ids, id, EntryID.Compare)
	return i
}

// cost is the memory that the run uses, in bytes.
func (g *run) cost() int { return cap(g.buf) + 20*len(g.ids) + 100 }

// appendEntries appends the run's entries from index i on, until there are limit entries or the
// page is full. page is the number of bytes left in the page.
func (g *run) appendEntries(entries []persistence.Entry, i, limit int, page *int) []persistence.Entry {
	for ; i < len(g.ids) && len(entries) < limit && *page > 0; i++ {
		start := uint32(0)
		if i > 0 {
			start = g.ends[i-1]
		}
		entries = append(entries, persistence.Entry{ID: g.ids[i], Event: g.buf[start:g.ends[i]:g.ends[i]]})
		*page -= int(g.ends[i] - start)
	}
	return entries
}

// recentRuns has the newest entries of a stream, contiguous, so that tails at the tip read no
// files.
type recentRuns struct {
	runs []*run // readers hold former slices: elements are appended and dropped, but never changed
	cost int
	base EntryID // the newest entry before runs
}

// push adds the newest run, which follows the entry prev, and drops the oldest runs beyond the
// bounds.
func (r *recentRuns) push(g *run, prev EntryID) {
	if len(r.runs) == 0 {
		r.base = prev
	}
	r.runs = append(r.runs, g)
	r.cost += g.cost()
	drop := 0
	for excess := r.cost; excess > wake.RecentBytes || len(r.runs)-drop > maxRuns; drop++ {
		excess -= r.runs[drop].cost()
	}
	r.forget(drop)
}

// trim drops the runs that end before the stream's oldest entry.
func (r *recentRuns) trim(oldest EntryID) {
	drop := 0
	for drop < len(r.runs) && r.runs[drop].last().Compare(oldest) < 0 {
		drop++
	}
	r.forget(drop)
}

// forget drops the n oldest runs.
func (r *recentRuns) forget(n int) {
	for _, g := range r.runs[:n] {
		r.cost -= g.cost()
	}
	if n > 0 {
		r.base = r.runs[n-1].last()
		r.runs = slices.Clone(r.runs[n:])
	}
}

// reset drops all runs. It must be called when an append is not pushed, because the runs must stay
// contiguous.
func (r *recentRuns) reset() {
	r.runs, r.cost = nil, 0
}

// after returns the runs that contain all entries after id. It returns false if the recent entries
// do not go back that far.
func (t *tip) after(id EntryID) ([]*run, bool) {
	if len(t.recent) == 0 {
		return nil, false
	}
	if id.Compare(t.base) < 0 && t.meta.oldest.Compare(t.recent[0].ids[0]) < 0 {
		return nil, false
	}
	i, _ := slices.BinarySearchFunc(t.recent, id.Next(), func(g *run, id EntryID) int { return g.last().Compare(id) })
	return t.recent[i:], true
}

// runOf copies the batch's kept entries for the tails. If no tail has asked lately, it drops all
// recent entries and returns nil.
func (st *stream) runOf(batch *messages.Batch) *run {
	if len(st.w.ids) == 0 {
		return nil
	}
	if st.waiting.Load() == 0 && st.store.clock.Since(time.Unix(0, st.wanted.Load())) >= wake.RecentIdle {
		st.w.recent.reset()
		return nil
	}
	g := &run{ids: slices.Clone(st.w.ids), ends: make([]uint32, 0, len(st.w.ids)), buf: make([]byte, 0, len(batch.Buf))}
	for i := range batch.Events {
		if !batch.Events[i].Drop {
			g.buf = append(g.buf, batch.Bytes(i)...)
			g.ends = append(g.ends, uint32(len(g.buf)))
		}
	}
	return g
}

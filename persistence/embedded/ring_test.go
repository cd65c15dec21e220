package embedded

import (
	"testing"

	"pgregory.net/rapid"

	"tempestd/persistence/internal/wake"
)

// TestI5_RingIsBounded pushes runs of any size, with trims between them.
func TestI5_RingIsBounded(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		var ring ring
		var kept []*run // the content of an unbounded ring
		next := EntryID{MS: 1}
		for range rapid.IntRange(1, 60).Draw(r, "pushes") {
			g := &run{buf: make([]byte, rapid.SampledFrom([]int{10, 1 << 20, wake.RecentBytes / 2, wake.RecentBytes}).Draw(r, "size"))}
			prev := next
			for range rapid.IntRange(1, 3).Draw(r, "entries") {
				next = EntryID{MS: next.MS + 2}
				g.ids = append(g.ids, next)
			}
			ring.push(g, prev)
			kept = append(kept, g)
			if rapid.IntRange(0, 9).Draw(r, "trim") == 0 {
				ring.trim(g.ids[0])
			}
			if n := len(kept) - len(ring.runs); n > 0 && len(ring.runs) > 0 && ring.base != kept[n-1].last() {
				r.Fatalf("the ring follows %s, and says %s", kept[n-1].last(), ring.base)
			}
			cost := 0
			for i, g := range ring.runs {
				cost += g.cost()
				if g != kept[len(kept)-len(ring.runs)+i] {
					r.Fatal("the ring has a hole")
				}
			}
			if cost != ring.cost || cost > wake.RecentBytes || len(ring.runs) > ringRuns {
				r.Fatalf("%d runs cost %d (counted %d)", len(ring.runs), cost, ring.cost)
			}
		}
		after := rapid.SampledFrom(kept).Draw(r, "after").last()
		seen := tip{meta: meta{oldest: EntryID{MS: 1}}, recent: ring.runs}
		got, ok := seen.after(after)
		if ok && len(got) > 0 && got[0].ids[0].Compare(after) <= 0 && got[0].last().Compare(after) <= 0 {
			r.Fatalf("after %s the ring gives %s", after, got[0].last())
		}
	})
}

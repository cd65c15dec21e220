package embedded

import (
	"testing"

	"pgregory.net/rapid"

	"tempestd/persistence/internal/wake"
)

// TestI5_RingIsBounded pushes runs of any size, with trims between them.
func TestI5_RingIsBounded(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		var recent recentRuns
		var kept []*run // the content of an unbounded recent
		next := EntryID{MS: 1}
		for range rapid.IntRange(1, 60).Draw(r, "pushes") {
			g := &run{buf: make([]byte, rapid.SampledFrom([]int{10, 1 << 20, wake.RecentBytes / 2, wake.RecentBytes}).Draw(r, "size"))}
			prev := next
			for range rapid.IntRange(1, 3).Draw(r, "entries") {
				next = EntryID{MS: next.MS + 2}
				g.ids = append(g.ids, next)
			}
			recent.push(g, prev)
			kept = append(kept, g)
			if rapid.IntRange(0, 9).Draw(r, "trim") == 0 {
				recent.trim(g.ids[0])
			}
			if n := len(kept) - len(recent.runs); n > 0 && len(recent.runs) > 0 && recent.base != kept[n-1].last() {
				r.Fatalf("the recent follows %s, and says %s", kept[n-1].last(), recent.base)
			}
			cost := 0
			for i, g := range recent.runs {
				cost += g.cost()
				if g != kept[len(kept)-len(recent.runs)+i] {
					r.Fatal("the recent has a hole")
				}
			}
			if cost != recent.cost || cost > wake.RecentBytes || len(recent.runs) > maxRuns {
				r.Fatalf("%d runs cost %d (counted %d)", len(recent.runs), cost, recent.cost)
			}
		}
		after := rapid.SampledFrom(kept).Draw(r, "after").last()
		seen := tip{meta: meta{oldest: EntryID{MS: 1}}, recent: recent.runs}
		got, ok := seen.after(after)
		if ok && len(got) > 0 && got[0].ids[0].Compare(after) <= 0 && got[0].last().Compare(after) <= 0 {
			r.Fatalf("after %s the recent gives %s", after, got[0].last())
		}
	})
}

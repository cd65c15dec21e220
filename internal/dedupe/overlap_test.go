package dedupe_test

import (
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"tempestd/internal/dedupe"
	"tempestd/messages"
	"tempestd/persistence"
)

func TestAnOverlapEndsOncePastAndQuiet(t *testing.T) {
	const quiet = 1 << 16
	m := &memory{}
	f := newFeed(m, dedupe.Options{})
	f.begin(t)
	f.writeAll(t, run(0, 2000))
	f.begin(t)
	f.clock.Advance(time.Hour)
	if got := f.writeAll(t, run(1000, 2000+quiet)); got.OverlapEnded || got.Duplicates != 1000 {
		t.Fatalf("it ended although a hit was just now: %+v", got)
	}
	f.clock.Advance(2*time.Minute - 1)
	if got := f.write(t, batch(t, 64, run(2000+quiet, 2001+quiet)...)); got.OverlapEnded {
		t.Fatal("it ended too early")
	}
	f.clock.Advance(1)
	if got := f.write(t, batch(t, 64, run(2001+quiet, 2002+quiet)...)); !got.OverlapEnded {
		t.Fatal("it did not end")
	}
	// Outside of an overlap Mark does nothing, and finds nothing.
	if got := f.write(t, batch(t, 64, run(2000, 2001)...)); got != (dedupe.Marked{}) {
		t.Errorf("marked %+v", got)
	}
	f.begin(t)
	if got := f.write(t, batch(t, 64, run(2000, 2002)...)); got.Duplicates != 2 {
		t.Errorf("marked %+v", got)
	}
}

func TestAnOverlapLastsForFewEvents(t *testing.T) {
	f := newFeed(&memory{}, dedupe.Options{})
	f.begin(t)
	f.clock.Advance(24 * time.Hour)
	if got := f.writeAll(t, run(0, 60_000)); got.OverlapEnded {
		t.Fatal("it ended")
	}
	f.clock.Advance(24 * time.Hour)
	if got := f.writeAll(t, run(59_000, 61_000)); got.Duplicates != 1000 {
		t.Errorf("marked %+v", got)
	}
}

func TestALongOverlapIsLoadedAnew(t *testing.T) {
	const n = 150_000 // more than twice the room of a table
	m := &memory{}
	f := newFeed(m, dedupe.Options{Horizon: persistence.Horizon{Entries: 10_000}})
	f.begin(t)
	for from := 0; from < n; from += 10_000 {
		got := f.writeAll(t, run(max(from-5_000, 0), from+10_000))
		if want := min(from, 5_000); got.Duplicates != want || got.OverlapEnded {
			t.Fatalf("at %d: %+v", from, got)
		}
	}
	same(t, m.stored(t), ids(run(0, n)))
}

// A repair appends several times what the table has room for, while the overlap of the live feed goes
// on. No live batch waits for the index to be loaded anew, and each event is found that either of
// them has stored.
func TestI2_ARepairBesideAnOverlapOnlyAddsToItsIndex(t *testing.T) {
	const n = 150_000
	m := &memory{}
	f := newFeed(m, dedupe.Options{Horizon: persistence.Horizon{Entries: 1 << 20}})
	fetch := dedupe.NewFetch(m, persistence.Horizon{Entries: 1 << 20})
	f.begin(t)
	index, err := fetch.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	fetch.Use(index)
	m.fail = errors.New("nobody reads the index again")
	live := n
	for from := 0; from < n; from += 10_000 {
		b := batch(t, 64, run(max(from-1_000, 0), from+10_000)...)
		if got, err := fetch.Mark(t.Context(), b); err != nil || got.Duplicates != min(from, 1_000) {
			t.Fatalf("fetched at %d: %+v, %v", from, got, err)
		}
		a, err := m.Append(t.Context(), b, messages.Checkpoint{})
		if err != nil {
			t.Fatal(err)
		}
		fetch.Appended(b, a)
		f.Noted(b, a)
		b = batch(t, 64, append(run(from/2, from/2+10), run(live, live+100)...)...)
		if got := f.mark(t, b); got.Duplicates != 10 || got.Misses != 100 {
			t.Fatalf("live at %d: %+v", from, got)
		}
		if a, err = m.Append(t.Context(), b, messages.Checkpoint{}); err != nil {
			t.Fatal(err)
		}
		f.Appended(b, a)
		fetch.Noted(b, a)
		live += 100
	}
	stored := m.stored(t)
	slices.Sort(stored)
	same(t, stored, ids(run(0, live)))
}

func TestABatchLargerThanTheTable(t *testing.T) {
	m := &memory{}
	f := newFeed(m, dedupe.Options{})
	f.begin(t)
	events := run(0, 70_000)
	f.write(t, batch(t, 64, events...))
	if got := f.write(t, batch(t, 64, events...)); got.Duplicates != len(events) {
		t.Errorf("marked %+v", got)
	}
}

func TestAlwaysFindsRepeatsOutsideOfOverlaps(t *testing.T) {
	m := &memory{}
	f := newFeed(m, dedupe.Options{Always: true})
	events := run(0, 50_000)
	f.writeAll(t, events)
	if got := f.writeAll(t, append(events[45_000:], run(50_000, 51_000)...)); got.Duplicates != 5000 {
		t.Errorf("marked %+v", got)
	}
	// Repeats within one batch, which is also marked twice.
	b := batch(t, 64, append(run(51_000, 51_100), run(51_050, 51_060)...)...)
	f.mark(t, b)
	f.write(t, b)
	same(t, m.stored(t), ids(run(0, 51_100)))
	// The end of an overlap that a repeat began is not reported.
	f.clock.Advance(time.Hour)
	if got := f.writeAll(t, run(51_100, 120_000)); got.Duplicates != 0 || got.OverlapEnded {
		t.Errorf("marked %+v", got)
	}
}

// After a restart the ring has the events from before it, once the overlap is over.
func TestI2_RepeatsAreFoundAfterARestart(t *testing.T) {
	m := &memory{}
	f := newFeed(m, dedupe.Options{Always: true})
	f.writeAll(t, run(0, 5000))
	f.restart()
	f.begin(t)
	f.clock.Advance(time.Hour)
	if got := f.writeAll(t, run(5000, 75_000)); !got.OverlapEnded {
		t.Fatalf("marked %+v", got)
	}
	if got := f.writeAll(t, run(4000, 5000)); got.Duplicates != 1000 {
		t.Errorf("marked %+v, want 1000 repeats of events from before the restart", got)
	}
}

// When another batch was appended than the one that was marked, the index is loaded anew.
func TestI2_AnotherBatchThanTheMarkedOneIsNoticed(t *testing.T) {
	m := &memory{}
	f := newFeed(m, dedupe.Options{})
	f.writeAll(t, run(0, 100))
	f.begin(t)
	f.mark(t, batch(t, 64, run(100, 110)...))
	other := batch(t, 64, run(100, 105)...)
	a, err := m.Append(t.Context(), other, messages.Checkpoint{})
	if err != nil {
		t.Fatal(err)
	}
	f.Appended(batch(t, 64, run(100, 110)...), a)
	f.writeAll(t, run(100, 120))
	same(t, m.stored(t), ids(run(0, 120)))
}

func TestWithoutAlwaysNothingIsComparedOutsideOfOverlaps(t *testing.T) {
	f := newFeed(&memory{fail: errors.New("nobody asks")}, dedupe.Options{})
	if got := f.write(t, batch(t, 64, run(0, 3)...)); got != (dedupe.Marked{}) {
		t.Errorf("marked %+v", got)
	}
}

func TestTheMemoryOfAnEndedOverlapIsGivenBack(t *testing.T) {
	const n = 1_000_000
	m := &memory{blocks: synthetic(n)}
	f := newFeed(m, dedupe.Options{})
	if loaded := f.begin(t); loaded.Fingerprints != n {
		t.Fatalf("loaded %+v", loaded)
	}
	heap := func() uint64 {
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	with := heap()
	f.clock.Advance(time.Hour)
	if got := f.writeAll(t, run(5_000_000, 5_070_000)); !got.OverlapEnded {
		t.Fatalf("it did not end: %+v", got)
	}
	clear(m.blocks[len(m.blocks)-70:]) // free the events' own memory
	if without := heap(); without+12*n > with {
		t.Errorf("%d MiB with the table, %d MiB without", with>>20, without>>20)
	}
	runtime.KeepAlive(f)
	runtime.KeepAlive(m)
}

// synthetic returns n entries in blocks of 8192. Only their fingerprints exist.
func synthetic(n int) []memoryBlock {
	rnd := rand.New(rand.NewPCG(3, 4))
	var blocks []memoryBlock
	id := messages.EntryID{MS: epoch/1000 - 1_000_000}
	for n > 0 {
		size := min(n, 8192)
		n -= size
		var b memoryBlock
		for range size {
			b.fingerprints = append(b.fingerprints, rnd.Uint64())
		}
		b.ids = append(b.ids, id.Next())
		id.MS++
		b.ids = append(b.ids, id)
		blocks = append(blocks, b)
	}
	return blocks
}

package dedupe_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"pgregory.net/rapid"

	"tempestd/internal/dedupe"
	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/embedded"
)

// feed does what a writer does: it has a stream, its deduper, and a clock.
type feed struct {
	stream persistence.Stream
	clock  *clockwork.FakeClock
	opt    dedupe.Options
	*dedupe.Deduper
}

func newFeed(stream persistence.Stream, opt dedupe.Options) *feed {
	f := &feed{stream: stream, clock: clockwork.NewFakeClock(), opt: opt}
	f.restart()
	return f
}

func (f *feed) restart() {
	f.opt.Clock = f.clock
	f.Deduper = dedupe.New(f.stream, f.opt)
}

func (f *feed) begin(t fataler) dedupe.Loaded {
	t.Helper()
	loaded, err := f.Begin(context.Background(), false, false)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return loaded
}

// prove begins an overlap that must show where in the stream the replay begins.
func (f *feed) prove(t fataler) dedupe.Loaded {
	t.Helper()
	loaded, err := f.Begin(context.Background(), false, true)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return loaded
}

func (f *feed) mark(t fataler, b *messages.Batch) dedupe.Marked {
	t.Helper()
	m, err := f.Mark(context.Background(), b)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return m
}

// write marks and appends a batch as the writer does.
func (f *feed) write(t fataler, b *messages.Batch) dedupe.Marked {
	t.Helper()
	m := f.mark(t, b)
	a, err := f.stream.Append(context.Background(), b, messages.Checkpoint{})
	if err != nil {
		t.Fatalf("%v", err)
	}
	f.Appended(b, a)
	return m
}

// writeAll writes the events in batches of 1000 and adds up the results.
func (f *feed) writeAll(t fataler, events []event) (sum dedupe.Marked) {
	t.Helper()
	for part := range slices.Chunk(events, 1000) {
		m := f.write(t, batch(t, 64, part...))
		sum.Duplicates += m.Duplicates
		sum.Misses += m.Misses
		sum.FalseHits += m.FalseHits
		sum.Early += m.Early
		sum.OverlapEnded = sum.OverlapEnded || m.OverlapEnded
		sum.Start = max(sum.Start, m.Start)
	}
	return sum
}

func same(t fataler, got, want []int) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("stored %v\nwant   %v", got, want)
	}
}

// The upstream sends events again, in any order and with any times and numbers; the writer
// restarts; and appends fail. The stream still holds each identity once, in the order of first
// arrival.
func TestI2_EachIdentityIsStoredOnceInOrderOfArrival(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bits := rapid.SampledFrom([]int{64, 6, 1, 0}).Draw(t, "fingerprint bits")
		m := &memory{}
		f := newFeed(m, dedupe.Options{Always: rapid.Bool().Draw(t, "always")})
		f.begin(t)
		var (
			arrived []int // the model: the expected entries
			known   = map[int]bool{}
			pos     = 0
			now     = int64(epoch)
			seq     = 0
		)
		upstream := make([]event, 0, 400) // what the upstream will send, in its order
		grow := func(n int) {
			for range n {
				if rapid.IntRange(0, 2).Draw(t, "run of equal times") == 0 {
					now += int64(rapid.IntRange(1, 5000).Draw(t, "pause"))
				}
				seq++
				upstream = append(upstream, event{id: len(upstream), timeUS: now, seq: seq})
			}
		}
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			switch rapid.IntRange(0, 5).Draw(t, "step") {
			case 0: // a reconnect with an overlap
				pos -= rapid.IntRange(min(1, pos), pos).Draw(t, "rewind") // a cursor is inclusive
				f.begin(t)
			case 1: // the upstream crashes: new times and numbers, another order
				from := rapid.IntRange(0, len(upstream)).Draw(t, "crash")
				again := slices.Clone(upstream[from:])
				shuffle := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "shuffle"), 0))
				shuffle.Shuffle(len(again), func(i, j int) { again[i], again[j] = again[j], again[i] })
				seq = from
				for i := range again {
					now += 10
					seq++
					again[i].timeUS, again[i].seq = now, seq
				}
				upstream = append(upstream[:from], again...)
				pos = min(pos, from)
				pos -= rapid.IntRange(min(1, pos), pos).Draw(t, "rewind")
				f.begin(t)
			case 2: // we crash
				pos -= rapid.IntRange(min(1, pos), min(pos, 40)).Draw(t, "rewind")
				f.restart()
				f.begin(t)
			default:
				n := rapid.IntRange(1, 30).Draw(t, "events")
				if pos+n > len(upstream) {
					grow(pos + n - len(upstream))
				}
				part := slices.Clone(upstream[pos : pos+n])
				pos += n
				if rapid.Bool().Draw(t, "repeat within the batch") {
					part = append(part, part[rapid.IntRange(0, n-1).Draw(t, "which")])
				}
				b := batch(t, bits, part...)
				if rapid.IntRange(0, 3).Draw(t, "append fails") == 0 {
					f.mark(t, b)
					for i := range b.Events {
						b.Events[i].Drop = rapid.Bool().Draw(t, "drop is kept") && b.Events[i].Drop
					}
				}
				f.write(t, b)
				for _, e := range part {
					if !known[e.id] {
						known[e.id] = true
						arrived = append(arrived, e.id)
					}
				}
			}
		}
		same(t, m.stored(t), arrived)
	})
}

func TestI2_TheSameOnTheEmbeddedStore(t *testing.T) {
	store, err := embedded.Open(t.Context(), t.TempDir(), embedded.Options{MinFree: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	stream, err := store.OpenStream(t.Context(), "feed", persistence.StreamOptions{})
	if err != nil {
		t.Fatal(err)
	}
	const n = 20_000
	events := run(0, n)
	f := newFeed(stream, dedupe.Options{Horizon: persistence.Horizon{Entries: 1 << 20, Age: time.Hour}})
	f.begin(t)
	f.writeAll(t, events[:15_000])
	f.restart()
	if loaded := f.begin(t); loaded.Fingerprints != 15_000 || !loaded.Complete {
		t.Errorf("loaded %+v", loaded)
	}
	for i := 12_000; i < n; i++ {
		events[i].timeUS, events[i].seq = epoch+n*1000+int64(i), 12_000-i
	}
	if m := f.writeAll(t, events[5_000:]); m.Duplicates != 10_000 || m.Misses != 5_000 {
		t.Errorf("marked %+v", m)
	}
	f.begin(t)
	if m := f.writeAll(t, events[14_000:]); m.Duplicates != 6_000 || m.Misses != 0 {
		t.Errorf("marked %+v", m)
	}
	from, err := persistence.ParseStreamCursor("start")
	if err != nil {
		t.Fatal(err)
	}
	to, err := persistence.ParseStreamCursor("end")
	if err != nil {
		t.Fatal(err)
	}
	next := 0
	for next < n {
		frames, err := stream.Read(t.Context(), from, to, 10_000)
		if err != nil {
			t.Fatal(err)
		}
		for _, frame := range frames.Entries {
			if id := identityOf(t, frame.Event); id != next {
				t.Fatalf("entry %d is %s", next, frame.Event)
			}
			next++
		}
		if from, err = persistence.ParseStreamCursor(frames.Entries[len(frames.Entries)-1].ID.Next().String()); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := stream.Info(t.Context()); err != nil || info.Entries != n {
		t.Errorf("%d entries, %v", info.Entries, err)
	}
}

func TestFingerprintsThatCollideAreTold(t *testing.T) {
	m := &memory{}
	f := newFeed(m, dedupe.Options{})
	f.begin(t)
	f.write(t, batch(t, 0, run(0, 3)...)) // 0, 1 and 2 have the same fingerprint
	f.begin(t)
	got := f.write(t, batch(t, 0, run(2, 4)...))
	if got.Duplicates != 1 || got.FalseHits == 0 {
		t.Errorf("marked %+v", got)
	}
	same(t, m.stored(t), []int{0, 1, 2, 3})
}

func TestGapsAreLeftAlone(t *testing.T) {
	m := &memory{}
	f := newFeed(m, dedupe.Options{Always: true})
	f.begin(t)
	gap := func() *messages.Batch {
		b := batch(t, 64, run(0, 1)...)
		b.Events[0].Kind = messages.KindGap
		return b
	}
	f.write(t, gap())
	f.write(t, gap())
	f.write(t, batch(t, 64, run(1, 3)...))
	f.write(t, batch(t, 64, run(1, 4)...))
	same(t, m.stored(t), []int{0, 0, 1, 2, 3})
}

// horizon is the least number of entries that a replay is compared with, in whole batches of the
// tests.
const horizon = 33_000

// The stored entry itself shows that an event is older than the index. Its time does not.
func TestI2_AReplayFromBeforeTheHorizonIsSkippedUpToIt(t *testing.T) {
	m := &memory{}
	f := newFeed(m, dedupe.Options{Horizon: persistence.Horizon{Entries: 1500}})
	f.begin(t)
	events := run(0, 2*horizon+1000)
	// Three events per microsecond: the horizon begins within a run of equal times.
	for i := range events {
		events[i].timeUS = epoch + int64(i/3)
	}
	f.writeAll(t, events[:2*horizon])
	f.restart()
	if loaded := f.prove(t); loaded.Complete || loaded.Fingerprints != horizon {
		t.Errorf("loaded %+v", loaded)
	}
	got := f.writeAll(t, events)
	if got.Duplicates != horizon || got.Misses != 1000 || got.Early != horizon || got.Start != dedupe.StartHeld {
		t.Errorf("marked %+v", got)
	}
	same(t, m.stored(t), ids(events))
}

func TestI2_NewEventsAreNotTakenForOldOnesAfterAClockWasWrong(t *testing.T) {
	m := &memory{}
	f := newFeed(m, dedupe.Options{Horizon: persistence.Horizon{Entries: 1500}})
	f.begin(t)
	events := run(0, 2*horizon+1000)
	// From here on, every ID is in the future.
	events[0].timeUS += int64(5 * time.Minute / time.Microsecond)
	f.writeAll(t, events[:2*horizon])
	f.restart()
	f.prove(t)
	if got := f.writeAll(t, events[2*horizon-500:]); got.Duplicates != 500 || got.Misses != 1000 || got.Start != dedupe.StartHeld {
		t.Errorf("marked %+v", got)
	}
	same(t, m.stored(t), ids(events))
}

// A server's clock steps back by more than the index covers. The events with the earlier times are
// still new.
func TestI2_NewEventsOfAClockThatSteppedBackAreStored(t *testing.T) {
	m := &memory{}
	f := newFeed(m, dedupe.Options{Horizon: persistence.Horizon{Entries: 1500}})
	f.begin(t)
	events := run(0, 2*horizon+1000)
	for i := 2 * horizon; i < len(events); i++ {
		events[i].timeUS -= int64(time.Hour / time.Microsecond)
	}
	f.writeAll(t, events[:2*horizon])
	f.restart()
	f.prove(t)
	if got := f.writeAll(t, events[2*horizon-1:]); got.Duplicates != 1 || got.Misses != 1000 || got.Early != 0 {
		t.Errorf("marked %+v", got)
	}
	same(t, m.stored(t), ids(events))
}

func ids(events []event) []int {
	all := make([]int, len(events))
	for i, e := range events {
		all[i] = e.id
	}
	return all
}

// A feed that began at the live tip gets a replay from before that. The stream was never meant to
// hold the earlier events, so they are not appended behind its entries.
func TestI3_AReplayFromBeforeTheStreamBeganIsSkippedUpToIt(t *testing.T) {
	m := &memory{}
	f := newFeed(m, dedupe.Options{})
	f.begin(t)
	f.writeAll(t, run(100, 200))
	f.restart()
	if loaded := f.prove(t); !loaded.Complete {
		t.Errorf("loaded %+v", loaded)
	}
	if got := f.writeAll(t, run(0, 300)); got != (dedupe.Marked{Duplicates: 100, Misses: 100, Early: 100, ReachedEnd: got.ReachedEnd, Start: dedupe.StartHeld}) {
		t.Errorf("marked %+v", got)
	}
	same(t, m.stored(t), ids(run(100, 300)))
}

// Only an entry that we hold, at the point that was asked for, shows that a replay begins early
// enough.
func TestI4_AReplayThatBeginsTooLateIsTold(t *testing.T) {
	for name, c := range map[string]struct {
		replay []event
		want   dedupe.Start
	}{
		"with the last entry":                         {run(999, 1100), dedupe.StartHeld},
		"with the first":                              {run(0, 1100), dedupe.StartHeld},
		"from before it":                              {append(run(5000, 5100), run(0, 1100)...), dedupe.StartHeld},
		"from before it, and nothing else yet":        {run(5000, 5100), dedupe.StartPending},
		"with new events, and a straggler after them": {append(run(1000, 1100), run(990, 991)...), dedupe.StartLate},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFeed(&memory{}, dedupe.Options{})
			f.begin(t)
			f.writeAll(t, run(0, 1000))
			f.prove(t)
			if got := f.mark(t, batch(t, 64, c.replay...)); got.Start != c.want {
				t.Errorf("marked %+v", got)
			}
		})
	}
	t.Run("beyond an index that does not cover the stream", func(t *testing.T) {
		f := newFeed(&memory{}, dedupe.Options{Horizon: persistence.Horizon{Entries: 1000}})
		f.begin(t)
		f.writeAll(t, run(0, 2*horizon))
		f.prove(t)
		if got := f.mark(t, batch(t, 64, run(2*horizon, 2*horizon+10)...)); got.Start != dedupe.StartLate {
			t.Errorf("marked %+v", got)
		}
	})
}

// A gap entry for one event from before the stream's beginning is no loss, and is dropped. Before a
// replay that begins too late it is kept: it may be the only trace of its event.
func TestI4_AGapBeforeTheStreamIsLeftOutOnceTheReplayIsRecognised(t *testing.T) {
	for name, c := range map[string]struct {
		replay []event
		drop   bool
	}{"recognised": {run(99, 110), true}, "too late": {run(100, 110), false}} {
		t.Run(name, func(t *testing.T) {
			// The index does not cover the stream, so that an event which it lacks decides.
			f := newFeed(&memory{}, dedupe.Options{Horizon: persistence.Horizon{Entries: 1000}})
			f.begin(t)
			f.writeAll(t, run(-2*horizon, 100))
			f.prove(t)
			b := batch(t, 64, c.replay...)
			b.Events = slices.Insert(b.Events, 0, messages.Event{Kind: messages.KindGap, TimeUS: b.Events[0].TimeUS})
			if got := f.mark(t, b); b.Events[0].Drop != c.drop {
				t.Errorf("dropped: %t; marked %+v", b.Events[0].Drop, got)
			}
		})
	}
}

// Behind the stream's beginning nothing is dropped because of an early time: another host's clock
// may be slow.
func TestI2_AnEarlierClockLosesNothingOnceTheReplayIsRecognised(t *testing.T) {
	m := &memory{}
	f := newFeed(m, dedupe.Options{})
	f.begin(t)
	f.writeAll(t, run(0, 100))
	early := run(90, 200)
	for i := range early {
		early[i].timeUS -= int64(time.Hour / time.Microsecond)
	}
	f.prove(t)
	if got := f.writeAll(t, early); got.Duplicates != 10 || got.Misses != 100 {
		t.Errorf("marked %+v", got)
	}
	same(t, m.stored(t), ids(run(0, 200)))
}

func TestWhatRetentionDroppedIsADuplicate(t *testing.T) {
	m := &memory{}
	f := newFeed(m, dedupe.Options{})
	f.begin(t)
	f.writeAll(t, run(0, 3000))
	f.begin(t)
	m.dropped, m.blocks = m.blocks[:2], m.blocks[2:]
	if got := f.writeAll(t, run(0, 3100)); got.Duplicates != 3000 {
		t.Errorf("marked %+v", got)
	}
	same(t, m.stored(t), ids(run(0, 3100)))
}

func TestWhatIsCorruptIsWelcomeBack(t *testing.T) {
	m := &memory{}
	f := newFeed(m, dedupe.Options{})
	f.begin(t)
	f.writeAll(t, run(0, 10))
	f.begin(t)
	m.corrupt = true
	if got := f.mark(t, batch(t, 64, run(5, 12)...)); got != (dedupe.Marked{FalseHits: 5, Misses: 7}) {
		t.Errorf("marked %+v", got)
	}
}

func TestErrorsOfTheStreamAreReturned(t *testing.T) {
	broken := errors.New("broken")
	m := &memory{fail: broken}
	f := newFeed(m, dedupe.Options{Horizon: persistence.Horizon{Entries: 1}})
	if _, err := f.Begin(t.Context(), false, false); !errors.Is(err, broken) {
		t.Errorf("Begin gives %v", err)
	}
	m.fail = nil
	f.begin(t)
	f.writeAll(t, run(0, 98_000)) // nearly all that the table may have
	m.fail = broken
	b := batch(t, 64, run(97_900, 98_900)...)
	if _, err := f.Mark(t.Context(), b); !errors.Is(err, broken) {
		t.Errorf("Mark gives %v", err)
	}
	m.fail = nil
	if got := f.write(t, b); got.Duplicates != 100 {
		t.Errorf("marked again: %+v", got)
	}
}

// An upstream that crashed repeats its events in another order, so events from before the stream's
// beginning also come behind its first entry, at the end of a batch or as a whole one. The batches
// that follow tell them from new ones.
func TestI3_EventsFromBeforeTheStreamAreToldByTheBatchesThatFollow(t *testing.T) {
	of := func(numbers ...int) (events []event) {
		for _, n := range numbers {
			events = append(events, run(n, n+1)...)
		}
		return events
	}
	for name, c := range map[string]struct {
		batches [][]event
		fails   bool // the first batch is marked again
		early   int
		misses  int
		waits   int // for a batch that does not come
	}{
		"the end of a batch":            {batches: [][]event{of(98, 100, 97), of(101, 102, 150)}, early: 2},
		"a batch in between":            {batches: [][]event{of(100), of(97, 98), of(99), of(103, 150)}, early: 3},
		"marked again":                  {batches: [][]event{of(100, 97), of(98), of(101)}, fails: true, early: 2},
		"before an entry of the middle": {batches: [][]event{of(100, 301), of(302), of(150, 101, 303)}, early: 2, misses: 1},
		"new ones":                      {batches: [][]event{of(100, 301), of(302), of(150, 303), of(101)}, misses: 3},
		"nothing follows":               {batches: [][]event{of(100, 301), of(302)}, misses: 2, waits: 1},
		"nothing is open":               {batches: [][]event{of(97, 100), of(101, 150), of(301)}, early: 1, misses: 1},
	} {
		t.Run(name, func(t *testing.T) {
			m := &memory{}
			var batches []*messages.Batch
			waits, fails := 0, c.fails
			f := newFeed(m, dedupe.Options{Ahead: func(_ context.Context, n int) *messages.Batch {
				if n+1 < len(batches) {
					return batches[n+1]
				}
				waits++
				return nil
			}})
			f.begin(t)
			f.writeAll(t, run(100, 200))
			f.prove(t)
			for _, events := range c.batches {
				batches = append(batches, batch(t, 64, events...))
			}
			var early, misses int
			for ; len(batches) > 0; batches = batches[1:] {
				if fails {
					f.mark(t, batches[0])
					for i := range batches[0].Events {
						batches[0].Events[i].Drop = false
					}
					fails = false
				}
				marked := f.write(t, batches[0])
				early, misses = early+marked.Early, misses+marked.Misses
			}
			if early != c.early || misses != c.misses || waits != c.waits {
				t.Errorf("%d from before, %d new, %d waits; want %d, %d, %d", early, misses, waits, c.early, c.misses, c.waits)
			}
		})
	}
}

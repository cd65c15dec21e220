package embedded_test

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/embedded"
	"tempestd/persistence/streamtest"
)

// Large appends of a repair take turns with small ones of the live feed. The memory of a large one
// stays for the next.
func TestLargeAndSmallAppendsInTurns(t *testing.T) {
	store, s := openFeed(t, t.TempDir(), embedded.Options{MinFree: 64 << 20, SyncInterval: time.Hour})
	events := streamtest.NewEvents(1, start)
	large, small := events.Fill(new(messages.Batch), 2048), events.Fill(new(messages.Batch), 5)
	turns := func(n int) (allocated uint64) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range n {
			for _, batch := range []*messages.Batch{large, small} {
				_, err := s.Append(t.Context(), batch, messages.Checkpoint{})
				must(t, err)
			}
		}
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	turns(2)
	if got, most := turns(10), uint64(10*len(large.Buf)/4); got > most {
		t.Errorf("10 appends of %d bytes, and as many small ones, allocate %d bytes", len(large.Buf), got)
	}
	must(t, store.Close())
}

// TestBatchesOfAnySize appends batches as large as the configuration allows, of events that hardly
// compress. Each is stored in several blocks, and atomically as a whole.
func TestBatchesOfAnySize(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store, s := openFeed(t, dir, embedded.Options{MinFree: 64 << 20})
	rnd := rand.New(rand.NewPCG(1, 2))
	total := 0
	for _, mib := range []int{16, 64} {
		b := new(messages.Batch)
		raw := make([]byte, 45_000)
		for n := 0; len(b.Buf) < mib<<20; n++ {
			for i := range raw {
				raw[i] = byte(rnd.Uint32())
			}
			event := fmt.Appendf(nil, `{"n":%d,"x":"%s"}`, n, base64.StdEncoding.EncodeToString(raw))
			b.Events = append(b.Events, messages.Event{Off: uint32(len(b.Buf)), Len: uint32(len(event)), TimeUS: start + int64(total+n), Fingerprint: uint64(n)})
			b.Buf = append(b.Buf, event...)
		}
		done, err := s.Append(t.Context(), b, messages.Checkpoint{Position: messages.Position{Seq: int64(mib)}})
		must(t, err)
		if done.Entries != len(b.Events) || len(done.Blocks) < 2 {
			t.Errorf("%d MiB: %d entries in %d blocks, want %d in several", mib, done.Entries, len(done.Blocks), len(b.Events))
		}
		total += done.Entries
	}
	for _, when := range []string{"appended", "opened again"} {
		n := 0
		for after := persistence.FromBeginning(); ; {
			page, err := s.Tail(t.Context(), after, 0, persistence.MaxCount)
			must(t, err)
			if len(page.Entries) == 0 {
				break
			}
			n += len(page.Entries)
			after = persistence.CursorAt(page.Cursor)
		}
		if n != total {
			t.Errorf("%s: %d entries are read, want %d", when, n, total)
		}
		must(t, store.Close())
		store, s = openFeed(t, dir, embedded.Options{MinFree: 64 << 20})
	}
	must(t, store.Close())
}

// ageStream makes a stream with one block per second of its own time, the newest at the time now.
func ageStream(t *testing.T, clock clockwork.Clock, age time.Duration, seconds int, onNotice func(persistence.Notice)) (*embedded.Store, persistence.Stream) {
	t.Helper()
	store, err := embedded.Open(t.Context(), t.TempDir(), embedded.Options{Clock: clock, Maintenance: time.Minute, OnNotice: onNotice})
	must(t, err)
	s, err := store.OpenStream(t.Context(), "feed", persistence.StreamOptions{Retention: persistence.Retention{Age: age}})
	must(t, err)
	batch := new(messages.Batch)
	for i := range seconds {
		at := clock.Now().UnixMicro() - int64(seconds-1-i)*1_000_000
		event := fmt.Appendf(nil, `{"i":%d}`, i)
		*batch = messages.Batch{Buf: event, Events: []messages.Event{{Len: uint32(len(event)), TimeUS: at, Fingerprint: uint64(i)}}}
		_, err := s.Append(t.Context(), batch, messages.Checkpoint{})
		must(t, err)
	}
	return store, s
}

func kept(t *testing.T, s persistence.Stream) int64 {
	t.Helper()
	info, err := s.Info(t.Context())
	must(t, err)
	return info.Entries
}

// TestWrongClockEmptiesNoStream sets the clock wrong for good. By the stream's own time no entry is
// old, so none is dropped.
func TestWrongClockEmptiesNoStream(t *testing.T) {
	t.Parallel()
	clock := clockwork.NewFakeClockAt(time.UnixMicro(start))
	store, s := ageStream(t, clock, time.Hour, 100, nil)
	clock.Advance(8 * 24 * time.Hour)
	for range 5 {
		embedded.Maintain(t.Context(), store)
		clock.Advance(time.Minute)
	}
	if n := kept(t, s); n != 100 {
		t.Errorf("%d entries are left of 100", n)
	}
	must(t, store.Close())
}

// TestOneRoundDropsAPart makes nearly all entries old by both times. One round drops a quarter; the
// next round, which finds the same, drops the rest.
func TestOneRoundDropsAPart(t *testing.T) {
	t.Parallel()
	clock := clockwork.NewFakeClockAt(time.UnixMicro(start))
	trimmed := make(chan int64, 1)
	store, s := ageStream(t, clock, 10*time.Second, 100, func(e persistence.Notice) {
		if e, ok := e.(persistence.StreamTrimmed); ok {
			trimmed <- e.Entries
		}
	})
	must(t, clock.BlockUntilContext(t.Context(), 1))
	for _, round := range []struct {
		after   time.Duration
		dropped int64
	}{
		{time.Minute, 25},
		{365 * 24 * time.Hour, 18}, // no correct clock moves so far between two rounds
		{time.Minute, 46},          // all but the entries of the last 10 s of the stream
	} {
		clock.Advance(round.after)
		if n := <-trimmed; n != round.dropped {
			t.Errorf("the round after %s dropped %d entries, want %d", round.after, n, round.dropped)
		}
	}
	if n := kept(t, s); n != 11 {
		t.Errorf("%d entries are left", n)
	}
	must(t, store.Close())
}

// TestBytesOnDiskStayNearTheBound appends far more than a stream may keep, as in a catch-up. The
// disk usage stays below 5/4 of the bound.
func TestBytesOnDiskStayNearTheBound(t *testing.T) {
	t.Parallel()
	const bound = 20 << 20
	dir := t.TempDir()
	store, err := embedded.Open(t.Context(), dir, embedded.Options{SyncInterval: time.Hour, MinFree: 64 << 20})
	must(t, err)
	s, err := store.OpenStream(t.Context(), "feed", persistence.StreamOptions{Retention: persistence.Retention{Bytes: bound}})
	must(t, err)
	events, batch := streamtest.NewEvents(1, start), new(messages.Batch)
	most := int64(0)
	for range 60 {
		_, err := s.Append(t.Context(), events.Fill(batch, 4096), messages.Checkpoint{})
		must(t, err)
		most = max(most, diskUsage(t, dir))
	}
	t.Logf("at most %d bytes on disk, %.2f of the bound", most, float64(most)/bound)
	if most > bound*5/4 {
		t.Errorf("%d bytes on disk for a bound of %d", most, bound)
	}
	must(t, store.Close())
}

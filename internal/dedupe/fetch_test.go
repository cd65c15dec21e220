package dedupe_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tempestd/internal/dedupe"
	"tempestd/messages"
	"tempestd/persistence"
)

// A gap lies at any depth in the stream, the horizon reaches less far, and parts of the gap were
// repaired before. Whatever a fetch brings, with repeats and in whatever pieces, while live events
// are appended: the stream has each event once.
func TestI2_FetchesNeitherDoubleNorLose(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bits := rapid.SampledFrom([]int{64, 64, 10}).Draw(t, "bits of fingerprints")
		stream := &memory{}
		write := func(events []event) persistence.Appended {
			a, err := stream.Append(context.Background(), batch(t, bits, events...), messages.Checkpoint{})
			if err != nil {
				t.Fatalf("%v", err)
			}
			return a
		}
		before := rapid.IntRange(1, 300).Draw(t, "events before the gap")
		missed := rapid.IntRange(1, 300).Draw(t, "events in it")
		after := rapid.IntRange(1, 1200).Draw(t, "events after it")
		gapEnd := before + missed
		write(run(0, before))
		// Another host may have sent a part of it: a suspected gap.
		held := rapid.IntRange(0, missed).Draw(t, "held before the gap entry")
		if held > 0 {
			write(run(gapEnd-held, gapEnd))
		}
		next := gapEnd
		live := func(n int) persistence.Appended {
			next += n
			return write(run(next-n, next))
		}
		for next < gapEnd+after {
			live(min(40, gapEnd+after-next))
		}
		var repaired []dedupe.Span
		horizon := rapid.SampledFrom([]persistence.Horizon{{Entries: 1 << 20}, {Age: time.Millisecond}, {Age: 50 * time.Millisecond}}).Draw(t, "horizon")
		place := dedupe.Span{From: messages.EntryID{MS: epoch / 1000}, To: messages.EntryID{MS: uint64(epoch/1000 + gapEnd + 51)}}
		fetches := rapid.IntRange(1, 3).Draw(t, "fetches")
		for k := range fetches {
			f := dedupe.NewFetch(stream, horizon, append(slices.Clone(repaired), place)...)
			if rapid.Bool().Draw(t, "live while it loads") {
				index, err := f.Load(context.Background())
				if err != nil {
					t.Fatalf("%v", err)
				}
				b := batch(t, bits, run(next, next+5)...)
				a := live(5)
				f.Noted(b, a)
				f.Use(index)
			} else {
				index, err := f.Load(context.Background())
				if err != nil {
					t.Fatalf("%v", err)
				}
				f.Use(index)
			}
			// The source begins before the gap and ends behind it, and repeats itself. The last fetch
			// brings everything.
			from := rapid.IntRange(0, before).Draw(t, "from")
			to := gapEnd + rapid.IntRange(0, min(after, 50)).Draw(t, "beyond")
			stop := to
			if k+1 < fetches {
				stop = rapid.IntRange(from, to).Draw(t, "cut at")
			}
			for at := from; at < stop; {
				n := min(rapid.IntRange(1, 60).Draw(t, "batch"), stop-at)
				again := rapid.IntRange(0, min(at-from, 20)).Draw(t, "repeated")
				b := batch(t, bits, run(at-again, at+n)...)
				if _, err := f.Mark(context.Background(), b); err != nil {
					t.Fatalf("%v", err)
				}
				a, err := stream.Append(context.Background(), b, messages.Checkpoint{})
				if err != nil {
					t.Fatalf("%v", err)
				}
				f.Appended(b, a)
				if a.Entries > 0 {
					repaired = append(repaired, dedupe.Span{From: a.First, To: a.Last})
				}
				at += n
				if rapid.Bool().Draw(t, "live in between") {
					b := batch(t, bits, run(next, next+3)...)
					f.Noted(b, live(3))
				}
			}
		}
		stored := stream.stored(t)
		slices.Sort(stored)
		for i, id := range stored {
			if i != id {
				t.Fatalf("event %d is missing or doubled: %d events, want %d", i, len(stored), next)
			}
		}
		if len(stored) != next {
			t.Fatalf("%d events, want %d", len(stored), next)
		}
	})
}

// The source of a repair may have got as far as the live feed: what the feed has appended meanwhile,
// before the repair had its index and after, is not stored again.
func TestI2_AFetchKnowsWhatCameLiveMeanwhile(t *testing.T) {
	stream := &memory{}
	f := dedupe.NewFetch(stream, persistence.Horizon{})
	live := func(from, to int) {
		b := batch(t, 64, run(from, to)...)
		a, err := stream.Append(t.Context(), b, messages.Checkpoint{})
		if err != nil {
			t.Fatal(err)
		}
		f.Noted(b, a)
	}
	index, err := f.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	live(0, 10)
	f.Use(index)
	live(10, 20)
	m, err := f.Mark(t.Context(), batch(t, 64, run(0, 25)...))
	if err != nil || m.Duplicates != 20 || m.Misses != 5 {
		t.Errorf("marked %+v, %v; want 20 duplicates", m, err)
	}
}

// Blocks between the gap's place and the horizon are passed over.
func TestFetchHoldsOnlyWhatIsNear(t *testing.T) {
	stream := &memory{}
	day := 24 * time.Hour.Milliseconds()
	for d := range int64(10) { // 8 000 events a day; the least horizon is 32 768
		for k := range int64(4) {
			var events []event
			for n := range int64(2_000) {
				id := (d*4+k)*2_000 + n
				events = append(events, event{id: int(id), timeUS: epoch + d*day*1000 + k*2_000 + n, seq: int(id) + 1})
			}
			if _, err := stream.Append(context.Background(), batch(t, 64, events...), messages.Checkpoint{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	at := epoch + 3*day*1000
	f := dedupe.NewFetch(stream, persistence.Horizon{Entries: 1 << 15}, dedupe.SpanOf(at, at+1000))
	index, err := f.Load(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if n := index.Len(); n < 8_000+1<<15 || n > 2*8_000+1<<15 {
		t.Fatalf("%d fingerprints of 80 000 are held", n)
	}
}

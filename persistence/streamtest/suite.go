package streamtest

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"tempestd/messages"
	"tempestd/persistence"
)

// Backend gives the suite access to the stores that it tests.
type Backend struct {
	// Open opens the store in dir. It is called again for the same dir after the store was closed.
	Open func(ctx context.Context, dir string) (persistence.Store, error)
	// Now returns the backend's time, which ages are compared with. nil means the wall clock.
	Now func() time.Time
	// Maintain does a round of the store's background work now. nil means that there is none.
	Maintain func(ctx context.Context, store persistence.Store)
}

// Run runs the suite. The name of a test contains the invariants that it guards.
func Run(t *testing.T, b Backend) {
	if b.Now == nil {
		b.Now = time.Now
	}
	if b.Maintain == nil {
		b.Maintain = func(context.Context, persistence.Store) {}
	}
	for _, test := range []struct {
		name string
		run  func(*testing.T, Backend)
	}{
		{"AppendReturnsWhatReadersGet", testAppend},
		{"AppendLeavesDropsOut", testDrops},
		{"EmptyAppendMovesTheCheckpointAlone", testEmptyAppend},
		{"I1_CheckpointCommitsWithTheEntries", testCheckpoint},
		{"CheckpointStore", testCheckpointStore},
		{"Consumers", testConsumers},
		{"ConsumerUpdatesFollowOneAnother", testConsumerUpdates},
		{"I2_I3_StreamsSideBySide", testSideBySide},
		{"Names", testNames},
		{"Close", testClose},
		{"Delete", testDelete},
		{"Ranges", testRanges},
		{"Bounds", testBounds},
		{"ReadingByName", testByName},
		{"PagesEndByBytes", testPageBytes},
		{"PagesEndWhereTheirReaderHasNoMoreRoom", testPageRoom},
		{"TailTimesOutEmptyAndOpen", testTailTimeout},
		{"TailWakes", testTailWakes},
		{"TailEnds", testTailEnds},
		{"TailSince", testTailSince},
		{"PagesTellWhereTheyAre", testPositions},
		{"I3_I4_PagesAreOneInstant", testPagesAreOneInstant},
		{"I3_I8_ReadersFollowTheWriter", testFollow},
		{"TrimKeepsTheNewest", testTrim},
		{"TrimByAge", testTrimAge},
		{"Fingerprints", testFingerprints},
		{"AppendTellsItsBlocks", testBlocks},
		{"I2_I3_Model", testModel},
		{"Gaps", testGaps},
		{"I4_GapsInTheCheckpoint", testGapsInTheCheckpoint},
		{"GapsAreBounded", testGapBound},
		{"I4_GapModel", testGapModel},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, b) })
	}
}

// fixture is an open store with one stream.
type fixture struct {
	t       *testing.T
	backend Backend
	dir     string
	store   persistence.Store
	stream  persistence.Stream
	events  *Events
}

func open(t *testing.T, b Backend) *fixture {
	t.Helper()
	f := &fixture{t: t, backend: b, dir: t.TempDir(), events: NewEvents(7, b.Now().Add(-time.Hour).UnixMicro())}
	f.reopen()
	t.Cleanup(func() {
		if err := f.store.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	})
	return f
}

// reopen closes the store and opens it again.
func (f *fixture) reopen() {
	f.t.Helper()
	if f.store != nil {
		must(f.t, f.store.Close())
	}
	var err error
	f.store, err = f.backend.Open(context.Background(), f.dir)
	must(f.t, err)
	f.stream, err = f.store.OpenStream(context.Background(), "feed", persistence.StreamOptions{})
	must(f.t, err)
}

// append stores n new events and returns them as entries.
func (f *fixture) append(n int) []persistence.Entry {
	f.t.Helper()
	return f.put(f.events.Fill(new(messages.Batch), n))
}

// put stores a batch and returns its kept events as entries, under the IDs that they must have got.
func (f *fixture) put(b *messages.Batch) []persistence.Entry {
	f.t.Helper()
	last := newest(f.t, f.stream)
	want := entries(b, last)
	got, err := f.stream.Append(f.t.Context(), b, messages.Checkpoint{})
	must(f.t, err)
	if got.Entries != len(want) {
		f.t.Fatalf("append stored %d entries, want %d", got.Entries, len(want))
	}
	if len(want) > 0 && (got.First != want[0].ID || got.Last != want[len(want)-1].ID) {
		f.t.Fatalf("append gave %s to %s, want %s to %s", got.First, got.Last, want[0].ID, want[len(want)-1].ID)
	}
	return want
}

// entries returns a batch's kept events under the IDs that they get after last. The bytes are
// copied.
func entries(b *messages.Batch, last persistence.EntryID) []persistence.Entry {
	var out []persistence.Entry
	for i := range b.Events {
		if ev := &b.Events[i]; !ev.Drop {
			last = messages.DeriveID(ev.TimeUS, last)
			out = append(out, persistence.Entry{ID: last, Event: bytes.Clone(b.Bytes(i))})
		}
	}
	return out
}

// newest returns the newest ID of the stream.
func newest(t *testing.T, s persistence.Stream) persistence.EntryID {
	t.Helper()
	cp, err := s.Checkpoint(t.Context())
	if errors.Is(err, persistence.ErrNoCheckpoint) {
		return persistence.EntryID{}
	}
	must(t, err)
	return cp.LastID
}

// everything reads a whole stream in pages.
func everything(ctx context.Context, s persistence.Stream, limit int) ([]persistence.Entry, error) {
	var all []persistence.Entry
	after := persistence.FromBeginning()
	for {
		page, err := s.Tail(ctx, after, 0, limit)
		if err != nil || len(page.Entries) == 0 {
			return all, err
		}
		all = append(all, page.Entries...)
		after = persistence.CursorAt(all[len(all)-1].ID)
	}
}

func sameEntries(got, want []persistence.Entry) bool {
	return slices.EqualFunc(got, want, func(a, b persistence.Entry) bool { return a.ID == b.ID && bytes.Equal(a.Event, b.Event) })
}

// expectEntries fails with the first difference.
func expectEntries(t *testing.T, what string, got, want []persistence.Entry) {
	t.Helper()
	if sameEntries(got, want) {
		return
	}
	for i := range min(len(got), len(want)) {
		if !sameEntries(got[i:i+1], want[i:i+1]) {
			t.Fatalf("%s: entry %d of %d is %s %.60s…, want entry %d of %d to be %s %.60s…",
				what, i, len(got), got[i].ID, got[i].Event, i, len(want), want[i].ID, want[i].Event)
		}
	}
	t.Fatalf("%s: %d entries, want %d", what, len(got), len(want))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func expectError(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: error %v, want %q", what, err, want)
	}
}

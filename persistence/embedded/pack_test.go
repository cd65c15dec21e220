package embedded_test

import (
	"slices"
	"testing"
	"time"

	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/embedded"
	"tempestd/persistence/streamtest"
)

// TestPackingChangesNothingButTheSize packs a stream while a reader is in the middle of it. IDs,
// events, places and the identity index stay the same, also after the store is opened again. The
// disk usage is much smaller.
func TestPackingChangesNothingButTheSize(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	opt := embedded.Options{SyncInterval: time.Hour, MinFree: 1 << 20, SegmentBytes: 1 << 20}
	store, s := openFeed(t, dir, opt)
	events, batch := streamtest.NewEvents(1, start), new(messages.Batch)
	raw := 0
	var index []persistence.EntryID
	for i := range 200 {
		done, err := s.Append(t.Context(), events.Fill(batch, 1+i*37%400), messages.Checkpoint{Position: messages.Position{Seq: int64(i)}})
		must(t, err)
		raw += len(batch.Buf)
		index = append(index, done.Last)
	}
	_, err := s.Trim(t.Context(), persistence.Retention{Entries: kept(t, s) - 100})
	must(t, err)
	read := func(s persistence.Stream) (all []persistence.Entry) {
		for after := persistence.FromBeginning(); ; {
			page, err := s.Tail(t.Context(), after, 0, 777)
			must(t, err)
			if len(page.Entries) == 0 {
				return all
			}
			all = append(all, page.Entries...)
			after = persistence.CursorAt(page.Cursor)
			if got := int64(len(all)) + page.Behind; got != kept(t, s) {
				t.Fatalf("a page at %s says that %d follow it, %d were read of %d", page.Cursor, page.Behind, len(all), kept(t, s))
			}
		}
	}
	fingerprints := func(s persistence.Stream) (all []uint64, blocks []persistence.EntryID) {
		must(t, s.Fingerprints(t.Context(), persistence.Horizon{}, func(b persistence.FingerprintBlock) bool {
			all = append(all, b.Fingerprints...)
			blocks = append(blocks, b.Last)
			return true
		}))
		return all, blocks
	}
	want, before := read(s), diskUsage(t, dir)
	wantFingerprints, wantBlocks := fingerprints(s)
	reader, err := s.Tail(t.Context(), persistence.FromBeginning(), 0, 333)
	must(t, err)
	must(t, embedded.Pack(t.Context(), store))
	rest, err := s.Tail(t.Context(), persistence.CursorAt(reader.Cursor), 0, 333)
	must(t, err)
	if !slices.EqualFunc(rest.Entries, want[333:666], sameEntry) {
		t.Error("a reader in the middle is given something else")
	}
	info, err := s.Info(t.Context())
	must(t, err)
	after := diskUsage(t, dir)
	t.Logf("raw %d, fresh on disk %d (%.2f), packed %d (%.2f), counted %d", raw, before, float64(before)/float64(raw), after, float64(after)/float64(raw), info.Bytes)
	if after > before*8/10 || info.Bytes > after {
		t.Errorf("packed, the disk holds %d bytes of %d; info tells of %d", after, before, info.Bytes)
	}
	for _, when := range []string{"packed", "opened again"} {
		if !slices.EqualFunc(read(s), want, sameEntry) {
			t.Errorf("%s: the entries are others", when)
		}
		gotFingerprints, gotBlocks := fingerprints(s)
		if !slices.Equal(gotFingerprints, wantFingerprints) || !slices.Equal(gotBlocks, wantBlocks) {
			t.Errorf("%s: the index is another", when)
		}
		for i, last := range index[50:60] {
			event, err := s.Entry(t.Context(), last, 0)
			must(t, err)
			if n := (50 + i) * 37 % 400; n >= 0 && len(event) == 0 {
				t.Errorf("%s: entry 0 of block %s is empty", when, last)
			}
		}
		again, err := s.Info(t.Context())
		must(t, err)
		if again.Bytes != info.Bytes || again.Entries != info.Entries || *again.Oldest != *info.Oldest {
			t.Errorf("%s: %+v, want %+v", when, again, info)
		}
		must(t, store.Close())
		store, s = openFeed(t, dir, opt)
	}
	must(t, store.Close())
}

func sameEntry(a, b persistence.Entry) bool {
	return a.ID == b.ID && string(a.Event) == string(b.Event)
}

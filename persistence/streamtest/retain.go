package streamtest

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"tempestd/messages"
	"tempestd/persistence"
)

func testTrim(t *testing.T, b Backend) {
	f := open(t, b)
	var want []persistence.Entry
	for range 40 {
		want = append(want, f.append(10)...)
	}
	for _, keep := range []int64{1000, 300, 299, 95, 1} {
		before, err := f.stream.Info(t.Context())
		must(t, err)
		done, err := f.stream.Trim(t.Context(), persistence.Retention{Entries: keep})
		must(t, err)
		got, err := everything(t.Context(), f.stream, 100)
		must(t, err)
		if n := int64(len(got)); n < min(keep, before.Entries) || n >= keep+10 && n != before.Entries {
			t.Fatalf("keep %d: %d entries are left", keep, n)
		}
		want = want[len(want)-len(got):]
		expectEntries(t, "what is left", got, want)
		after, err := f.stream.Info(t.Context())
		must(t, err)
		if after.Entries != int64(len(want)) || done.Entries != before.Entries-after.Entries || done.Bytes != before.Bytes-after.Bytes ||
			*after.Oldest != want[0].ID || *after.Newest != want[len(want)-1].ID {
			t.Errorf("keep %d: trimmed %+v, %+v became %+v", keep, done, before, after)
		}
		if after.Trimmed != nil {
			f.expectEdge(*after.Trimmed, want[0].ID)
		}
		f.reopen()
	}
	want = append(want, f.append(100)...)
	info, err := f.stream.Info(t.Context())
	must(t, err)
	_, err = f.stream.Trim(t.Context(), persistence.Retention{Bytes: info.Bytes})
	must(t, err)
	got, err := everything(t.Context(), f.stream, 100)
	must(t, err)
	expectEntries(t, "within its bytes", got, want)
	_, err = f.stream.Trim(t.Context(), persistence.Retention{Bytes: 1})
	must(t, err)
	got, err = everything(t.Context(), f.stream, 100)
	must(t, err)
	expectEntries(t, "trimmed by bytes", got, want[len(want)-len(got):])
	if len(got) == 0 || len(got) == len(want) {
		t.Errorf("a trim to one byte left %d of %d entries", len(got), len(want))
	}
}

// expectEdge reads around the newest entry that was dropped: a cursor there misses nothing, and one
// before it does.
func (f *fixture) expectEdge(dropped, oldest persistence.EntryID) {
	f.t.Helper()
	page, err := f.stream.Tail(f.t.Context(), persistence.CursorAt(dropped), 0, 1)
	if err != nil || len(page.Entries) != 1 || page.Entries[0].ID != oldest {
		f.t.Errorf("after %s, the newest dropped: %+v, %v; want %s", dropped, page.Entries, err, oldest)
	}
	_, err = f.stream.Tail(f.t.Context(), persistence.CursorAt(dropped.Prev()), 0, 1)
	if _, expired := errors.AsType[*persistence.CursorExpiredError](err); !expired {
		f.t.Errorf("a tail from before the newest dropped: %v", err)
	}
	_, err = f.stream.Read(f.t.Context(), persistence.CursorAt(dropped), persistence.End(), 1)
	if _, expired := errors.AsType[*persistence.CursorExpiredError](err); !expired {
		f.t.Errorf("a range from the newest dropped: %v", err)
	}
}

func testTrimAge(t *testing.T, b Backend) {
	f := open(t, b)
	for range 5 {
		f.append(20)
	}
	f.events.timeUS = b.Now().UnixMicro()
	want := f.append(20)
	_, err := f.stream.Trim(t.Context(), persistence.Retention{Age: 30 * time.Minute})
	must(t, err)
	got, err := everything(t.Context(), f.stream, 100)
	must(t, err)
	expectEntries(t, "younger than the age", got, want)

	// All entries may be too old. The IDs continue after the last one.
	_, err = f.stream.Trim(t.Context(), persistence.Retention{Age: time.Nanosecond})
	must(t, err)
	f.reopen()
	last := newest(t, f.stream)
	if last != want[len(want)-1].ID {
		t.Errorf("the last ID became %s", last)
	}
	batch := f.events.Fill(new(messages.Batch), 3)
	for i := range batch.Events {
		batch.Events[i].TimeUS = 1
	}
	want = f.put(batch)
	got, err = everything(t.Context(), f.stream, 100)
	must(t, err)
	if len(got) > 3 { // a backend may keep a block
		got = got[len(got)-3:]
	}
	expectEntries(t, "appended to a trimmed stream", got, want)
}

// indexed is one entry of the identity index.
type indexed struct {
	fingerprint uint64
	event       []byte
}

// index reads the fingerprints within the horizon, oldest first, and their entries.
func index(t *testing.T, s persistence.Stream, h persistence.Horizon) []indexed {
	t.Helper()
	type ref struct {
		last         persistence.EntryID
		fingerprints []uint64
	}
	var refs []ref
	must(t, s.Fingerprints(t.Context(), h, func(b persistence.FingerprintBlock) bool {
		if len(refs) > 0 && b.Last.Compare(refs[len(refs)-1].last) >= 0 || b.First.Compare(b.Last) > 0 {
			t.Errorf("block %s to %s after block %s", b.First, b.Last, refs[len(refs)-1].last)
		}
		refs = append(refs, ref{b.Last, slices.Clone(b.Fingerprints)})
		return true
	}))
	var all []indexed
	for _, r := range slices.Backward(refs) {
		for i, fingerprint := range r.fingerprints {
			event, err := s.Entry(t.Context(), r.last, i)
			must(t, err)
			all = append(all, indexed{fingerprint, bytes.Clone(event)})
		}
	}
	return all
}

// testBlocks checks that every entry of an append is where the append reported it, in however many
// blocks it was stored.
func testBlocks(t *testing.T, b Backend) {
	f := open(t, b)
	batch := f.events.Fill(new(messages.Batch), 1500)
	for i := range batch.Events {
		batch.Events[i].Drop = i%7 == 0
	}
	got, err := f.stream.Append(t.Context(), batch, messages.Checkpoint{})
	must(t, err)
	blocks := slices.Clone(got.Blocks)
	if blocks == nil {
		blocks = []persistence.AppendedBlock{{Last: got.Last, Entries: got.Entries}}
	}
	k, total := 0, 0
	for _, block := range blocks {
		for i := range block.Entries {
			for batch.Events[k].Drop {
				k++
			}
			event, err := f.stream.Entry(t.Context(), block.Last, i)
			must(t, err)
			if !bytes.Equal(event, batch.Bytes(k)) {
				t.Fatalf("entry %d of block %s is not event %d", i, block.Last, k)
			}
			k++
		}
		total += block.Entries
	}
	if total != got.Entries || blocks[len(blocks)-1].Last != got.Last {
		t.Errorf("blocks %+v of %+v", blocks, got)
	}
}

func testFingerprints(t *testing.T, b Backend) {
	f := open(t, b)
	if got := index(t, f.stream, persistence.Horizon{}); len(got) > 0 {
		t.Errorf("an empty stream has %d fingerprints", len(got))
	}
	var want []indexed
	for i := range 30 {
		batch := f.events.Fill(new(messages.Batch), 1+i)
		for j := range batch.Events {
			batch.Events[j].Drop = (i+j)%4 == 0
			if !batch.Events[j].Drop {
				want = append(want, indexed{batch.Events[j].Fingerprint, bytes.Clone(batch.Bytes(j))})
			}
		}
		f.put(batch)
	}
	same := func(a, b indexed) bool { return a.fingerprint == b.fingerprint && bytes.Equal(a.event, b.event) }
	check := func(when string) {
		t.Helper()
		if got := index(t, f.stream, persistence.Horizon{}); !slices.EqualFunc(got, want, same) {
			t.Fatalf("%s: the index of %d entries is not that of the %d stored", when, len(got), len(want))
		}
		got := index(t, f.stream, persistence.Horizon{Entries: 50})
		if len(got) < 50 || len(got) > 80 || !slices.EqualFunc(got, want[len(want)-len(got):], same) {
			t.Errorf("%s: a horizon of 50 entries gave %d", when, len(got))
		}
	}
	check("appended")
	f.reopen()
	check("opened again")

	// An index stays valid, whatever maintenance does to the blocks in between.
	var last persistence.EntryID
	var n int
	must(t, f.stream.Fingerprints(t.Context(), persistence.Horizon{}, func(b persistence.FingerprintBlock) bool {
		last, n = b.Last, len(b.Fingerprints)
		return false
	}))
	b.Maintain(t.Context(), f.store)
	for i := range n {
		event, err := f.stream.Entry(t.Context(), last, i)
		must(t, err)
		if !bytes.Equal(event, want[len(want)-n+i].event) {
			t.Errorf("entry %d of block %s changed", i, last)
		}
	}
	check("maintained")

	for _, i := range []int{-1, n} {
		_, err := f.stream.Entry(t.Context(), last, i)
		expectError(t, "an entry outside its block", err, persistence.ErrNotFound)
	}
	_, err := f.stream.Entry(t.Context(), messages.MaxEntryID, 0)
	expectError(t, "an entry of no block", err, persistence.ErrNotFound)

	f.events.timeUS += time.Hour.Microseconds()
	batch := f.events.Fill(new(messages.Batch), 3)
	f.put(batch)
	if got := index(t, f.stream, persistence.Horizon{Age: time.Minute}); len(got) != 3 {
		t.Errorf("a horizon of a minute gave %d entries, want the 3 of the last one", len(got))
	}
	_, err = f.stream.Trim(t.Context(), persistence.Retention{Entries: 1})
	must(t, err)
	_, err = f.stream.Entry(t.Context(), last, 0)
	expectError(t, "an entry that retention dropped", err, persistence.ErrNotFound)
}

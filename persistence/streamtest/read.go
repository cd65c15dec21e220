package streamtest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tempestd/messages"
	"tempestd/persistence"
)

func testRanges(t *testing.T, b Backend) {
	f := open(t, b)
	at := func(c persistence.StreamCursor, to persistence.StreamCursor, limit int) []persistence.Entry {
		t.Helper()
		page, err := f.stream.Read(t.Context(), c, to, limit)
		must(t, err)
		return page.Entries
	}
	expectEntries(t, "of an empty stream", at(persistence.Start(), persistence.End(), 10), nil)

	batch := f.events.Fill(new(messages.Batch), 9)
	ms := batch.Events[0].TimeUS / 1000
	for i := range batch.Events {
		// Three entries per millisecond, the first at <ms>-0.
		batch.Events[i].TimeUS = (ms + int64(i/3)) * 1000
	}
	want := f.put(batch)
	milli := func(i int) persistence.StreamCursor { return persistence.CursorAtMillis(uint64(ms) + uint64(i)) }
	id := func(i int) persistence.StreamCursor { return persistence.CursorAt(want[i].ID) }
	start, end := persistence.Start(), persistence.End()

	expectEntries(t, "start to end", at(start, end, 100), want)
	expectEntries(t, "0-0 to end", at(persistence.FromBeginning(), end, 100), want)
	expectEntries(t, "limited", at(start, end, 4), want[:4])
	expectEntries(t, "one millisecond", at(milli(1), milli(1), 100), want[3:6])
	expectEntries(t, "from a millisecond", at(milli(2), end, 100), want[6:])
	expectEntries(t, "to a millisecond", at(start, milli(0), 100), want[:3])
	expectEntries(t, "closed at both ends", at(id(2), id(5), 100), want[2:6])
	expectEntries(t, "one entry", at(id(4), id(4), 1), want[4:5])
	expectEntries(t, "between entries", at(persistence.CursorAt(want[4].ID.Next()), end, 100), want[5:])
	expectEntries(t, "backwards", at(id(5), id(2), 100), nil)
	expectEntries(t, "from the end", at(end, end, 100), nil)
	expectEntries(t, "to the start", at(start, start, 100), nil)
}

func testBounds(t *testing.T, b Backend) {
	f := open(t, b)
	f.append(1)
	for _, limit := range []int{-1, 0, persistence.MaxCount + 1} {
		_, err := f.stream.Read(t.Context(), persistence.Start(), persistence.End(), limit)
		expectError(t, fmt.Sprintf("read with limit %d", limit), err, persistence.ErrBadBound)
		_, err = f.stream.Tail(t.Context(), persistence.FromBeginning(), 0, limit)
		expectError(t, fmt.Sprintf("tail with limit %d", limit), err, persistence.ErrBadBound)
		if err != nil && !strings.Contains(err.Error(), "limit") {
			t.Errorf("%q does not name the bound", err)
		}
	}
	for _, block := range []time.Duration{-1, persistence.MaxBlock + 1} {
		_, err := f.stream.Tail(t.Context(), persistence.FromBeginning(), block, 1)
		expectError(t, fmt.Sprintf("tail with block %s", block), err, persistence.ErrBadBound)
		if err != nil && !strings.Contains(err.Error(), "block") {
			t.Errorf("%q does not name the bound", err)
		}
	}
	for _, after := range []persistence.StreamCursor{persistence.Start(), persistence.End()} {
		_, err := f.stream.Tail(t.Context(), after, 0, 1)
		expectError(t, "tail after "+after.String(), err, persistence.ErrBadCursor)
	}
}

// testPageRoom reads with less room than MaxPageBytes: from the newest entries in memory, from what
// is stored, and after a wait (I5).
func testPageRoom(t *testing.T, b Backend) {
	f := open(t, b)
	const size = 10_000
	var want []persistence.Entry
	for i := range 20 {
		event := []byte(fmt.Sprintf(`{"i":%d,"pad":"%s"}`, i, strings.Repeat("x", size)))
		want = append(want, f.put(&messages.Batch{
			Buf:    event,
			Events: []messages.Event{{Len: uint32(len(event)), TimeUS: b.Now().UnixMicro()}},
		})...)
	}
	for _, when := range []string{"appended", "opened again"} {
		for room, entries := range map[int]int{1: 1, size: 1, 3 * size: 3, 3*size + 200: 4, persistence.MaxPageBytes + 1: 20} {
			ctx := persistence.WithPageBytes(t.Context(), room)
			for _, block := range []time.Duration{0, persistence.MaxBlock} {
				page, err := f.stream.Tail(ctx, persistence.FromBeginning(), block, len(want))
				must(t, err)
				expectEntries(t, fmt.Sprintf("%s, tail with room for %d bytes", when, room), page.Entries, want[:entries])
			}
			page, err := f.stream.Read(ctx, persistence.Start(), persistence.End(), len(want))
			must(t, err)
			expectEntries(t, fmt.Sprintf("%s, read with room for %d bytes", when, room), page.Entries, want[:entries])
		}
		f.reopen()
	}
}

// testPageBytes stores events so large that a page ends because of its bytes (I5).
func testPageBytes(t *testing.T, b Backend) {
	f := open(t, b)
	var want []persistence.Entry
	for i := range 5 {
		event := []byte(fmt.Sprintf(`{"i":%d,"pad":"%s"}`, i, strings.Repeat("x", persistence.MaxPageBytes/3)))
		want = append(want, f.put(&messages.Batch{
			Buf:    event,
			Events: []messages.Event{{Len: uint32(len(event)), TimeUS: b.Now().UnixMicro()}},
		})...)
	}
	for _, when := range []string{"appended", "opened again"} {
		page, err := f.stream.Tail(t.Context(), persistence.FromBeginning(), 0, 5)
		must(t, err)
		if n := len(page.Entries); n < 1 || n > 4 {
			t.Errorf("%s: a page has %d entries of a third of a page each", when, n)
		}
		got, err := everything(t.Context(), f.stream, 5)
		must(t, err)
		expectEntries(t, when, got, want)
		f.reopen()
	}
}

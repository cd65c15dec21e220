package streamtest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"tempestd/messages"
	"tempestd/persistence"
)

// expectPosition checks the position that a page reports. all is everything that the stream keeps,
// and dropped is the number of entries before that.
func expectPosition(t *testing.T, what string, page persistence.Page, cursor persistence.EntryID, all []persistence.Entry, dropped int64) {
	t.Helper()
	if n := len(page.Entries); n > 0 {
		cursor = page.Entries[n-1].ID
	}
	var oldest, newest persistence.EntryID
	if len(all) > 0 {
		oldest, newest = all[0].ID, all[len(all)-1].ID
	}
	i, found := slices.BinarySearchFunc(all, cursor, func(f persistence.Entry, id persistence.EntryID) int { return f.ID.Compare(id) })
	if found {
		i++
	}
	if page.Cursor != cursor || page.Oldest != oldest || page.Newest != newest || page.Behind != int64(len(all)-i) {
		t.Errorf("%s: a page of %d entries is at %s of %s…%s with %d after it, want %s of %s…%s with %d", what, len(page.Entries),
			page.Cursor, page.Oldest, page.Newest, page.Behind, cursor, oldest, newest, len(all)-i)
	}
	if want := dropped + int64(len(all)); page.Appended != want {
		t.Errorf("%s: the stream was given %d entries, want %d", what, page.Appended, want)
	}
}

// until returns all up to id, as it was when it ended with id. A tail that may wait reports the
// stream as its process knows it.
func until(all []persistence.Entry, id persistence.EntryID) []persistence.Entry {
	i, found := slices.BinarySearchFunc(all, id, func(f persistence.Entry, id persistence.EntryID) int { return f.ID.Compare(id) })
	if !found {
		return all
	}
	return all[:i+1]
}

// testPositions checks that every page reports its exact position, wherever it begins and ends.
func testPositions(t *testing.T, b Backend) {
	f := open(t, b)
	zero := persistence.EntryID{}
	dropped := int64(0)
	check := func(all []persistence.Entry, cursors ...persistence.EntryID) {
		t.Helper()
		for _, id := range cursors {
			for _, limit := range []int{3, 300} {
				for _, block := range []time.Duration{0, time.Millisecond} {
					page, err := f.stream.Tail(t.Context(), persistence.CursorAt(id), block, limit)
					must(t, err)
					known := all
					if block > 0 {
						known = until(all, page.Newest)
					}
					expectPosition(t, fmt.Sprintf("tail after %s up to %d, waiting %s", id, limit, block), page, id, known, dropped)
				}
				page, err := f.stream.Read(t.Context(), persistence.CursorAt(id.Next()), persistence.End(), limit)
				must(t, err)
				cursor := id
				if len(all) > 0 && id.Compare(all[len(all)-1].ID) < 0 && len(page.Entries) == 0 {
					t.Errorf("a read from %s gives nothing", id.Next())
				}
				if id == messages.MaxEntryID {
					cursor = messages.MaxEntryID.Prev() // no entry can follow
				}
				expectPosition(t, fmt.Sprintf("read from %s up to %d", id.Next(), limit), page, cursor, all, dropped)
			}
		}
	}
	check(nil, zero, persistence.EntryID{MS: 5}, messages.MaxEntryID)
	var all []persistence.Entry
	for _, n := range []int{3, 1, 400, 20, 600} {
		all = append(all, f.append(n)...)
	}
	cursors := []persistence.EntryID{zero, {MS: 5}, messages.MaxEntryID}
	for _, i := range []int{0, 2, 3, 259, 403, 404, 423, 1000, 1023} {
		cursors = append(cursors, all[i].ID, all[i].ID.Prev())
	}
	check(all, cursors...)

	// For a range without entries, the cursor is the end of the range.
	for _, i := range []int{0, 100, 423} {
		from, to := all[i].ID.Next(), all[i+1].ID.Prev()
		page, err := f.stream.Read(t.Context(), persistence.CursorAt(from), persistence.CursorAt(to), 10)
		must(t, err)
		if to.Compare(from) < 0 {
			to = from.Prev()
		}
		expectPosition(t, "an empty range", page, to, all, dropped)
	}

	// A waiting tail reports the state that woke it.
	w := f.tail(t.Context(), persistence.CursorAt(all[len(all)-1].ID))
	all = append(all, f.append(700)...)
	<-w.done
	must(t, w.err)
	expectPosition(t, "woken", w.page, zero, until(all, w.page.Newest), dropped)

	trimmed, err := f.stream.Trim(t.Context(), persistence.Retention{Entries: 500})
	must(t, err)
	dropped = trimmed.Entries
	all = append(all[dropped:], f.append(1)...)
	for {
		page, err := f.stream.Tail(t.Context(), persistence.CursorAt(all[len(all)-2].ID), persistence.MaxBlock, 1)
		must(t, err)
		if page.Oldest == all[0].ID {
			break // the trim has reached the tail
		}
	}
	check(all, zero, all[0].ID.Prev(), all[0].ID, all[len(all)-1].ID)
	f.reopen()
	check(all, zero, all[0].ID.Prev(), all[0].ID, all[len(all)-1].ID)

	must(t, f.stream.Close(t.Context(), "over"))
	page, err := f.stream.Tail(t.Context(), persistence.FromBeginning(), time.Second, 10)
	must(t, err)
	expectPosition(t, "closed", page, zero, all, dropped)
	page, err = f.stream.Tail(t.Context(), persistence.CursorAt(all[len(all)-1].ID), persistence.MaxBlock, 10)
	must(t, err)
	expectPosition(t, "closed, at its end", page, all[len(all)-1].ID, all, dropped)
	if !page.IsClosed() {
		t.Error("a tail at the end of a closed stream does not say so")
	}
}

// testPagesAreOneInstant compares what pages report with what they contain, while a writer appends,
// trims and closes. A page that reports the tip is at the tip. A count is the distance to the
// newest entry that the page reports. A closed stream has an end. No entry is skipped without an
// error.
func testPagesAreOneInstant(t *testing.T, b Backend) {
	f := open(t, b)
	numbers := make(map[persistence.EntryID]int64) // numbers of the entries: 1, 2, 3 …
	var pages []persistence.Page
	var mu sync.Mutex
	var readers sync.WaitGroup
	errs := make(chan error, 4)
	for i := range 4 {
		readers.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(i)))
			after := persistence.FromBeginning()
			for {
				page, err := f.stream.Tail(t.Context(), after, time.Duration(i%2)*time.Second, 1+rnd.IntN(200))
				if expired, ok := errors.AsType[*persistence.CursorExpiredError](err); ok {
					after = persistence.CursorAt(expired.Oldest)
					continue
				}
				if err != nil {
					errs <- err
					return
				}
				mu.Lock()
				page.Entries = slices.Insert(slices.Clone(page.Entries), 0, persistence.Entry{ID: persistence.CursorAt(page.Cursor).Lower()})
				page.Entries[0].ID, _ = after.Exclusive()
				pages = append(pages, page)
				mu.Unlock()
				after = persistence.CursorAt(page.Cursor)
				if page.IsClosed() && page.Behind == 0 {
					return
				}
			}
		})
	}
	number := int64(0)
	for i := range 40 {
		for _, e := range f.append(1 + i*7%90) {
			number++
			numbers[e.ID] = number
		}
		if i%2 == 1 { // often enough that a trim overtakes a page in progress
			_, err := f.stream.Trim(t.Context(), persistence.Retention{Entries: 30})
			must(t, err)
		}
	}
	must(t, f.stream.Close(t.Context(), "done"))
	readers.Wait()
	close(errs)
	must(t, errors.Join(drain(errs)...))
	for _, p := range pages {
		after, entries := p.Entries[0].ID, p.Entries[1:]
		for i, e := range entries {
			n := numbers[e.ID]
			if before := numbers[after]; i == 0 && !after.IsZero() && before > 0 && n != before+1 || i > 0 && n != numbers[entries[i-1].ID]+1 {
				t.Fatalf("a page after entry %d begins with entry %d, or has a hole at its entry %d", before, n, i)
			}
		}
		if len(entries) > 0 && (p.Cursor != entries[len(entries)-1].ID || p.Newest.Compare(p.Cursor) < 0) {
			t.Errorf("a page that ends with %s is at %s of …%s", entries[len(entries)-1].ID, p.Cursor, p.Newest)
		}
		if at := numbers[p.Cursor]; at > 0 && !p.Newest.IsZero() && p.Cursor.Compare(p.Oldest) >= 0 && numbers[p.Newest]-at != p.Behind {
			t.Errorf("a page at entry %d says %d follow it up to entry %d", at, p.Behind, numbers[p.Newest])
		}
		if at := numbers[p.Cursor]; at > 0 && p.Appended-p.Behind != at {
			t.Errorf("a page at entry %d says that it is at entry %d of %d", at, p.Appended-p.Behind, p.Appended)
		}
		if p.IsClosed() && !p.Newest.IsZero() && numbers[p.Newest] != number {
			t.Errorf("a closed stream ends with entry %d of %d", numbers[p.Newest], number)
		}
	}
}

package streamtest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"tempestd/messages"
	"tempestd/persistence"
)

func testTailTimeout(t *testing.T, b Backend) {
	f := open(t, b)
	for _, block := range []time.Duration{0, time.Millisecond, 20 * time.Millisecond} {
		page, err := f.stream.Tail(t.Context(), persistence.FromBeginning(), block, 1)
		must(t, err)
		if len(page.Entries) > 0 || page.IsClosed() {
			t.Errorf("a tail of an empty stream gave %+v", page)
		}
	}
	want := f.append(3)
	page, err := f.stream.Tail(t.Context(), persistence.CursorAt(want[2].ID), time.Millisecond, 1)
	must(t, err)
	expectEntries(t, "after the last", page.Entries, nil)
	page, err = f.stream.Tail(t.Context(), persistence.CursorAt(messages.MaxEntryID), time.Millisecond, 1)
	must(t, err)
	expectEntries(t, "after the greatest ID", page.Entries, nil)
}

// tailing is a tail that waits in its own goroutine.
type tailing struct {
	page persistence.Page
	err  error
	done chan struct{}
}

func (f *fixture) tail(ctx context.Context, after persistence.StreamCursor) *tailing {
	w := &tailing{done: make(chan struct{})}
	go func() {
		defer close(w.done)
		w.page, w.err = f.stream.Tail(ctx, after, persistence.MaxBlock, 10)
	}()
	return w
}

func testTailWakes(t *testing.T, b Backend) {
	f := open(t, b)
	after := persistence.FromBeginning()
	for range 3 {
		var waiting []*tailing
		for range 20 {
			waiting = append(waiting, f.tail(t.Context(), after))
		}
		want := f.append(2)
		for _, w := range waiting {
			<-w.done
			must(t, w.err)
			expectEntries(t, "woken", w.page.Entries, want)
		}
		after = persistence.CursorAt(want[1].ID)
	}
	// An append without entries wakes no tail for good.
	w := f.tail(t.Context(), after)
	_, err := f.stream.Append(t.Context(), new(messages.Batch), messages.Checkpoint{})
	must(t, err)
	want := f.append(1)
	<-w.done
	must(t, w.err)
	expectEntries(t, "after an empty append", w.page.Entries, want)
}

func testTailEnds(t *testing.T, b Backend) {
	f := open(t, b)
	ctx, cancel := context.WithCancel(t.Context())
	w := f.tail(ctx, persistence.FromBeginning())
	cancel()
	<-w.done
	expectError(t, "a cancelled tail", w.err, context.Canceled)

	w = f.tail(t.Context(), persistence.FromBeginning())
	must(t, f.stream.Close(t.Context(), "over"))
	<-w.done
	must(t, w.err)
	if !w.page.IsClosed() || w.page.ClosedReason != "over" {
		t.Errorf("a tail of a stream being closed gave %+v", w.page)
	}

	other, err := f.store.OpenStream(t.Context(), "other", persistence.StreamOptions{})
	must(t, err)
	f.stream = other
	w = f.tail(t.Context(), persistence.FromBeginning())
	must(t, f.store.Close())
	<-w.done
	expectError(t, "a tail of a store being closed", w.err, persistence.ErrStoreClosed)
	for what, err := range map[string]error{
		"append": call(func() error {
			_, err := other.Append(t.Context(), new(messages.Batch), messages.Checkpoint{})
			return err
		}),
		"read":            call(func() error { _, err := other.Read(t.Context(), persistence.Start(), persistence.End(), 1); return err }),
		"peek":            call(func() error { _, err := other.Tail(t.Context(), persistence.FromBeginning(), 0, 1); return err }),
		"save checkpoint": f.store.SaveCheckpoint(t.Context(), "feed", messages.Checkpoint{}),
		"health":          f.store.Health(),
	} {
		expectError(t, what+" after the store's close", err, persistence.ErrStoreClosed)
	}
	must(t, f.store.Close())
}

func call(f func() error) error { return f() }

func testTailSince(t *testing.T, b Backend) {
	f := open(t, b)
	want := f.append(200)
	since := time.UnixMilli(int64(want[120].ID.MS))
	page, err := f.stream.Tail(t.Context(), persistence.CursorSince(since), 0, 1000)
	must(t, err)
	first := 120
	for want[first-1].ID.MS == want[120].ID.MS {
		first--
	}
	expectEntries(t, "since a time", page.Entries, want[first:])
	all, err := f.stream.Tail(t.Context(), persistence.CursorSince(time.UnixMilli(math.MinInt64/2)), 0, 1000)
	must(t, err)
	expectEntries(t, "since long ago", all.Entries, want)
}

// testFollow checks readers of different speeds that follow a writer, which never waits for them.
// Each reader gets every entry, once and in order (I3). A reader that does not read delays no other
// (I8).
func testFollow(t *testing.T, b Backend) {
	f := open(t, b)
	const batches, readers = 60, 6
	var want []persistence.Entry
	var mu sync.Mutex
	total := 0
	var wg sync.WaitGroup
	errs := make(chan error, readers+1)
	results := make([][]persistence.Entry, readers)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stuck := f.tail(ctx, persistence.CursorAt(messages.MaxEntryID)) // waits until the end
	for i := range readers {
		limit := []int{1, 7, 100, 1000, 3, 10_000}[i]
		wg.Go(func() {
			after := persistence.FromBeginning()
			for {
				page, err := f.stream.Tail(ctx, after, persistence.MaxBlock, limit)
				if err != nil {
					errs <- fmt.Errorf("reader with limit %d: %w", limit, err)
					return
				}
				if n := len(page.Entries); n > 0 {
					results[i] = append(results[i], page.Entries...)
					after = persistence.CursorAt(page.Entries[n-1].ID)
				} else if page.IsClosed() {
					return
				}
			}
		})
	}
	for i := range batches {
		entries := f.append(1 + i*7%90)
		mu.Lock()
		want = append(want, entries...)
		total += len(entries)
		mu.Unlock()
		if i%20 == 10 {
			b.Maintain(t.Context(), f.store)
		}
	}
	must(t, f.stream.Close(t.Context(), "done"))
	wg.Wait()
	close(errs)
	must(t, errors.Join(drain(errs)...))
	for i, got := range results {
		expectEntries(t, fmt.Sprintf("reader %d", i), got, want)
	}
	<-stuck.done
}

func drain(errs <-chan error) (all []error) {
	for err := range errs {
		all = append(all, err)
	}
	return all
}

package oracle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tempestd/persistence"
)

// reader follows the stream with an exclusive cursor, over all incarnations of the daemon, and
// keeps what it has seen.
type reader struct {
	name   string
	seen   []persistence.Entry
	after  persistence.EntryID
	fault  string // the first thing that a reader must never see
	cancel context.CancelFunc
	done   chan struct{}
}

func (w *world) newReader(i int) *reader {
	ctx, cancel := context.WithCancel(context.Background())
	r := &reader{name: fmt.Sprintf("reader %d", i), cancel: cancel, done: make(chan struct{})}
	limit := []int{1000, 7}[i%2]
	go func() {
		defer close(r.done)
		for ctx.Err() == nil {
			if !r.read(ctx, *w.shown.Load(), limit) {
				select {
				case <-time.After(500 * time.Millisecond):
				case <-ctx.Done():
				}
			}
		}
	}()
	return r
}

// read asks for a page. It returns false when there is nothing to read from.
func (r *reader) read(ctx context.Context, store persistence.Store, limit int) bool {
	page, err := store.TailStream(ctx, feedName, r.after.String(), 10*time.Second, limit)
	if err != nil {
		if gone, ok := errors.AsType[*persistence.CursorExpiredError](err); ok && r.fault == "" {
			r.fault = "the cursor expired: " + gone.Error()
		}
		return false
	}
	for _, e := range page.Entries {
		if e.ID.Compare(r.after) <= 0 && r.fault == "" {
			r.fault = fmt.Sprintf("entry %s comes after %s", e.ID, r.after)
		}
		r.after = e.ID
		r.seen = append(r.seen, persistence.Entry{ID: e.ID, Event: append([]byte(nil), e.Event...)})
	}
	return true
}

func (r *reader) stop() {
	r.cancel()
	<-r.done
}

package oracle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	"tempestd/internal/config"
	"tempestd/persistence"
)

// ledger is every entry that the stream has ever had, in order. It is what readers are compared
// with: retention may have dropped entries from the stream by then.
type ledger struct {
	mu      sync.Mutex
	entries []persistence.Entry
	missed  error // entries were dropped before they came here
}

// follow adds the stream's new entries.
func (l *ledger) follow(store persistence.Store) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		after := l.last()
		page, err := store.TailStream(context.Background(), feedName, after.String(), 0, 1000)
		if expired, ok := errors.AsType[*persistence.CursorExpiredError](err); ok {
			l.missed = expired
		}
		if err != nil || len(page.Entries) == 0 {
			return
		}
		for _, e := range page.Entries {
			l.entries = append(l.entries, persistence.Entry{ID: e.ID, Event: bytes.Clone(e.Event)})
		}
	}
}

// add adds an entry that a server has got. A server that went back to older data may get entries once
// more.
func (l *ledger) add(e persistence.Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, e)
}

// back forgets the entries after the newest one of a server that went back to older data.
func (l *ledger) back(newest persistence.EntryID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for n := len(l.entries); n > 0 && l.entries[n-1].ID.Compare(newest) > 0; n = len(l.entries) {
		l.entries = l.entries[:n-1]
	}
}

// forget forgets every entry: the stream has lost its end, and shows what it has from the beginning.
func (l *ledger) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = nil
}

func (l *ledger) last() (id persistence.EntryID) {
	if n := len(l.entries); n > 0 {
		id = l.entries[n-1].ID
	}
	return id
}

// keeping is the ledger, if retention drops entries during the run: then every append must bring it
// up to date.
func (w *world) keeping() *ledger {
	if w.Keep == (config.Retention{}) || w.sim != nil {
		return nil
	}
	return &w.ledger
}

// all are the entries, after the stream's new ones were added.
func (w *world) all() []persistence.Entry {
	if w.sim == nil { // the server tells what it adds
		w.ledger.follow(w.store())
	}
	w.ledger.mu.Lock()
	defer w.ledger.mu.Unlock()
	return w.ledger.entries
}

// events are the events of the entries.
func (w *world) events() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for _, e := range w.all() {
			if !yield(e.Event, nil) {
				return
			}
		}
		if w.ledger.missed != nil {
			yield(nil, w.ledger.missed)
		}
	}
}

// judgeLedger compares the stream with what it ever had: it holds the newest entries, unchanged. It
// returns the newest entry that retention has dropped, and the first difference.
func (w *world) judgeLedger() (trimmed persistence.EntryID, difference string) {
	ctx := context.Background()
	stream, err := w.store().Stream(ctx, feedName)
	if err != nil {
		return trimmed, err.Error()
	}
	info, err := stream.Info(ctx)
	if err != nil {
		return trimmed, err.Error()
	}
	if info.Trimmed != nil {
		trimmed = *info.Trimmed
	}
	known := w.all()
	for len(known) > 0 && known[0].ID.Compare(trimmed) <= 0 {
		known = known[1:]
	}
	i := 0
	for e, err := range entries(w.store()) {
		switch {
		case err != nil:
			return trimmed, err.Error()
		case i == len(known):
			return trimmed, fmt.Sprintf("it has %s, which nobody has seen come", e.ID)
		case known[i].ID != e.ID || !bytes.Equal(known[i].Event, e.Event):
			return trimmed, fmt.Sprintf("it has %s %.150s, and had %s %.150s in its place", e.ID, e.Event, known[i].ID, known[i].Event)
		}
		i++
	}
	if i < len(known) {
		return trimmed, fmt.Sprintf("it has lost %s %.150s", known[i].ID, known[i].Event)
	}
	return trimmed, ""
}

// judgeReader compares what a reader has seen with the ledger, and returns the first difference.
// Entries that retention has dropped, up to trimmed, may be missing where the reader was told.
func (w *world) judgeReader(r *reader, trimmed persistence.EntryID) string {
	if r.fault != "" {
		return r.fault
	}
	all, told := w.all(), r.told
	at := 0 // in the ledger
	// next moves to the entry that the reader should see next.
	next := func() *persistence.Entry {
		for ; at < len(all); at++ {
			if e := &all[at]; r.way.shows == nil || r.way.shows(e.Event) {
				return e
			}
		}
		return nil
	}
	for i := range r.seen {
		mayMiss := r.way.silent || i == 0 // the beginning never expires
		for ; len(told) > 0 && told[0].seen <= i; told = told[1:] {
			mayMiss = true
		}
		for e := next(); !r.saw(i, e, at); e = next() {
			if e == nil {
				return fmt.Sprintf("its entry %d is %s, and no entry of the stream", i, r.seen[i])
			}
			if !mayMiss || e.ID.Compare(trimmed) > 0 {
				return fmt.Sprintf("its entry %d is %s, that of the stream %s (number %d) %.150s", i, r.seen[i], e.ID, at+1, e.Event)
			}
			at++
		}
		at++
	}
	for e := next(); e != nil; e = next() {
		if e.ID.Compare(trimmed) > 0 || len(told) == 0 && !r.way.silent && len(r.seen) > 0 {
			return fmt.Sprintf("it has seen %d entries and not %s (number %d) %.150s", len(r.seen), e.ID, at+1, e.Event)
		}
		at++
	}
	return ""
}

// saw says whether the reader's entry i is the ledger's entry at.
func (r *reader) saw(i int, e *persistence.Entry, at int) bool {
	if e == nil {
		return false
	}
	got, want := r.seen[i], e.Event
	if got.number != 0 && got.number != int64(at)+1 || !got.id.IsZero() && got.id != e.ID {
		return false
	}
	if r.way.alters != nil {
		want = r.way.alters(want, int64(at)+1)
	}
	return bytes.Equal(got.event, want)
}

func (s sight) String() string {
	return fmt.Sprintf("%s (number %d) %.150s", s.id, s.number, s.event)
}

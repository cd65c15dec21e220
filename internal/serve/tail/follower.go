package tail

import (
	"context"
	"time"

	"tempestd/internal/jetstream"
	"tempestd/internal/serve/api"
	"tempestd/persistence"
)

const (
	// lookPage is how many entries one read passes to a filter. lookMost is how many entries are
	// looked at for one page: after that the page is returned although it is not full.
	lookPage = 1000
	lookMost = 10_000
)

// Follower reads a stream forward for one client: page after page, the entries after its cursor
// that pass its filter. It is not safe for concurrent use. The caller must call Close.
type Follower struct {
	tails   *Tails
	stream  persistence.Stream
	filter  *jetstream.Matcher // nil passes every entry
	cursor  persistence.EntryID
	request context.Context
	waiting context.Context // ends with the request, or when the server stops
	close   context.CancelFunc
}

// Follow returns a follower of stream after the exclusive cursor. A nil filter passes every entry.
// ctx is the request's context.
func (t *Tails) Follow(ctx context.Context, stream persistence.Stream, after persistence.EntryID, filter *jetstream.Matcher) *Follower {
	waiting, cancel := t.UntilDrained(ctx)
	return &Follower{tails: t, stream: stream, filter: filter, cursor: after, request: ctx, waiting: waiting, close: cancel}
}

// Close ends the follower.
func (f *Follower) Close() { f.close() }

// MoveTo makes the follower continue after the entry.
func (f *Follower) MoveTo(cursor persistence.EntryID) { f.cursor = cursor }

// Page is a page of a follower. Its Cursor is the last entry that was looked at, whether it passed
// the filter or not.
type Page struct {
	persistence.Page
	Size    int  // bytes of the entries and of the JSON around them
	Drained bool // the server is stopping: this is the last page
}

// ReadRange returns the entries of the closed range [from, to] that pass the filter: up to limit
// entries and maxResponse bytes. It looks at up to lookMost entries. A nil filter passes every entry.
func ReadRange(ctx context.Context, stream persistence.Stream, from, to persistence.StreamCursor, limit int, filter *jetstream.Matcher) (Page, error) {
	f := Follower{filter: filter}
	ask := limit
	if filter != nil {
		ask = lookPage
	}
	var p Page
	for looked := 0; ; {
		read, err := stream.Read(ctx, from, to, ask)
		if err != nil {
			if len(p.Entries) > 0 && ctx.Err() == nil {
				return p, nil // the next call returns the error
			}
			return Page{}, err
		}
		looked += len(read.Entries)
		if f.add(&p, read, limit) || filter == nil || len(read.Entries) == 0 || looked >= lookMost {
			return p, nil
		}
		from = persistence.CursorAt(p.Cursor.Next())
	}
}

// Ended reports whether the stream is closed for good and nothing follows the page.
func (p *Page) Ended() bool { return p.IsClosed() && p.Behind == 0 }

// Next returns the next page: up to limit entries (1…persistence.MaxCount) and maxResponse bytes,
// but one entry at least if there is one. If there is none, it waits for up to wait
// (0…persistence.MaxBlock); 0 is a peek that looks at up to lookMost entries. It returns at once,
// with the entries there are, when the stream is closed and when the server is stopping. An empty
// page is no error. A *persistence.CursorExpiredError is an error that leaves the follower where it
// is.
func (f *Follower) Next(wait time.Duration, limit int) (Page, error) {
	f.tails.fault.At("http.follow")
	var p Page
	var deadline time.Time
	if wait > 0 {
		deadline = f.tails.clock.Now().Add(wait)
	}
	for looked, left := 0, wait; ; {
		ask := limit - len(p.Entries)
		if f.filter != nil {
			ask = lookPage
		}
		read, err := f.read(left, ask, &p)
		if err != nil {
			if len(p.Entries) > 0 && f.request.Err() == nil {
				return p, nil // the next call returns the error
			}
			return Page{}, err
		}
		looked += len(read.Entries)
		full := f.add(&p, read, limit)
		switch {
		case full, p.Ended(), p.Drained:
			return p, nil
		case p.Behind > 0 && looked < lookMost && f.filter != nil:
			left = 0
			continue
		case len(p.Entries) > 0, wait == 0:
			return p, nil
		}
		if left = min(deadline.Sub(f.tails.clock.Now()), persistence.MaxBlock); left <= 0 {
			return p, nil
		}
	}
}

// read reads from the stream. When the server is stopping, it reads without a wait and marks p as
// the last page.
func (f *Follower) read(wait time.Duration, limit int, p *Page) (persistence.Page, error) {
	read, err := f.stream.Tail(f.waiting, persistence.CursorAt(f.cursor), wait, limit)
	if err == nil || f.request.Err() != nil || !f.tails.Draining() {
		return read, err
	}
	p.Drained = true
	ctx, cancel := context.WithTimeout(f.request, api.BriefTimeout)
	defer cancel()
	return f.stream.Tail(ctx, persistence.CursorAt(f.cursor), 0, limit)
}

// add adds the entries that pass the filter to the page, moves the cursor, and reports whether the
// page is full. It does not write to the memory of read: other readers may share it.
func (f *Follower) add(p *Page, read persistence.Page, limit int) (full bool) {
	kept := p.Entries
	for i := range read.Entries {
		frame := read.Entries[i]
		if !f.filter.WantsEvent(frame.Event) {
			continue
		}
		if p.Size += len(frame.Event) + frameOverhead; len(kept) > 0 && (len(kept) == limit || p.Size > maxResponse) {
			// This entry and all after it belong to the next page.
			full = true
			read.Behind += int64(len(read.Entries) - i)
			read.Cursor = f.cursor
			if i > 0 {
				read.Cursor = read.Entries[i-1].ID
			}
			break
		}
		if f.filter == nil {
			kept = read.Entries[: i+1 : i+1]
		} else {
			kept = append(kept, frame)
		}
	}
	f.cursor = read.Cursor
	p.Page = read
	p.Entries = kept
	return full || len(kept) == limit
}

// Lag returns how far the page is behind the newest entry, by the times in the entries' IDs. It is
// 0 at the tip.
func (p *Page) Lag() time.Duration {
	if p.Behind == 0 {
		return 0
	}
	from := p.Cursor
	if from.Compare(p.Oldest) < 0 {
		from = p.Oldest
	}
	if from.Compare(p.Newest) >= 0 {
		return 0
	}
	return time.Duration(p.Newest.MS-from.MS) * time.Millisecond
}

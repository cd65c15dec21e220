package serve

import (
	"context"
	"time"

	"tempestd/internal/jetstream"
	"tempestd/persistence"
)

const (
	// lookPage is how many entries one read passes to a filter. lookMost is how many entries are
	// looked at for one page: after that the page is returned although it is not full.
	lookPage = 1000
	lookMost = 10_000
)

// follower reads a stream forward for one client: page after page, the entries after its cursor
// that pass its filter. It is not safe for concurrent use. The caller must call close.
type follower struct {
	server  *Server
	stream  persistence.Stream
	filter  *jetstream.Matcher // nil passes every entry
	cursor  persistence.EntryID
	request context.Context
	waiting context.Context // ends with the request, or when the server stops
	close   func()
}

// follow returns a follower of stream after the exclusive cursor. ctx is the request's context.
func (s *Server) follow(ctx context.Context, stream persistence.Stream, after persistence.EntryID, filter *jetstream.Matcher) *follower {
	waiting, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.drained, cancel)
	return &follower{server: s, stream: stream, filter: filter, cursor: after, request: ctx, waiting: waiting, close: func() { stop(); cancel() }}
}

// tailPage is a page of a follower. Its Cursor is the last entry that was looked at, whether it
// passed the filter or not.
type tailPage struct {
	persistence.Page
	size    int  // bytes of the entries and of the JSON around them
	drained bool // the server is stopping: this is the last page
}

// ended reports whether the stream is closed for good and nothing follows the page.
func (p *tailPage) ended() bool { return p.IsClosed() && p.Behind == 0 }

// next returns the next page: up to limit entries (1…persistence.MaxCount) and maxResponse bytes,
// but one entry at least if there is one. If there is none, it waits for up to wait
// (0…persistence.MaxBlock); 0 is a peek that looks at up to lookMost entries. It returns at once,
// with the entries there are, when the stream is closed and when the server is stopping. An empty
// page is no error. A *persistence.CursorExpiredError is an error that leaves the follower where it
// is.
func (f *follower) next(wait time.Duration, limit int) (tailPage, error) {
	f.server.fault.At("http.follow")
	var p tailPage
	var deadline time.Time
	if wait > 0 {
		deadline = f.server.clock.Now().Add(wait)
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
			return tailPage{}, err
		}
		looked += len(read.Entries)
		full := f.add(&p, read, limit)
		switch {
		case full, p.ended(), p.drained:
			return p, nil
		case p.Behind > 0 && looked < lookMost && f.filter != nil:
			left = 0
			continue
		case len(p.Entries) > 0, wait == 0:
			return p, nil
		}
		if left = min(deadline.Sub(f.server.clock.Now()), persistence.MaxBlock); left <= 0 {
			return p, nil
		}
	}
}

// read reads from the stream. When the server is stopping, it reads without a wait and marks p as
// the last page.
func (f *follower) read(wait time.Duration, limit int, p *tailPage) (persistence.Page, error) {
	read, err := f.stream.Tail(f.waiting, persistence.CursorAt(f.cursor), wait, limit)
	if err == nil || f.request.Err() != nil || !f.server.draining() {
		return read, err
	}
	p.drained = true
	ctx, cancel := context.WithTimeout(f.request, briefTimeout)
	defer cancel()
	return f.stream.Tail(ctx, persistence.CursorAt(f.cursor), 0, limit)
}

// add adds the entries that pass the filter to the page, moves the cursor, and reports whether the
// page is full. It does not write to the memory of read: other readers may share it.
func (f *follower) add(p *tailPage, read persistence.Page, limit int) (full bool) {
	kept := p.Entries
	for i := range read.Entries {
		frame := read.Entries[i]
		if !f.filter.WantsEvent(frame.Event) {
			continue
		}
		if p.size += len(frame.Event) + frameOverhead; len(kept) > 0 && (len(kept) == limit || p.size > maxResponse) {
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

// lag returns how far the page is behind the newest entry, by the times in the entries' IDs. It is
// 0 at the tip.
func (p *tailPage) lag() time.Duration {
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

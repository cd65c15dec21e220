package tail

import (
	"bytes"
	"context"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/jetstream"
	"tempestd/internal/serve/api"
	"tempestd/internal/serve/budget"
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
	// Patient says that the response has begun: without room for a page, Next returns an empty one
	// and no error.
	Patient bool

	tails   *Tails
	share   *budget.Share
	stream  persistence.Stream
	filter  *jetstream.Matcher // nil passes every entry
	cursor  persistence.EntryID
	behind  int64 // entries after cursor, as far as that is known
	request context.Context
	waiting context.Context // ends with the request, or when the server stops
	close   context.CancelFunc
}

// Follow returns a follower of stream after the exclusive cursor. A nil filter passes every entry.
// ctx is the request's context, and share its share of the memory: the filter and the pages are part
// of it. The error is 503 Overloaded when there is no room for the filter.
func (t *Tails) Follow(ctx context.Context, share *budget.Share, stream persistence.Stream, after persistence.EntryID, filter *jetstream.Matcher) (*Follower, error) {
	filter, ok := keepFilter(share, filter)
	if !ok {
		return nil, api.Overloaded()
	}
	waiting, cancel := t.UntilDrained(ctx)
	return &Follower{tails: t, share: share, stream: stream, filter: filter, cursor: after, request: ctx, waiting: waiting, close: cancel}, nil
}

// Close ends the follower. Its last page may still be used.
func (f *Follower) Close() {
	f.close()
	forgetFilter(f.share, f.filter)
}

// Behind says that entries follow the cursor, which the follower else learns from its first page.
func (f *Follower) Behind() { f.behind = 1 }

// MoveTo makes the follower continue after the entry. It is behind the tip there.
func (f *Follower) MoveTo(cursor persistence.EntryID) { f.cursor, f.behind = cursor, 1 }

// Page is a page of a follower. Its Cursor is the last entry that was looked at, whether it passed
// the filter or not.
type Page struct {
	persistence.Page
	Size    int  // bytes of the entries and of the JSON around them
	Drained bool // the server is stopping: this is the last page
}

// ReadRange returns the entries of the closed range [from, to] that pass the filter: up to limit
// entries, and as many bytes as share has room for. It looks at up to lookMost entries. A nil filter
// passes every entry. The error is 503 Overloaded when there is no room.
func ReadRange(ctx context.Context, share *budget.Share, stream persistence.Stream, from, to persistence.StreamCursor, limit int, filter *jetstream.Matcher) (Page, error) {
	f := Follower{filter: filter, share: share}
	room := int(share.Take(maxResponse))
	if room == 0 {
		return Page{}, api.Overloaded()
	}
	ask := limit
	if filter != nil {
		ask = lookPage
	}
	var p Page
	for looked := 0; ; {
		read, err := stream.Read(persistence.WithPageBytes(ctx, room-p.Size), from, to, ask)
		if err != nil {
			if len(p.Entries) > 0 && ctx.Err() == nil {
				return f.settle(p, room), nil // the next call returns the error
			}
			return Page{}, err
		}
		looked += len(read.Entries)
		if f.add(&p, read, limit, true) || filter == nil || len(read.Entries) == 0 || looked >= lookMost || p.Size >= room {
			return f.settle(p, room), nil
		}
		from = persistence.CursorAt(p.Cursor.Next())
	}
}

// Ended reports whether the stream is closed for good and nothing follows the page.
func (p *Page) Ended() bool { return p.IsClosed() && p.Behind == 0 }

// Next returns the next page: up to limit entries (1…persistence.MaxCount) and maxResponse bytes,
// fewer where the client has less room, but one entry at least if there is one. If there is none, it
// waits for up to wait (0…persistence.MaxBlock); 0 is a peek that looks at up to lookMost entries. It
// returns at once, with the entries there are, when the stream is closed and when the server is
// stopping. An empty page is no error. The memory of the page before must no longer be used.
//
// A *persistence.CursorExpiredError is an error that leaves the follower where it is. When the client
// has no room, Next waits for it up to wait; then the error is 503 Overloaded, unless the follower is
// patient.
func (f *Follower) Next(wait time.Duration, limit int) (Page, error) {
	f.tails.fault.At("http.follow")
	f.share.Use(0)
	var p Page
	var deadline time.Time
	if wait > 0 {
		deadline = f.tails.clock.Now().Add(wait)
	}
	room := 0 // that the client has for the page; 0 before that is known
	for looked, left := 0, wait; ; {
		// What is read at the tip is new, little, and in memory already: it takes room when it is
		// there. So a tail that waits takes none.
		if room == 0 && (left == 0 || f.behind > 0) {
			if room = f.room(left); room == 0 {
				return f.withoutRoom(p)
			}
		}
		ask := limit - len(p.Entries)
		if f.filter != nil {
			ask = lookPage
		}
		read, err := f.read(left, ask, max(room, budget.Least)-p.Size, &p)
		if err != nil {
			if len(p.Entries) > 0 && f.request.Err() == nil {
				return f.settle(p, room), nil // the next call returns the error
			}
			return Page{}, err
		}
		looked += len(read.Entries)
		full := f.add(&p, read, limit, room > 0)
		f.behind = p.Behind
		switch {
		case full, p.Ended(), p.Drained, room > 0 && p.Size >= room:
			return f.settle(p, room), nil
		case p.Behind > 0 && looked < lookMost && (f.filter != nil || room == 0):
			left = 0
			continue
		case len(p.Entries) > 0, wait == 0:
			return f.settle(p, room), nil
		}
		if left = min(deadline.Sub(f.tails.clock.Now()), persistence.MaxBlock); left <= 0 {
			return f.settle(p, room), nil
		}
	}
}

// room takes room for a page, and waits for it up to wait. It returns 0 when there is none.
func (f *Follower) room(wait time.Duration) int {
	got := f.share.Take(maxResponse)
	if got == 0 && wait > 0 {
		ctx, cancel := clockwork.WithTimeout(f.waiting, f.tails.clock, wait)
		defer cancel()
		got = f.share.Await(ctx, maxResponse)
	}
	return int(got)
}

// withoutRoom ends a page for which there is no room.
func (f *Follower) withoutRoom(p Page) (Page, error) {
	switch {
	case f.request.Err() != nil:
		return Page{}, f.request.Err()
	case len(p.Entries) > 0:
		return f.settle(p, 0), nil
	case f.Patient:
		return Page{Page: persistence.Page{Cursor: f.cursor, Behind: f.behind}, Drained: f.tails.Draining()}, nil
	case f.tails.Draining():
		return Page{}, api.ShuttingDown()
	}
	return Page{}, api.Overloaded()
}

const (
	// smallPage is how many bytes of a block are unpacked at a time: a page with less would hold
	// more memory than its own.
	smallPage = 256 << 10
	entrySize = 40 // of a persistence.Entry, without its event
)

// settle ends a page: its share is what it holds, and the buffer that it is written through. A page
// that was read for this client alone is copied if it holds more than its own.
func (f *Follower) settle(p Page, room int) Page {
	if room > 0 && f.filter == nil && p.Size <= smallPage && len(p.Entries) > 0 {
		own := make([]persistence.Entry, len(p.Entries))
		all := make([]byte, 0, p.Size)
		for i, e := range p.Entries {
			from := len(all)
			all = append(all, e.Event...)
			own[i] = persistence.Entry{ID: e.ID, Event: all[from:len(all):len(all)]}
		}
		p.Entries = own
	}
	held := 0
	if len(p.Entries) > 0 {
		held = p.Size + entrySize*len(p.Entries) + bufferSize(p.Size)
	}
	f.share.Use(int64(held))
	return p
}

// read reads up to limit entries and room bytes from the stream. When the server is stopping, it
// reads without a wait and marks p as the last page.
func (f *Follower) read(wait time.Duration, limit, room int, p *Page) (persistence.Page, error) {
	read, err := f.stream.Tail(persistence.WithPageBytes(f.waiting, room), persistence.CursorAt(f.cursor), wait, limit)
	if err == nil || f.request.Err() != nil || !f.tails.Draining() {
		return read, err
	}
	p.Drained = true
	ctx, cancel := context.WithTimeout(f.request, api.BriefTimeout)
	defer cancel()
	return f.stream.Tail(persistence.WithPageBytes(ctx, room), persistence.CursorAt(f.cursor), 0, limit)
}

// add adds the entries that pass the filter to the page, moves the cursor, and reports whether the
// page is full. It does not write to the memory of read: other readers may share it. own says that
// read was read for this client alone: what is kept of it is copied, because it would hold the rest.
func (f *Follower) add(p *Page, read persistence.Page, limit int, own bool) (full bool) {
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
		if f.filter == nil && len(p.Entries) == 0 {
			kept = read.Entries[: i+1 : i+1]
		} else {
			if f.filter != nil && own {
				frame.Event = bytes.Clone(frame.Event)
			}
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

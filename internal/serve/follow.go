package serve

import (
	"context"
	"time"

	"tempestd/internal/jetstream"
	"tempestd/persistence"
)

const (
	// lookPage is how many entries a filter is shown at a time, lookMost how many one page is looked for in before it is given although it could be longer.
	lookPage = 1000
	lookMost = 10_000
)

// follower reads a stream forward for one client: what comes after its cursor and passes its filter, page after page. It is used by one goroutine at a time,
// and closed in the end.
type follower struct {
	server  *Server
	stream  persistence.Stream
	filter  *jetstream.Matcher // nil passes everything
	cursor  persistence.EntryID
	request context.Context
	waiting context.Context // ends with the request, or when the server stops
	close   func()
}

// follow gives a follower of stream after the exclusive cursor. ctx is the request's.
func (s *Server) follow(ctx context.Context, stream persistence.Stream, after persistence.EntryID, filter *jetstream.Matcher) *follower {
	waiting, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.drained, cancel)
	return &follower{server: s, stream: stream, filter: filter, cursor: after, request: ctx, waiting: waiting, close: func() { stop(); cancel() }}
}

// tailPage is what a follower found. Its Cursor is the last entry that was looked at, wanted or not.
type tailPage struct {
	persistence.StreamFrames
	size    int  // bytes of the frames, and around them
	drained bool // the server is stopping: this is the last page
}

// ended says whether the stream is closed for good and nothing follows the page.
func (p *tailPage) ended() bool { return p.IsClosed() && p.Behind == 0 }

// next gives the next page: up to limit frames (1…persistence.MaxCount) and maxResponse bytes, one frame at least. Without any it waits for up to wait
// (0…persistence.MaxBlock; 0 is a peek, which looks at up to lookMost entries). It returns at once, with what there is, when the stream is closed and when the server
// is stopping. An empty page is no error; a *persistence.CursorExpiredError is one, and leaves the follower where it is.
func (f *follower) next(wait time.Duration, limit int) (tailPage, error) {
	f.server.fault.At("http.follow")
	var p tailPage
	var deadline time.Time
	if wait > 0 {
		deadline = f.server.clock.Now().Add(wait)
	}
	for looked, left := 0, wait; ; {
		ask := limit - len(p.Frames)
		if f.filter != nil {
			ask = lookPage
		}
		read, err := f.read(left, ask, &p)
		if err != nil {
			if len(p.Frames) > 0 && f.request.Err() == nil {
				return p, nil // the next call meets it
			}
			return tailPage{}, err
		}
		looked += len(read.Frames)
		full := f.add(&p, read, limit)
		switch {
		case full, p.ended(), p.drained:
			return p, nil
		case p.Behind > 0 && looked < lookMost && f.filter != nil:
			left = 0
			continue
		case len(p.Frames) > 0, wait == 0:
			return p, nil
		}
		if left = min(deadline.Sub(f.server.clock.Now()), persistence.MaxBlock); left <= 0 {
			return p, nil
		}
	}
}

// read asks the stream. When the server is stopping that is no error: what there is now is read, and p is the last page.
func (f *follower) read(wait time.Duration, limit int, p *tailPage) (persistence.StreamFrames, error) {
	read, err := f.stream.Tail(f.waiting, persistence.CursorAt(f.cursor), wait, limit)
	if err == nil || f.request.Err() != nil || !f.server.draining() {
		return read, err
	}
	p.drained = true
	ctx, cancel := context.WithTimeout(f.request, briefTimeout)
	defer cancel()
	return f.stream.Tail(ctx, persistence.CursorAt(f.cursor), 0, limit)
}

// add adds what passes the filter to the page and moves the cursor. It says whether the page is full. What the stream gave is not written to, for others
// may read it too.
func (f *follower) add(p *tailPage, read persistence.StreamFrames, limit int) (full bool) {
	kept := p.Frames
	for i := range read.Frames {
		frame := read.Frames[i]
		if !f.filter.WantsEvent(frame.Event) {
			continue
		}
		if p.size += len(frame.Event) + frameOverhead; len(kept) > 0 && (len(kept) == limit || p.size > maxResponse) {
			// This one is the next page's, and so is what follows it.
			full = true
			read.Behind += int64(len(read.Frames) - i)
			read.Cursor = f.cursor
			if i > 0 {
				read.Cursor = read.Frames[i-1].ID
			}
			break
		}
		if f.filter == nil {
			kept = read.Frames[: i+1 : i+1]
		} else {
			kept = append(kept, frame)
		}
	}
	f.cursor = read.Cursor
	p.StreamFrames = read
	p.Frames = kept
	return full || len(kept) == limit
}

// lag is for how long, by the entries' own times, the page is behind the newest entry: 0 at the tip.
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

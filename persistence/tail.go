package persistence

import (
	"context"
	"time"

	"tempestd/messages"
)

// Tail implements Stream.
func (s *embeddedStream) Tail(ctx context.Context, after StreamCursor, block time.Duration, limit int) (StreamFrames, error) {
	id, err := after.Exclusive()
	if err != nil {
		return StreamFrames{}, err
	}
	if err := checkLimit(limit); err != nil {
		return StreamFrames{}, err
	}
	if err := checkBlock(block); err != nil {
		return StreamFrames{}, err
	}
	var timeout <-chan time.Time
	if block > 0 {
		timer := s.store.clock.NewTimer(block)
		defer timer.Stop()
		timeout = timer.Chan()
	}
	for {
		page, wake, err := s.peek(ctx, id, limit, block > 0)
		if wake == nil {
			return page, err
		}
		select {
		case <-wake:
			s.leave()
		case <-timeout:
			s.leave()
			page, _, err := s.peek(ctx, id, limit, false)
			return page, err
		case <-ctx.Done():
			s.leave()
			return StreamFrames{}, ctx.Err()
		case <-s.store.closed:
			s.leave()
			return StreamFrames{}, ErrStoreClosed
		}
	}
}

// peek reads what comes after id. When that is nothing yet and wait is set, it registers the caller with the stream and gives
// the channel that is closed when there may be something; leave ends the registration.
func (s *embeddedStream) peek(ctx context.Context, id EntryID, limit int, wait bool) (StreamFrames, <-chan struct{}, error) {
	release, err := s.store.use()
	if err != nil {
		return StreamFrames{}, nil, err
	}
	defer release()
	if err := ctx.Err(); err != nil {
		return StreamFrames{}, nil, err
	}

	s.tip.Lock()
	m := s.meta
	s.recent.wanted = s.store.clock.Now()
	if nothing := m.kept() == 0 || id.Compare(m.Last) >= 0; nothing && wait && m.ClosedUS == 0 {
		s.waiting++
		wake := s.wake
		s.tip.Unlock()
		return StreamFrames{}, wake, nil
	}
	recent, inRing := s.recent.after(id, m.Oldest)
	s.tip.Unlock()
	if err := checkAfter(s.name, id, m.trimmed()); err != nil {
		return StreamFrames{}, nil, err
	}

	if inRing {
		frames, behind := framesOf(recent, id.Next(), limit)
		return pageOf(&m, frames, id, behind), nil, nil
	}
	page, err := s.page(ctx, &m, id.Next(), messages.MaxEntryID, limit)
	if err == nil && len(page.Frames) == 0 {
		page.Cursor = id
	}
	return page, nil, err
}

// leave ends a wait that peek began.
func (s *embeddedStream) leave() {
	s.tip.Lock()
	defer s.tip.Unlock()
	s.waiting--
}

// framesOf gives a page of the segments' entries, from the ID from on, and how many follow it.
func framesOf(segments []*segment, from EntryID, limit int) (frames []Frame, behind int64) {
	if len(segments) == 0 {
		return nil, 0
	}
	first := segments[0].search(from)
	size := -first
	for _, g := range segments {
		size += len(g.ids)
	}
	frames = make([]Frame, 0, min(limit, size))
	room := MaxPageBytes
	for _, g := range segments {
		frames = g.appendFrames(frames, first, limit, &room)
		first = 0
	}
	return frames, int64(size - len(frames))
}

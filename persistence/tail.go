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
	var number int64 // among those who wait
	if block > 0 {
		timer := s.store.clock.NewTimer(block)
		defer timer.Stop()
		timeout = timer.Chan()
		number = s.waiting.Add(1)
		defer s.waiting.Add(-1)
	}
	for wait := block > 0; ; {
		page, wake, err := s.peek(ctx, id, limit, wait)
		if wake == nil {
			return page, err
		}
		select {
		case <-wake.rope(number):
		case <-timeout:
			wait = false
		case <-ctx.Done():
			return StreamFrames{}, ctx.Err()
		case <-s.store.closed:
			return StreamFrames{}, ErrStoreClosed
		}
	}
}

// peek reads what comes after id. When that is nothing yet and wait is set, it gives the bell that is rung when there may be something.
func (s *embeddedStream) peek(ctx context.Context, id EntryID, limit int, wait bool) (StreamFrames, *bell, error) {
	select {
	case <-s.store.closed:
		return StreamFrames{}, nil, ErrStoreClosed
	default:
	}
	if err := ctx.Err(); err != nil {
		return StreamFrames{}, nil, err
	}
	s.wanted.Store(s.store.clock.Now().UnixNano())
	t := s.tip.Load()
	if nothing := t.meta.kept() == 0 || id.Compare(t.meta.Last) >= 0; nothing && wait && t.meta.ClosedUS == 0 {
		return StreamFrames{}, t.wake, nil
	}
	if err := checkAfter(s.name, id, t.meta.trimmed()); err != nil {
		return StreamFrames{}, nil, err
	}
	if recent, ok := t.after(id); ok {
		frames, behind := framesOf(recent, id.Next(), limit)
		return pageOf(&t.meta, frames, id, behind), nil, nil
	}
	release, err := s.store.use()
	if err != nil {
		return StreamFrames{}, nil, err
	}
	defer release()
	m := t.meta
	page, err := s.page(ctx, &m, id.Next(), messages.MaxEntryID, limit)
	if err == nil && len(page.Frames) == 0 {
		page.Cursor = id
	}
	return page, nil, err
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

package persistence

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/valkey-io/valkey-go"

	"tempestd/messages"
)

// Bounds of what is asked of the server at one time: a page is fetched in pieces, so that one of large events stays within bounds too.
const (
	pieceEntries = 512
	pieceBytes   = 1 << 20
)

// Read implements Stream.
func (s *valkeyStream) Read(ctx context.Context, from, to StreamCursor, limit int) (StreamFrames, error) {
	if err := checkLimit(limit); err != nil {
		return StreamFrames{}, err
	}
	lower, upper := from.Lower(), to.Upper()
	frames, err := s.frames(ctx, lower, upper, limit, false)
	if err != nil {
		return StreamFrames{}, err
	}
	if len(frames) > 0 {
		page, _, err := s.store.place(ctx, &s.keys, frames, EntryID{})
		return page, err
	}
	// Nothing is in the range, or in what there is of it.
	_, state, err := s.store.place(ctx, &s.keys, nil, messages.MaxEntryID)
	if err != nil {
		return StreamFrames{}, err
	}
	cursor := lower.Prev()
	if state.last.Compare(upper) < 0 {
		upper = state.last
	}
	if cursor.Compare(upper) < 0 {
		cursor = upper
	}
	page, _, err := s.store.place(ctx, &s.keys, nil, cursor)
	return page, err
}

// after reads what comes after id.
func (s *valkeyStream) after(ctx context.Context, id EntryID, limit int) (page StreamFrames, state placed, err error) {
	for {
		frames, err := s.frames(ctx, id, messages.MaxEntryID, limit, true)
		if err != nil {
			return StreamFrames{}, state, err
		}
		page, state, err = s.store.place(ctx, &s.keys, frames, id)
		if err != nil || len(frames) > 0 || page.Behind == 0 {
			return page, state, err
		}
		// Something was appended between the two questions.
	}
}

// frames reads the entries of the closed range [from, to], or with exclusive what comes after from, oldest first.
func (s *valkeyStream) frames(ctx context.Context, from, to EntryID, limit int, exclusive bool) (frames []Frame, err error) {
	room, size := MaxPageBytes, 0
	for {
		piece := min(limit-len(frames), pieceEntries)
		if n := len(frames); n > 0 {
			piece = max(min(piece, pieceBytes*n/max(size, 1)), 1)
		} else {
			piece = min(piece, 64)
		}
		more, trimmed, err := s.fetch(ctx, from, to, piece, exclusive)
		if err != nil {
			return nil, err
		}
		// The retention was asked for after the piece: where it has come so far, entries may be missing at the beginning. Of a piece that follows
		// others, the next page tells.
		check := checkFrom
		if exclusive {
			check = checkAfter
		}
		if err := check(s.name, from, trimmed); err != nil {
			if len(frames) > 0 {
				return frames, nil
			}
			return nil, err
		}
		for _, f := range more {
			frames = append(frames, f)
			size += len(f.Event)
			if room -= len(f.Event); room <= 0 {
				return frames, nil
			}
		}
		if len(more) < piece || len(frames) >= limit {
			return frames, nil
		}
		from, exclusive = more[len(more)-1].ID, true
	}
}

// fetch asks for one piece, and after it for how far retention has gone.
func (s *valkeyStream) fetch(ctx context.Context, from, to EntryID, count int, exclusive bool) (frames []Frame, trimmed EntryID, err error) {
	limited, release, err := s.store.use(ctx)
	if err != nil {
		return nil, trimmed, err
	}
	defer release()
	client, err := s.store.readers.get()
	if err != nil {
		return nil, trimmed, s.store.failure(ctx, err)
	}
	start := from
	if exclusive && from == messages.MaxEntryID {
		to = EntryID{} // there is nothing after it
	} else if exclusive {
		start = from.Next()
	}
	answers := client.DoMulti(limited,
		client.B().Xrange().Key(s.keys.stream).Start(start.String()).End(to.String()).Count(int64(count)).Build(),
		client.B().Hget().Key(s.keys.meta).Field("trimmed").Build())
	var replies [2]valkey.ValkeyMessage
	for i := range answers {
		reply, err := answers[i].ToMessage()
		if err != nil && !valkey.IsValkeyNil(err) {
			return nil, trimmed, s.store.failure(ctx, err)
		}
		replies[i] = reply
	}
	if frames, err = framesOfReply(&replies[0]); err != nil {
		return nil, trimmed, fmt.Errorf("stream %s: %w", s.name, err)
	}
	if text, err := replies[1].ToString(); err == nil {
		if id := entryID(text); id != nil {
			trimmed = *id
		}
	}
	return frames, trimmed, nil
}

// placed is what a stream was when a page was placed in it, beside what the page tells.
type placed struct {
	last    EntryID // the newest entry ever, kept or not
	trimmed EntryID // the newest one that retention dropped
}

// place makes a page of frames that were read: with what the stream is now, all of it at one instant. Without frames, cursor is the page's.
func (v *Valkey) place(ctx context.Context, keys *valkeyKeys, frames []Frame, cursor EntryID) (page StreamFrames, state placed, err error) {
	page = StreamFrames{Frames: frames, Cursor: cursor}
	first := ""
	if n := len(frames); n > 0 {
		page.Cursor, first = frames[n-1].ID, frames[0].ID.String()
	}
	m, err := v.run(ctx, scriptPlace, []string{keys.stream, keys.meta, keys.blocks}, page.Cursor.String(), first)
	if err != nil {
		return StreamFrames{}, state, err
	}
	f := stringsOf(m)
	if id := entryID(f[0]); id != nil {
		state.last = *id
	}
	if id := entryID(f[1]); id != nil {
		state.trimmed = *id
	}
	if id := entryID(f[5]); id != nil {
		page.Oldest, page.Newest = *id, state.last
	}
	if f[2] != "" {
		page.ClosedAt, page.ClosedReason = time.UnixMicro(number(f[2])).UTC(), f[3]
	}
	if len(f) < 11 {
		return page, state, nil // at the tip
	}
	rest := number(f[10])
	if block := entryID(f[8]); rest < 0 && block != nil {
		i, _ := slices.BinarySearchFunc(frames, *block, func(f Frame, id EntryID) int { return f.ID.Compare(id) })
		rest = number(f[7]) - int64(len(frames)-i)
	}
	page.Behind = number(f[6]) + rest
	return page, state, nil
}

// Tail implements Stream. At the tip it costs the server nothing: the stream's hub has what is new.
func (s *valkeyStream) Tail(ctx context.Context, after StreamCursor, block time.Duration, limit int) (StreamFrames, error) {
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
	if err := ctx.Err(); err != nil {
		return StreamFrames{}, err
	}
	if block == 0 {
		page, _, err := s.after(ctx, id, limit)
		return page, err
	}
	timer := s.store.clock.NewTimer(block)
	defer timer.Stop()
	for over := false; ; {
		page, next, covered := s.hub.look(id, limit)
		if !covered {
			page, err = s.open(ctx, id, limit, next == nil)
			if err != nil || len(page.Frames) > 0 || page.IsClosed() || over {
				return page, err
			}
			if next == nil {
				continue
			}
		}
		if len(page.Frames) > 0 || over {
			return page, nil
		}
		waiting := s.hub.wait(1)
		select {
		case <-next.rope(int64(waiting)):
			s.hub.wait(-1)
			if next.err != nil {
				return StreamFrames{}, next.err
			}
		case <-timer.Chan():
			s.hub.wait(-1)
			over = true
		case <-ctx.Done():
			s.hub.wait(-1)
			return StreamFrames{}, ctx.Err()
		case <-s.store.closed:
			s.hub.wait(-1)
			return StreamFrames{}, ErrStoreClosed
		}
	}
}

// open asks the server for what the hub does not have. With start, no reader runs: it is started where there is nothing to read yet. A thousand tails that come
// together are then a few questions to the server, for the others find that it runs.
func (s *valkeyStream) open(ctx context.Context, id EntryID, limit int, start bool) (StreamFrames, error) {
	if start {
		select {
		case s.hub.opening <- struct{}{}:
			defer func() { <-s.hub.opening }()
		case <-ctx.Done():
			return StreamFrames{}, ctx.Err()
		case <-s.store.closed:
			return StreamFrames{}, ErrStoreClosed
		}
		if page, _, covered := s.hub.look(id, limit); covered {
			return page, nil
		}
	}
	page, state, err := s.after(ctx, id, limit)
	if err == nil && start && len(page.Frames) == 0 && !page.IsClosed() {
		err = s.hub.start(state.last, page.Oldest)
	}
	return page, err
}

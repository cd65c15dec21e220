package valkey

import (
	"context"
	"slices"
	"time"

	valkeygo "github.com/valkey-io/valkey-go"

	"tempestd/messages"
	"tempestd/persistence"
)

// Bounds of one request to the server. A page is fetched in pieces, so that the memory for a page
// of large events is bounded too.
const (
	pieceEntries = 512
	pieceBytes   = 1 << 20
)

// Read implements persistence.Stream.
func (s *stream) Read(ctx context.Context, from, to persistence.StreamCursor, limit int) (persistence.StreamFrames, error) {
	if err := persistence.CheckLimit(limit); err != nil {
		return persistence.StreamFrames{}, err
	}
	lower, upper := from.Lower(), to.Upper()
	for {
		frames, err := s.frames(ctx, lower, upper, limit, false)
		if err != nil {
			return persistence.StreamFrames{}, err
		}
		if len(frames) == 0 {
			break
		}
		page, state, err := s.hub.place(ctx, frames, persistence.EntryID{})
		if err != nil || !state.overtook(page.Cursor) {
			return page, err
		}
	}
	// The range has no entries, or retention has dropped them.
	_, state, err := s.hub.place(ctx, nil, messages.MaxEntryID)
	if err != nil {
		return persistence.StreamFrames{}, err
	}
	cursor := lower.Prev()
	if state.last.Compare(upper) < 0 {
		upper = state.last
	}
	if cursor.Compare(upper) < 0 {
		cursor = upper
	}
	page, _, err := s.hub.place(ctx, nil, cursor)
	return page, err
}

// after reads the entries after id.
func (s *stream) after(ctx context.Context, id persistence.EntryID, limit int) (page persistence.StreamFrames, state placed, err error) {
	for {
		frames, err := s.frames(ctx, id, messages.MaxEntryID, limit, true)
		if err != nil {
			return persistence.StreamFrames{}, state, err
		}
		page, state, err = s.hub.place(ctx, frames, id)
		if err != nil || (len(frames) > 0 || page.Behind == 0) && !state.overtook(page.Cursor) {
			return page, state, err
		}
		// Entries were appended or dropped between the two requests.
	}
}

// frames reads the entries of the closed range [from, to], oldest first. With exclusive, from
// itself does not belong to the range.
func (s *stream) frames(ctx context.Context, from, to persistence.EntryID, limit int, exclusive bool) (frames []persistence.Frame, err error) {
	room, size := persistence.MaxPageBytes, 0
	for {
		piece := min(limit-len(frames), pieceEntries)
		if n := len(frames); n > 0 {
			piece = max(min(piece, pieceBytes*n/max(size, 1)), 1)
		} else {
			piece = min(piece, 64)
		}
		more, trimmed, err := s.fetch(ctx, from, to, piece, exclusive)
		s.store.note("read of stream "+s.name, err)
		if err != nil {
			return nil, err
		}
		// The retention was read after the piece. If it has reached the range, entries may be
		// missing at the beginning. For a piece that follows other pieces the next page returns the
		// error.
		check := persistence.CheckFrom
		if exclusive {
			check = persistence.CheckAfter
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

// fetch reads one piece, and after it how far retention has gone.
func (s *stream) fetch(ctx context.Context, from, to persistence.EntryID, count int, exclusive bool) (frames []persistence.Frame, trimmed persistence.EntryID, err error) {
	start := from
	if exclusive && from == messages.MaxEntryID {
		to = persistence.EntryID{} // no entry can follow
	} else if exclusive {
		start = from.Next()
	}
	answers, err := call(ctx, s.store, s.store.readers, func(ctx context.Context, client valkeygo.Client) ([]valkeygo.ValkeyResult, error) {
		return client.DoMulti(ctx,
			client.B().Xrange().Key(s.keys.stream).Start(start.String()).End(to.String()).Count(int64(count)).Build(),
			client.B().Hmget().Key(s.keys.meta).Field("trimmed").Build()), nil
	})
	if err != nil {
		return nil, trimmed, err
	}
	entries, err := answers[0].ToMessage()
	if err != nil {
		return nil, trimmed, s.store.failure(ctx, err)
	}
	if frames, err = framesOfReply(&entries); err != nil {
		return nil, trimmed, s.refuse(err)
	}
	meta, err := answers[1].ToMessage()
	if err != nil {
		return nil, trimmed, s.store.failure(ctx, err)
	}
	r := read("how far retention has gone", meta)
	trimmed = r.id()
	if err := r.end(); err != nil {
		return nil, trimmed, s.refuse(err)
	}
	return frames, trimmed, nil
}

// placed is the state of a stream when a page was placed in it, besides the fields of the page.
type placed struct {
	last     persistence.EntryID // the newest entry ever appended, kept or not
	trimmed  persistence.EntryID // the newest entry that retention dropped
	appended int64               // entries ever appended, up to last
}

// overtook reports whether retention has dropped entries after the cursor in the meantime. Then the
// number of the cursor's entry cannot be computed from the remaining stream.
func (p placed) overtook(cursor persistence.EntryID) bool {
	return persistence.CheckAfter("", cursor, p.trimmed) != nil
}

// place makes a page of frames that were read, with the state of the stream at one instant. Without
// frames, cursor is the page's cursor.
func (h *hub) place(ctx context.Context, frames []persistence.Frame, cursor persistence.EntryID) (page persistence.StreamFrames, state placed, err error) {
	page = persistence.StreamFrames{Frames: frames, Cursor: cursor}
	first := ""
	if n := len(frames); n > 0 {
		page.Cursor, first = frames[n-1].ID, frames[0].ID.String()
	}
	m, err := h.store.run(ctx, scriptPlace, []string{h.keys.stream, h.keys.meta, h.keys.blocks}, page.Cursor.String(), first)
	if err != nil {
		return persistence.StreamFrames{}, state, err
	}
	r := read("where a page stands", m)
	state = placed{last: r.id(), trimmed: r.id()}
	closed, reason, oldest, doubtful := r.number(), r.text(), r.id(), r.number() != 0
	state.appended = r.number()
	page.Appended = state.appended
	following, beyond := int64(0), false
	var block struct {
		entries int64
		first   persistence.EntryID
		rest    int64 // its entries after the cursor; -1 if they are counted from the frames
	}
	if beyond = r.more(); beyond {
		following, block.entries, block.first, block.rest = r.number(), r.number(), r.id(), r.number()
	}
	if err := r.end(); err != nil {
		return persistence.StreamFrames{}, state, h.store.refuse("stream %s: %v", h.name, err)
	}
	if doubtful {
		h.shown(frames)
	}
	if !oldest.IsZero() {
		page.Oldest, page.Newest = oldest, state.last
	}
	if closed != 0 {
		page.ClosedAt, page.ClosedReason = time.UnixMicro(closed).UTC(), reason
	}
	if !beyond {
		return page, state, nil // at the tip
	}
	if block.rest < 0 {
		i, _ := slices.BinarySearchFunc(frames, block.first, func(f persistence.Frame, id persistence.EntryID) int { return f.ID.Compare(id) })
		block.rest = max(block.entries-int64(len(frames)-i), 0)
	}
	page.Behind = following + block.rest
	return page, state, nil
}

// Tail implements persistence.Stream. At the tip it sends nothing to the server: the stream's hub has the new
// entries.
func (s *stream) Tail(ctx context.Context, after persistence.StreamCursor, block time.Duration, limit int) (persistence.StreamFrames, error) {
	id, err := after.Exclusive()
	if err != nil {
		return persistence.StreamFrames{}, err
	}
	if err := persistence.CheckLimit(limit); err != nil {
		return persistence.StreamFrames{}, err
	}
	if err := persistence.CheckBlock(block); err != nil {
		return persistence.StreamFrames{}, err
	}
	if err := ctx.Err(); err != nil {
		return persistence.StreamFrames{}, err
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
		case <-next.Wait(int64(waiting)):
			s.hub.wait(-1)
			if next.err != nil {
				return persistence.StreamFrames{}, next.err
			}
		case <-timer.Chan():
			s.hub.wait(-1)
			over = true
		case <-ctx.Done():
			s.hub.wait(-1)
			return persistence.StreamFrames{}, ctx.Err()
		case <-s.store.closed:
			s.hub.wait(-1)
			return persistence.StreamFrames{}, persistence.ErrStoreClosed
		}
	}
}

// open asks the server for entries that the hub does not have. start says that no reader runs: open
// then starts it if there is nothing to read yet. If a thousand tails come at once, the server gets
// only a few requests, because the other tails find the running reader.
func (s *stream) open(ctx context.Context, id persistence.EntryID, limit int, start bool) (persistence.StreamFrames, error) {
	if start {
		select {
		case s.hub.opening <- struct{}{}:
			defer func() { <-s.hub.opening }()
		case <-ctx.Done():
			return persistence.StreamFrames{}, ctx.Err()
		case <-s.store.closed:
			return persistence.StreamFrames{}, persistence.ErrStoreClosed
		}
		if page, _, covered := s.hub.look(id, limit); covered {
			return page, nil
		}
	}
	page, state, err := s.after(ctx, id, limit)
	if err == nil && start && len(page.Frames) == 0 && !page.IsClosed() {
		err = s.hub.start(&state, page.Oldest)
	}
	return page, err
}

// TailStream implements persistence.Store. A waiting TailStream delays no other call: the blocking read has its
// own connection, one per stream for all tails.
func (v *Store) TailStream(ctx context.Context, stream, after string, block time.Duration, limit int) (persistence.StreamFrames, error) {
	return persistence.TailByName(ctx, v, stream, after, block, limit)
}

// ReadStream implements persistence.Store.
func (v *Store) ReadStream(ctx context.Context, stream, from, to string, limit int) (persistence.StreamFrames, error) {
	return persistence.ReadByName(ctx, v, stream, from, to, limit)
}

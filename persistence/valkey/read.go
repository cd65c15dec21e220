package valkey

import (
	"cmp"
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
func (s *stream) Read(ctx context.Context, from, to persistence.StreamCursor, limit int) (persistence.Page, error) {
	if err := persistence.CheckLimit(limit); err != nil {
		return persistence.Page{}, err
	}
	lower, upper := from.Lower(), to.Upper()
	for {
		entries, err := s.entries(ctx, lower, upper, limit, false)
		if err != nil {
			return persistence.Page{}, err
		}
		if len(entries) == 0 {
			break
		}
		page, state, err := s.hub.pageOf(ctx, entries, persistence.EntryID{})
		if err != nil || !state.overtook(page.Cursor) {
			return page, err
		}
	}
	// The range has no entries, or retention has dropped them.
	_, state, err := s.hub.pageOf(ctx, nil, messages.MaxEntryID)
	if err != nil {
		return persistence.Page{}, err
	}
	cursor := lower.Prev()
	if state.last.Compare(upper) < 0 {
		upper = state.last
	}
	if cursor.Compare(upper) < 0 {
		cursor = upper
	}
	page, _, err := s.hub.pageOf(ctx, nil, cursor)
	return page, err
}

// after reads the entries after id.
func (s *stream) after(ctx context.Context, id persistence.EntryID, limit int) (page persistence.Page, state tipState, err error) {
	for {
		entries, err := s.entries(ctx, id, messages.MaxEntryID, limit, true)
		if err != nil {
			return persistence.Page{}, state, err
		}
		page, state, err = s.hub.pageOf(ctx, entries, id)
		if err != nil || (len(entries) > 0 || page.Behind == 0) && !state.overtook(page.Cursor) {
			return page, state, err
		}
		// Entries were appended or dropped between the two requests.
	}
}

// entries reads the entries of the closed range [from, to], oldest first. With exclusive, from
// itself does not belong to the range.
func (s *stream) entries(ctx context.Context, from, to persistence.EntryID, limit int, exclusive bool) (entries []persistence.Entry, err error) {
	room, size := persistence.PageBytes(ctx), 0
	for {
		piece := min(limit-len(entries), pieceEntries)
		if n := len(entries); n > 0 {
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
			if len(entries) > 0 {
				return entries, nil
			}
			return nil, err
		}
		for _, f := range more {
			entries = append(entries, f)
			size += len(f.Event)
			if room -= len(f.Event); room <= 0 {
				return entries, nil
			}
		}
		if len(more) < piece || len(entries) >= limit {
			return entries, nil
		}
		from, exclusive = more[len(more)-1].ID, true
	}
}

// fetch reads one piece, and after it how far retention has gone.
func (s *stream) fetch(ctx context.Context, from, to persistence.EntryID, count int, exclusive bool) (entries []persistence.Entry, trimmed persistence.EntryID, err error) {
	start := from
	if exclusive && from == messages.MaxEntryID {
		to = persistence.EntryID{} // no entry can follow
	} else if exclusive {
		start = from.Next()
	}
	type piece struct{ entries, bounds valkeygo.ValkeyMessage }
	read, err := call(ctx, s.store, s.store.readers, func(ctx context.Context, client valkeygo.Client) (piece, error) {
		answers := client.DoMulti(ctx,
			client.B().Xrange().Key(s.keys.stream).Start(start.String()).End(to.String()).Count(int64(count)).Build(),
			client.B().Hmget().Key(s.keys.meta).Field(boundsFields...).Build())
		entries, errEntries := answer(answers[0])
		bounds, errBounds := answer(answers[1])
		return piece{entries, bounds}, cmp.Or(errEntries, errBounds)
	})
	if err != nil {
		return nil, trimmed, err
	}
	if entries, err = decodeEntries(read.entries); err != nil {
		return nil, trimmed, s.refuse(err)
	}
	bounds, err := decodeBounds(read.bounds)
	if err != nil {
		return nil, trimmed, s.refuse(err)
	}
	if bounds.limited {
		entries = upTo(entries, bounds.shown)
	}
	return entries, bounds.trimmed, nil
}

// upTo returns the entries up to the newest durable one.
func upTo(entries []persistence.Entry, shown persistence.EntryID) []persistence.Entry {
	i, _ := slices.BinarySearchFunc(entries, shown.Next(), func(e persistence.Entry, id persistence.EntryID) int { return e.ID.Compare(id) })
	return slices.Clip(entries[:i])
}

// tipState is the state of a stream when a page was read, besides the fields of the page.
type tipState struct {
	last     persistence.EntryID // the newest entry ever appended, kept or not
	trimmed  persistence.EntryID // the newest entry that retention dropped
	appended int64               // entries ever appended, up to last
	limited  bool                // readers see only what is durable, and last is its end
}

// overtook reports whether retention has dropped entries after the cursor in the meantime. Then the
// number of the cursor's entry cannot be computed from the remaining stream.
func (t tipState) overtook(cursor persistence.EntryID) bool {
	return persistence.CheckAfter("", cursor, t.trimmed) != nil
}

// pageOf makes a page of the entries that were read, with the state of the stream at one instant.
// Without entries, cursor is the page's cursor.
func (h *hub) pageOf(ctx context.Context, entries []persistence.Entry, cursor persistence.EntryID) (page persistence.Page, state tipState, err error) {
	page = persistence.Page{Entries: entries, Cursor: cursor}
	first := ""
	if n := len(entries); n > 0 {
		page.Cursor, first = entries[n-1].ID, entries[0].ID.String()
	}
	m, err := h.store.run(ctx, scriptPage, []string{h.keys.stream, h.keys.meta, h.keys.blocks}, page.Cursor.String(), first)
	if err != nil {
		return persistence.Page{}, state, err
	}
	r, err := decodePage(m)
	if err != nil {
		return persistence.Page{}, state, h.store.refuse("stream %s: %v", h.name, err)
	}
	if r.foreign {
		h.replaceForeign(entries)
	}
	state = tipState{last: r.last, trimmed: r.trimmed, appended: r.appended, limited: r.limited}
	page.Appended, page.ClosedAt, page.ClosedReason = r.appended, r.closure.at, r.closure.reason
	if !r.oldest.IsZero() {
		page.Oldest, page.Newest = r.oldest, r.last
	}
	if next := r.next; next != nil {
		if next.rest < 0 {
			i, _ := slices.BinarySearchFunc(entries, next.first, func(e persistence.Entry, id persistence.EntryID) int { return e.ID.Compare(id) })
			next.rest = max(next.entries-int64(len(entries)-i), 0)
		}
		page.Behind = next.following + next.rest
	}
	return page, state, nil
}

// Tail implements persistence.Stream. At the tip it sends nothing to the server: the stream's hub
// has the new entries.
func (s *stream) Tail(ctx context.Context, after persistence.StreamCursor, block time.Duration, limit int) (persistence.Page, error) {
	id, err := after.Exclusive()
	if err != nil {
		return persistence.Page{}, err
	}
	if err := persistence.CheckLimit(limit); err != nil {
		return persistence.Page{}, err
	}
	if err := persistence.CheckBlock(block); err != nil {
		return persistence.Page{}, err
	}
	if err := ctx.Err(); err != nil {
		return persistence.Page{}, err
	}
	if block == 0 {
		page, _, err := s.after(ctx, id, limit)
		return page, err
	}
	timer := s.store.clock.NewTimer(block)
	defer timer.Stop()
	for over := false; ; {
		page, next, covered := s.hub.look(id, limit, persistence.PageBytes(ctx))
		if !covered {
			page, err = s.open(ctx, id, limit, next == nil)
			if err != nil || len(page.Entries) > 0 || page.IsClosed() || over {
				return page, err
			}
			if next == nil {
				continue
			}
		}
		if len(page.Entries) > 0 || over {
			return page, nil
		}
		waiting := s.hub.wait(1)
		select {
		case <-next.Wait(int64(waiting)):
			s.hub.wait(-1)
			if next.err != nil {
				return persistence.Page{}, next.err
			}
		case <-timer.Chan():
			s.hub.wait(-1)
			over = true
		case <-ctx.Done():
			s.hub.wait(-1)
			return persistence.Page{}, ctx.Err()
		case <-s.store.closed:
			s.hub.wait(-1)
			return persistence.Page{}, persistence.ErrStoreClosed
		}
	}
}

// open asks the server for entries that the hub does not have. start says that no reader runs: open
// then starts it if there is nothing to read yet. If a thousand tails come at once, the server gets
// only a few requests, because the other tails find the running reader.
func (s *stream) open(ctx context.Context, id persistence.EntryID, limit int, start bool) (persistence.Page, error) {
	if start {
		select {
		case s.hub.opening <- struct{}{}:
			defer func() { <-s.hub.opening }()
		case <-ctx.Done():
			return persistence.Page{}, ctx.Err()
		case <-s.store.closed:
			return persistence.Page{}, persistence.ErrStoreClosed
		}
		if page, _, covered := s.hub.look(id, limit, persistence.PageBytes(ctx)); covered {
			return page, nil
		}
	}
	page, state, err := s.after(ctx, id, limit)
	if err == nil && start && len(page.Entries) == 0 && !page.IsClosed() {
		err = s.hub.start(&state, page.Oldest)
	}
	return page, err
}

// TailStream implements persistence.Store. A waiting TailStream delays no other call: the blocking
// read has its own connection, one per stream for all tails.
func (v *Store) TailStream(ctx context.Context, stream, after string, block time.Duration, limit int) (persistence.Page, error) {
	return persistence.TailByName(ctx, v, stream, after, block, limit)
}

// ReadStream implements persistence.Store.
func (v *Store) ReadStream(ctx context.Context, stream, from, to string, limit int) (persistence.Page, error) {
	return persistence.ReadByName(ctx, v, stream, from, to, limit)
}

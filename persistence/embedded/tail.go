package embedded

import (
	"context"
	"time"

	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/internal/wake"
)

// Tail implements persistence.Stream.
func (st *stream) Tail(ctx context.Context, after persistence.StreamCursor, block time.Duration, limit int) (persistence.Page, error) {
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
	var timeout <-chan time.Time
	var number int64 // how many tails wait, including this one
	if block > 0 {
		timer := st.store.clock.NewTimer(block)
		defer timer.Stop()
		timeout = timer.Chan()
		number = st.waiting.Add(1)
		defer st.waiting.Add(-1)
	}
	for wait := block > 0; ; {
		page, next, err := st.peek(ctx, id, limit, wait)
		if next == nil {
			return page, err
		}
		select {
		case <-next.Wait(number):
		case <-timeout:
			wait = false
		case <-ctx.Done():
			return persistence.Page{}, ctx.Err()
		case <-st.store.closed:
			return persistence.Page{}, persistence.ErrStoreClosed
		}
	}
}

// peek reads the entries after id. If there are none yet and wait is set, it returns the signal
// that is sent when there may be some.
func (st *stream) peek(ctx context.Context, id EntryID, limit int, wait bool) (persistence.Page, *wake.Signal, error) {
	select {
	case <-st.store.closed:
		return persistence.Page{}, nil, persistence.ErrStoreClosed
	default:
	}
	if err := ctx.Err(); err != nil {
		return persistence.Page{}, nil, err
	}
	if st.deleted.Load() {
		return persistence.Page{}, nil, noStream(st.name)
	}
	st.wanted.Store(st.store.clock.Now().UnixNano())
	t := st.tip.Load()
	if nothing := t.meta.kept() == 0 || id.Compare(t.meta.end.Last) >= 0; nothing && wait && t.meta.closedUS == 0 {
		return persistence.Page{}, t.next, nil
	}
	if err := persistence.CheckAfter(st.name, id, t.meta.floor); err != nil {
		return persistence.Page{}, nil, err
	}
	if recent, ok := t.after(id); ok {
		entries, behind := entriesOf(recent, id.Next(), limit, persistence.PageBytes(ctx))
		return pageOf(&t.meta, entries, id, behind), nil, nil
	}
	release, err := st.store.use()
	if err != nil {
		return persistence.Page{}, nil, err
	}
	defer release()
	from := id.Next()
	if id.IsZero() { // 0-0 never expires
		from = EntryID{}
	}
	page, err := st.page(ctx, t, from, messages.MaxEntryID, limit)
	if err == nil && len(page.Entries) == 0 {
		page.Cursor = id
	}
	return page, nil, err
}

// entriesOf returns a page of the runs' entries, from the ID from on, of up to room bytes, and how
// many entries follow it.
func entriesOf(runs []*run, from EntryID, limit, room int) (entries []persistence.Entry, behind int64) {
	if len(runs) == 0 {
		return nil, 0
	}
	first := runs[0].search(from)
	size := -first
	for _, g := range runs {
		size += len(g.ids)
	}
	entries = make([]persistence.Entry, 0, min(limit, size))
	for _, g := range runs {
		entries = g.appendEntries(entries, first, limit, &room)
		first = 0
	}
	return entries, int64(size - len(entries))
}

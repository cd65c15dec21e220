package embedded

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"tempestd/persistence"
	"tempestd/persistence/embedded/segment"
)

// Read implements persistence.Stream.
func (st *stream) Read(ctx context.Context, from, to persistence.StreamCursor, limit int) (persistence.Page, error) {
	if err := persistence.CheckLimit(limit); err != nil {
		return persistence.Page{}, err
	}
	release, err := st.store.use()
	if err != nil {
		return persistence.Page{}, err
	}
	defer release()
	return st.page(ctx, st.tip.Load(), from.Lower(), to.Upper(), limit)
}

// pageOf makes a page of the entries that were read at the state m. cursor is the page's cursor if
// there are no entries. behind is the number of entries after the page, or after cursor.
func pageOf(m *meta, entries []persistence.Entry, cursor EntryID, behind int64) persistence.Page {
	page := persistence.Page{Entries: entries, Cursor: cursor, Behind: behind, Appended: int64(m.end.Entries)}
	if n := len(entries); n > 0 {
		page.Cursor = entries[n-1].ID
	}
	if m.kept() > 0 {
		page.Oldest, page.Newest = m.oldest, m.end.Last
	}
	if m.closedUS != 0 {
		page.ClosedAt, page.ClosedReason = time.UnixMicro(m.closedUS).UTC(), m.closedReason
	}
	return page
}

// page reads the entries of the closed range [from, to] at t, oldest first. If retention has
// unlinked a segment of t in the meantime, it reads at the present tip.
func (st *stream) page(ctx context.Context, t *tip, from, to EntryID, limit int) (persistence.Page, error) {
	for {
		if st.deleted.Load() {
			return persistence.Page{}, noStream(st.name)
		}
		if err := persistence.CheckFrom(st.name, from, t.meta.floor); err != nil {
			return persistence.Page{}, err
		}
		page, err := st.pageAt(ctx, t, from, to, limit)
		if !isGone(err) {
			return page, err
		}
		now := st.tip.Load()
		if now == t {
			// A file was removed, and not by this store.
			return persistence.Page{}, st.missing(t, later(t.meta.oldest, from))
		}
		t = now
	}
}

func later(a, b EntryID) EntryID {
	if a.Compare(b) < 0 {
		return b
	}
	return a
}

// missing returns a *CorruptError for a segment whose file is missing.
func (st *stream) missing(t *tip, from EntryID) error {
	i := t.find(from)
	for ; i < len(t.segs); i++ {
		g := t.segs[i]
		if _, err := st.rowsOf(t, g); !isGone(err) {
			if _, err := g.use(); err == nil {
				g.release()
				continue
			}
		}
		err := fmt.Errorf("%w: the file is missing", segment.ErrDamaged)
		st.reportDamaged(g.path, err)
		return st.corruptBlock(&segment.Row{First: g.header.Start.Last.Next(), Last: t.endOf(g).Last}, err)
	}
	return st.store.failure(errors.New("a segment is missing"))
}

// pageAt reads a page at t. A page without entries has as its cursor the position up to which the
// range is empty.
func (st *stream) pageAt(ctx context.Context, t *tip, from, to EntryID, limit int) (persistence.Page, error) {
	p := pageReader{store: st.store, from: later(from, t.meta.oldest), to: to, limit: limit, room: persistence.PageBytes(ctx)}
	if p.to.Compare(t.meta.end.Last) > 0 {
		p.to = t.meta.end.Last
	}
	if t.meta.kept() == 0 || p.from.Compare(p.to) > 0 {
		return st.emptyPage(ctx, t, from, to)
	}
	err := st.eachRow(ctx, t, p.from, func(g *segmentFile, row *segment.Row) (bool, error) {
		if row.First.Compare(p.to) > 0 {
			return false, nil
		}
		if err := st.addBlock(&p, g, row); err != nil {
			return false, err
		}
		return !p.full(), nil
	})
	// The entries before a corrupt block are returned first. The next page returns the error.
	if _, corrupt := errors.AsType[*persistence.CorruptError](err); err != nil && !(corrupt && len(p.entries) > 0) {
		return persistence.Page{}, err
	}
	if len(p.entries) == 0 {
		return st.emptyPage(ctx, t, from, to)
	}
	return pageOf(&t.meta, p.entries, from, int64(t.meta.end.Entries-p.ordinal)), nil
}

func (st *stream) addBlock(p *pageReader, g *segmentFile, row *segment.Row) error {
	if row.Hole() {
		return st.corruptBlock(row, fmt.Errorf("%w: %d entries are missing", segment.ErrDamaged, row.Count))
	}
	block, err := st.store.heads.open(g, row)
	if err == nil {
		err = p.add(&block)
		st.store.heads.close(&block, p.within(&block))
	}
	return st.readError(row, err)
}

// readError turns an error of reading a block into an error that callers know. The error for a file
// that is gone is returned unchanged.
func (st *stream) readError(row *segment.Row, err error) error {
	switch {
	case err == nil, isGone(err):
		return err
	case errors.Is(err, segment.ErrDamaged):
		return st.corruptBlock(row, err)
	}
	return st.store.failure(fmt.Errorf("read stream %s: %w", st.name, err))
}

// emptyPage returns the page of a range without entries.
func (st *stream) emptyPage(ctx context.Context, t *tip, from, to EntryID) (persistence.Page, error) {
	cursor := from.Prev()
	if to.Compare(t.meta.end.Last) > 0 {
		to = t.meta.end.Last
	}
	if cursor.Compare(to) < 0 {
		cursor = to
	}
	behind, err := st.behind(ctx, t, cursor)
	return pageOf(&t.meta, nil, cursor, behind), err
}

// behind counts the entries after id at t.
func (st *stream) behind(ctx context.Context, t *tip, id EntryID) (int64, error) {
	m := &t.meta
	switch {
	case m.kept() == 0 || id.Compare(m.end.Last) >= 0:
		return 0, ctx.Err()
	case id.Compare(m.oldest) < 0:
		return m.kept(), ctx.Err()
	}
	behind := m.kept()
	err := st.eachRow(ctx, t, id.Next(), func(g *segmentFile, row *segment.Row) (bool, error) {
		behind = int64(m.end.Entries - row.Start())
		if row.Hole() || row.First.Compare(id) > 0 {
			return false, nil
		}
		block, err := st.store.heads.open(g, row)
		if err == nil {
			behind -= int64(block.Search(id.Next()))
			st.store.heads.close(&block, false)
		}
		return false, st.readError(row, err)
	})
	return behind, err
}

// endOf returns where a segment ends at t.
func (t *tip) endOf(g *segmentFile) *segment.Position {
	if g == t.active {
		return &t.meta.end
	}
	return &g.end
}

// rowsOf returns the rows of a segment at t.
func (st *stream) rowsOf(t *tip, g *segmentFile) ([]segment.Row, error) {
	if g == t.active {
		return t.rows, nil
	}
	rows, err := g.index()
	if err != nil && !isGone(err) {
		err = st.store.failure(fmt.Errorf("read the index of stream %s: %w", st.name, err))
	}
	return rows, err
}

// find returns the index of the segment that contains id, or of the next one.
func (t *tip) find(id EntryID) int {
	i, _ := slices.BinarySearchFunc(t.segs, id, func(g *segmentFile, id EntryID) int { return t.endOf(g).Last.Compare(id) })
	return i
}

// eachRow calls visit for the blocks from the one that contains from on, until visit returns false.
func (st *stream) eachRow(ctx context.Context, t *tip, from EntryID, visit func(*segmentFile, *segment.Row) (bool, error)) error {
	for i := t.find(from); i < len(t.segs); i++ {
		rows, err := st.rowsOf(t, t.segs[i])
		if err != nil {
			return err
		}
		at, _ := slices.BinarySearchFunc(rows, from, func(r segment.Row, id EntryID) int { return r.Last.Compare(id) })
		for ; at < len(rows); at++ {
			if err := ctx.Err(); err != nil {
				return err
			}
			if more, err := visit(t.segs[i], &rows[at]); err != nil || !more {
				return err
			}
		}
	}
	return ctx.Err()
}

// eachRowBackwards calls visit for the blocks that have kept entries, newest first, until visit
// returns false.
func (st *stream) eachRowBackwards(ctx context.Context, t *tip, visit func(*segmentFile, *segment.Row) (bool, error)) error {
	for _, g := range slices.Backward(t.segs) {
		rows, err := st.rowsOf(t, g)
		if err != nil {
			return err
		}
		for i := len(rows) - 1; i >= 0; i-- {
			if err := ctx.Err(); err != nil {
				return err
			}
			if rows[i].EndEntries <= t.meta.droppedEntries {
				return nil
			}
			if more, err := visit(g, &rows[i]); err != nil || !more {
				return err
			}
		}
	}
	return ctx.Err()
}

// pageReader collects a page's entries, one block after the other.
type pageReader struct {
	store    *Store
	from, to EntryID
	limit    int
	room     int // bytes left in the page
	entries  []persistence.Entry
	ordinal  uint64 // entries ever appended up to the last of entries
	past     bool   // an entry after to was found
}

func (p *pageReader) full() bool { return p.past || len(p.entries) >= p.limit || p.room <= 0 }

// within reports whether the page ended inside the block, so that the next page continues there.
func (p *pageReader) within(b *openBlock) bool {
	return p.full() && !p.past && p.from.Compare(b.End.Last) <= 0
}

// add takes the entries of the page from a block. Each chunk has its own memory, which is not
// written to again, and the entries alias it.
func (p *pageReader) add(b *openBlock) error {
	start := b.Search(p.from)
	for i := range b.Chunks {
		c := &b.Chunks[i]
		if c.First+c.Count <= start {
			continue
		}
		if b.IDs[max(c.First, start)].Compare(p.to) > 0 {
			p.past = true
			return nil
		}
		raw, err := p.store.bytesOf(b, i)
		if err != nil {
			return err
		}
		if p.addChunk(&b.Head, c, start, raw); p.full() {
			return nil
		}
	}
	return nil
}

func (p *pageReader) addChunk(h *segment.Head, c *segment.Chunk, start int, raw []byte) {
	off := 0
	for i := c.First; i < c.First+c.Count && !p.full(); i++ {
		end := off + int(h.Lens[i])
		if i >= start {
			if p.past = h.IDs[i].Compare(p.to) > 0; p.past {
				return
			}
			if p.entries == nil {
				p.entries = make([]persistence.Entry, 0, min(p.limit, h.Count-start))
			}
			p.entries = append(p.entries, persistence.Entry{ID: h.IDs[i], Event: raw[off:end:end]})
			p.room -= end - off
			p.from = h.IDs[i].Next()
			p.ordinal = h.Start() + uint64(i) + 1
		}
		off = end
	}
}

// corruptBlock returns a *CorruptError for the block of a row, and reports each block once.
func (st *stream) corruptBlock(row *segment.Row, err error) error {
	corrupt := &persistence.CorruptError{Stream: st.name, First: row.First, Block: row.Last, Err: err}
	if st.corrupt.add(corrupt.Block) {
		st.store.emit(persistence.BlockCorrupt{CorruptError: corrupt})
	}
	return corrupt
}

// corruptSet remembers the corrupt blocks that were reported. It is bounded; beyond its bound it
// forgets the oldest reports.
type corruptSet struct {
	mu  sync.Mutex
	ids []EntryID
}

func (c *corruptSet) add(id EntryID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if slices.Contains(c.ids, id) {
		return false
	}
	if len(c.ids) >= 256 {
		c.ids = slices.Delete(c.ids, 0, 1)
	}
	c.ids = append(c.ids, id)
	return true
}

func isCorrupt(err error) bool {
	_, ok := errors.AsType[*persistence.CorruptError](err)
	return ok
}

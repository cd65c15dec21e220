package persistence

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// Read implements Stream.
func (s *embeddedStream) Read(ctx context.Context, from, to StreamCursor, limit int) (StreamFrames, error) {
	if err := checkLimit(limit); err != nil {
		return StreamFrames{}, err
	}
	release, err := s.store.use()
	if err != nil {
		return StreamFrames{}, err
	}
	defer release()
	m := s.state()
	if err := checkFrom(s.name, from.Lower(), m.trimmed()); err != nil {
		return StreamFrames{}, err
	}
	return s.page(ctx, &m, from.Lower(), to.Upper(), limit)
}

// pageOf makes a page of frames that were read at the state m: what follows cursor, or with no frames nothing up to it, with behind entries after the
// last one.
func pageOf(m *streamMeta, frames []Frame, cursor EntryID, behind int64) StreamFrames {
	page := StreamFrames{Frames: frames, Cursor: cursor, Behind: behind}
	if n := len(frames); n > 0 {
		page.Cursor = frames[n-1].ID
	}
	if m.kept() > 0 {
		page.Oldest, page.Newest = m.Oldest, m.Last
	}
	if m.ClosedUS != 0 {
		page.ClosedAt, page.ClosedReason = time.UnixMicro(m.ClosedUS).UTC(), m.ClosedReason
	}
	return page
}

// page reads the stored entries of the closed range [from, to] that are known at the state m, oldest first. Without any, its cursor is how much of the
// range there is nothing in.
func (s *embeddedStream) page(ctx context.Context, m *streamMeta, from, to EntryID, limit int) (StreamFrames, error) {
	p := pageReader{from: from, to: to, limit: limit, room: MaxPageBytes}
	// Reading begins at the oldest entry: what retention deleted before it would be walked one tombstone after the other.
	if p.from.Compare(m.Oldest) < 0 {
		p.from = m.Oldest
	}
	if p.to.Compare(m.Last) > 0 {
		p.to = m.Last
	}
	if m.kept() == 0 || p.from.Compare(p.to) > 0 {
		return s.emptyPage(ctx, m, from, to)
	}
	begin := p.from
	var before blockSummary
	err := s.store.db.View(func(txn *badger.Txn) error {
		err := s.eachBlockIn(ctx, txn, begin, func(item *badger.Item) (bool, error) {
			first := before.count == 0
			err := item.Value(func(v []byte) error {
				block, err := s.store.heads.open(s, item.Key(), item.Version(), v)
				if err != nil {
					return err
				}
				s.checkJoin(&before, &block.blockSummary)
				before = block.blockSummary
				err = p.add(&block)
				s.store.heads.close(&block, p.within(&block))
				return err
			})
			if err != nil {
				return false, s.corruptBlock(item.Key(), err)
			}
			if first && before.first.Compare(begin) > 0 {
				// What was before it may have been dropped since the state m.
				if err := s.checkKept(txn, from, m); err != nil {
					return false, err
				}
			}
			return !p.full(), nil
		})
		if err == nil && before.count == 0 {
			return s.checkKept(txn, from, m)
		}
		return err
	})
	// What was read before a corrupt block is given first; the next page meets the error.
	if _, corrupt := errors.AsType[*CorruptError](err); err != nil && !(corrupt && len(p.frames) > 0) {
		return StreamFrames{}, err
	}
	if len(p.frames) == 0 {
		return s.emptyPage(ctx, m, from, to)
	}
	return pageOf(m, p.frames, from, int64(m.Entries-p.ordinal)), nil
}

// emptyPage is a page of a range that has nothing in it.
func (s *embeddedStream) emptyPage(ctx context.Context, m *streamMeta, from, to EntryID) (StreamFrames, error) {
	cursor := from.Prev()
	if to.Compare(m.Last) > 0 {
		to = m.Last
	}
	if cursor.Compare(to) < 0 {
		cursor = to
	}
	behind, err := s.behind(ctx, m, cursor)
	return pageOf(m, nil, cursor, behind), err
}

// behind counts the entries after id at the state m.
func (s *embeddedStream) behind(ctx context.Context, m *streamMeta, id EntryID) (int64, error) {
	switch {
	case m.kept() == 0 || id.Compare(m.Last) >= 0:
		return 0, ctx.Err()
	case id.Compare(m.Oldest) < 0:
		return m.kept(), ctx.Err()
	}
	behind := m.kept()
	err := s.eachBlock(ctx, id.Next(), func(item *badger.Item) (bool, error) {
		err := item.Value(func(v []byte) error {
			block, err := s.store.heads.open(s, item.Key(), item.Version(), v)
			if err != nil {
				return err
			}
			behind = int64(m.Entries - block.startEntries() - uint64(block.search(id.Next())))
			s.store.heads.close(&block, false)
			return nil
		})
		if err != nil {
			return false, s.corruptBlock(item.Key(), err)
		}
		return false, nil
	})
	return behind, err
}

// checkKept refuses a range that retention has overtaken in what txn sees, which may be newer than m, the state that the reader began with; m is set to it.
func (s *embeddedStream) checkKept(txn *badger.Txn, from EntryID, m *streamMeta) error {
	item, err := txn.Get(metaKey(s.name))
	if err == nil {
		err = item.Value(func(v []byte) (err error) {
			*m, err = decodeMeta(v)
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("read the meta of stream %s: %w", s.name, err)
	}
	return checkFrom(s.name, from, m.trimmed())
}

// eachBlock calls visit for the blocks from the one that holds from on, until it returns false.
func (s *embeddedStream) eachBlock(ctx context.Context, from EntryID, visit func(*badger.Item) (bool, error)) error {
	return s.store.db.View(func(txn *badger.Txn) error { return s.eachBlockIn(ctx, txn, from, visit) })
}

func (s *embeddedStream) eachBlockIn(ctx context.Context, txn *badger.Txn, from EntryID, visit func(*badger.Item) (bool, error)) error {
	it := txn.NewIterator(badger.IteratorOptions{Prefix: s.prefix})
	defer it.Close()
	for it.Seek(appendBlockKey(nil, s.prefix, from)); it.Valid(); it.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if more, err := visit(it.Item()); err != nil || !more {
			return err
		}
	}
	return ctx.Err()
}

// pageReader collects a page's frames from one block after the other.
type pageReader struct {
	from, to EntryID
	limit    int
	room     int // bytes
	frames   []Frame
	ordinal  uint64 // entries ever appended up to the last frame
	past     bool   // an entry after to was met
}

func (p *pageReader) full() bool { return p.past || len(p.frames) >= p.limit || p.room <= 0 }

// within says whether the page ended within the block, so that the next one goes on there.
func (p *pageReader) within(b *openBlock) bool {
	return p.full() && !p.past && p.from.Compare(b.last) <= 0
}

// add takes what belongs to the page from a block. Frames have memory that nothing writes to, a piece a chunk.
func (p *pageReader) add(h *openBlock) error {
	start := h.search(p.from)
	for i := range h.chunks {
		c := &h.chunks[i]
		if c.first+c.count <= start {
			continue
		}
		if h.ids[max(c.first, start)].Compare(p.to) > 0 {
			p.past = true
			return nil
		}
		raw, err := h.bytesOf(i)
		if err != nil {
			return err
		}
		if p.addChunk(&h.blockHead, c, start, raw); p.full() {
			return nil
		}
	}
	return nil
}

func (p *pageReader) addChunk(h *blockHead, c *chunk, start int, raw []byte) {
	off := 0
	for i := c.first; i < c.first+c.count && !p.full(); i++ {
		end := off + int(h.lens[i])
		if i >= start {
			if p.past = h.ids[i].Compare(p.to) > 0; p.past {
				return
			}
			if p.frames == nil {
				p.frames = make([]Frame, 0, min(p.limit, h.count-start))
			}
			p.frames = append(p.frames, Frame{ID: h.ids[i], Event: raw[off:end:end]})
			p.room -= end - off
			p.from = h.ids[i].Next()
			p.ordinal = h.startEntries() + uint64(i) + 1
		}
		off = end
	}
}

// corruptBlock makes a *CorruptError of what is wrong with the block under key, and tells of it once.
func (s *embeddedStream) corruptBlock(key []byte, err error) error {
	corrupt := &CorruptError{Stream: s.name, Block: blockKeyID(key), Err: err}
	s.tellCorrupt(corrupt)
	return corrupt
}

// checkJoin tells when entries are missing between two blocks: nothing can be read there, so it is all that can be done about it (I4).
func (s *embeddedStream) checkJoin(older, newer *blockSummary) {
	if older.count > 0 && newer.startEntries() > older.endEntries {
		missing := newer.startEntries() - older.endEntries
		s.tellCorrupt(&CorruptError{Stream: s.name, Block: newer.last, Err: fmt.Errorf("%w: %d entries are missing before it", errBlock, missing)})
	}
}

// tellCorrupt emits an event, once a block.
func (s *embeddedStream) tellCorrupt(err *CorruptError) {
	if s.corrupt.add(err.Block) {
		s.store.emit(BlockCorrupt{err})
	}
}

// corruptSet remembers the corrupt blocks that were told of; beyond its bound it forgets that it told of the first ones.
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

package persistence

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"tempestd/messages"
)

// loadStreams finds what is stored and repairs what a power cut or damage left behind: a stream's meta, its blocks and its
// high-water mark must tell of the same newest entry.
func (e *Embedded) loadStreams(ctx context.Context) error {
	names, err := e.storedNames(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		s, err := e.newStream(name)
		if err != nil {
			return err
		}
		e.streams[name] = s
		if err := s.recover(ctx); err != nil {
			return fmt.Errorf("recover stream %s: %w", name, err)
		}
	}
	return e.findVanished()
}

// storedNames lists the streams that have a meta.
func (e *Embedded) storedNames(ctx context.Context) ([]string, error) {
	var names []string
	err := e.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{metaPrefix}})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			names = append(names, string(it.Item().Key()[1:]))
		}
		return ctx.Err()
	})
	return names, err
}

// findVanished tells of streams whose mark alone is left.
func (e *Embedded) findVanished() error {
	names, err := orphanMarks(e.dir, func(name string) bool { return e.streams[name] != nil })
	if err != nil {
		return fmt.Errorf("list the high-water marks: %w", err)
	}
	for _, name := range names {
		mark, err := openMark(e.dir, name)
		if err != nil {
			return err
		}
		e.truncated(name, mark.last, EntryID{})
		if err := mark.close(); err != nil {
			return err
		}
	}
	return nil
}

func (e *Embedded) truncated(stream string, expected, found EntryID) {
	if expected.Compare(found) <= 0 {
		return
	}
	t := Truncation{Stream: stream, Expected: expected, Found: found}
	e.lost = append(e.lost, t)
	e.emit(LogTruncated{t})
}

// recover loads the stream's meta. Without a sync at each append a power cut may keep the meta and lose blocks it tells of, for
// they are in different files; blocks that were not known to be on disk are therefore read, and the stream is rolled back
// to the last one before the first that is missing or damaged: its checkpoint goes back with it, so the upstream is read again (I1).
// A damaged block that has good ones after it stays where it is, for readers to stumble over.
func (s *embeddedStream) recover(ctx context.Context) error {
	m, damaged, err := s.loadMeta()
	if err != nil {
		return err
	}
	if s.mark.last.IsZero() { // no mark: nothing says that the disk is behind
		s.mark.synced = m.Last
	}
	expected := s.mark.last
	if m.Last.Compare(expected) > 0 {
		expected = m.Last
	}
	t, err := s.inspectTip(ctx)
	if err != nil {
		return err
	}
	lost := t.newest == nil && m.kept() > 0 || t.newest != nil && t.newest.last != m.Last
	if damaged || lost || len(t.bad) > 0 {
		if m, err = s.rollBack(ctx, m, t, damaged); err != nil {
			return err
		}
	}
	s.tip.Store(&tip{meta: m, wake: new(bell)})
	s.synced = m.Last
	s.store.truncated(s.name, expected, m.Last)
	return nil
}

// loadMeta reads the stored meta; damaged says that it is unreadable and must be made anew from the blocks.
func (s *embeddedStream) loadMeta() (m streamMeta, damaged bool, err error) {
	err = s.store.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get(metaKey(s.name))
		if err != nil {
			return err
		}
		return item.Value(func(v []byte) error {
			m, err = decodeMeta(v)
			return err
		})
	})
	if errors.Is(err, errBlock) {
		return streamMeta{}, true, nil
	}
	return m, false, err
}

// tipState is what the newest blocks look like.
type tipState struct {
	bad    [][]byte      // keys of the blocks to give up, newest first
	newest *blockSummary // the newest block to keep, nil for none
	cp     []byte        // its checkpoint
}

// inspectTip reads the newest blocks: back to one that is good and was known to be on disk. On damage in the file it wrote last,
// Badger drops what follows there, so the newest blocks may be unreadable even where every append is synced.
func (s *embeddedStream) inspectTip(ctx context.Context) (tipState, error) {
	var t tipState
	var good [][]byte // keys of the good blocks met since the last fault
	var next *blockSummary
	var scratch []byte
	head := new(blockHead)
	err := s.eachBlockBackwards(ctx, func(key, v []byte) bool {
		key = append([]byte(nil), key...)
		settled := blockKeyID(key).Compare(s.mark.synced) <= 0
		err := head.decode(key, v)
		if err == nil && (!settled || len(good) == 0) {
			scratch, err = head.verify(scratch)
		}
		hole := err == nil && next != nil && head.endEntries < next.startEntries()
		if err != nil || hole { // everything from here on goes
			t.bad = append(t.bad, good...)
			good, next, t.newest = nil, nil, nil
		}
		if err != nil {
			t.bad = append(t.bad, key)
			return true
		}
		summary := head.blockSummary
		if t.newest == nil {
			t.newest = &summary
			t.cp = append([]byte(nil), head.checkpoint...)
		}
		next = &summary
		good = append(good, key)
		return !settled
	})
	return t, err
}

// rollBack makes the newest good block the stream's end again.
func (s *embeddedStream) rollBack(ctx context.Context, m streamMeta, t tipState, damaged bool) (streamMeta, error) {
	if damaged {
		if err := s.remake(ctx, &m); err != nil {
			return m, err
		}
	}
	if t.newest != nil {
		m.Last, m.Entries, m.Bytes = t.newest.last, t.newest.endEntries, t.newest.endBytes
		m.Checkpoint = new(messages.Checkpoint)
		if err := json.Unmarshal(t.cp, m.Checkpoint); err != nil {
			return m, fmt.Errorf("%w: its checkpoint: %w", errBlock, err)
		}
	} else { // nothing is left, and nothing tells where the upstream stood
		m.Last, m.Checkpoint = EntryID{}, nil
		m.Entries, m.Bytes = m.DroppedEntries, uint64(max(m.DroppedBytes, 0))
	}
	// In pieces that a transaction has room for, newest first and the meta last: a crash in between leaves a tip that is found again.
	for keys := range slices.Chunk(t.bad, trimBlocks) {
		err := s.store.update(func(txn *badger.Txn) error {
			for _, key := range keys {
				if err := txn.Delete(key); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return m, err
		}
	}
	return m, s.store.update(func(txn *badger.Txn) error { return s.putMeta(txn, &m) })
}

// remake finds what a lost meta said of the stream's beginning. That the stream was closed is lost.
func (s *embeddedStream) remake(ctx context.Context, m *streamMeta) error {
	found := false
	return s.eachBlock(ctx, EntryID{}, func(item *badger.Item) (bool, error) {
		err := item.Value(func(v []byte) error {
			summary, _, err := readSummary(item.Key(), v)
			if err != nil {
				return err
			}
			m.Oldest = summary.first
			m.DroppedEntries = summary.startEntries()
			m.DroppedBytes = int64(summary.endBytes) - int64(summary.size)
			found = true
			return nil
		})
		if err != nil {
			_ = s.corruptBlock(item.Key(), err)
		}
		return !found, nil
	})
}

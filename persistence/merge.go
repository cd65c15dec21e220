package persistence

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"github.com/dgraph-io/badger/v4"

	"tempestd/messages"
)

// A feed of one event a minute appends a block a minute. Merging turns runs of small blocks into large ones, so that a year of it is not
// half a million keys, and compresses better.
//
// It works on the blocks after the last full one, which are never many. Those that fill a block are merged. Of the rest, a long enough
// run at the tip is, when no block in it is more than a quarter of it: an entry is then rewritten a few times in its life.
const (
	mergeEntries  = 8192    // a merged block has no more entries,
	mergeBytes    = 1 << 20 // stored bytes
	mergeRaw      = 2 << 20 // and little more than these raw bytes, which bounds the memory it takes
	mergeFullTier = 13      // 4096 entries or more: such a block is left alone,
	mergeFullSize = 1 << 19 // as is one of this size
	mergeMinFull  = 8       // fewer blocks than this that fill a block are left alone
	mergeMinTip   = 64      // fewer blocks than this at the tip wait for more
	mergeMaxRun   = 4096    // blocks merged at once: what one transaction may delete
)

// tier is kept with a block's key and tells its size without reading it: the bits of its number of entries.
func tier(entries int) byte { return byte(bits.Len(uint(entries))) }

// candidate is a block as its key alone tells.
type candidate struct {
	last    EntryID
	entries int // at most
	size    int // about
	full    bool
}

func candidateOf(item *badger.Item) candidate {
	c := candidate{last: blockKeyID(item.Key()), entries: 1<<item.UserMeta() - 1, size: int(item.ValueSize())}
	c.full = item.UserMeta() >= mergeFullTier || c.size >= mergeFullSize
	return c
}

// merge merges what there is to merge. The caller holds maintaining.
func (s *embeddedStream) merge(ctx context.Context) error {
	s.write.Lock()
	synced := s.synced
	s.write.Unlock()
	m := s.state()
	if s.settled.Compare(m.Oldest) < 0 {
		s.settled = m.Oldest
	}
	runs, err := s.findRuns(ctx, synced)
	if err != nil {
		return err
	}
	var work merger
	for _, run := range runs {
		err := s.mergeRun(ctx, &work, run)
		if _, corrupt := errors.AsType[*CorruptError](err); err != nil && !corrupt {
			s.settled = run[0].last // not yet, then
			return fmt.Errorf("merge blocks of stream %s: %w", s.name, err)
		}
	}
	return nil
}

// findRuns finds the runs of blocks to merge, none of them newer than synced: a roll-back must not meet a merged block. It moves settled
// past what will not be merged any more.
func (s *embeddedStream) findRuns(ctx context.Context, synced EntryID) (runs [][]candidate, err error) {
	var run []candidate
	entries, size := 0, 0
	settle := func(upTo EntryID) {
		if len(run) >= mergeMinFull {
			runs = append(runs, run)
		}
		run, entries, size = nil, 0, 0
		s.settled = upTo
	}
	err = s.eachBlock(ctx, s.settled, func(item *badger.Item) (bool, error) {
		c := candidateOf(item)
		if c.last.Compare(synced) > 0 {
			return false, nil
		}
		if c.full {
			settle(c.last.Next())
			return true, nil
		}
		if entries+c.entries > mergeEntries || size+c.size > mergeBytes || len(run) == mergeMaxRun {
			settle(run[len(run)-1].last.Next())
		}
		run = append(run, c)
		entries += c.entries
		size += c.size
		return true, nil
	})
	if tip := balancedTail(run); len(tip) >= mergeMinTip {
		runs = append(runs, tip)
	}
	return runs, err
}

// balancedTail is the longest tail of the run in which no block is more than a quarter of the whole.
func balancedTail(run []candidate) []candidate {
	start, total, largest := len(run), 0, 0
	for i := len(run) - 1; i >= 0; i-- {
		total += run[i].entries
		largest = max(largest, run[i].entries)
		if 4*largest <= total {
			start = i
		}
	}
	return run[start:]
}

// merger holds the blocks that are being merged.
type merger struct {
	enc        encoder
	head       blockHead
	chunk      []byte
	buf        []byte
	events     []messages.Event
	ids        []EntryID
	parts      []int
	keys       [][]byte
	size       int // of the blocks as they are stored
	newest     blockSummary
	checkpoint []byte // the newest one's
}

func (w *merger) reset() {
	w.buf, w.events, w.ids, w.parts, w.keys, w.size = w.buf[:0], w.events[:0], w.ids[:0], w.parts[:0], w.keys[:0], 0
}

// add takes a block over.
func (w *merger) add(key, v []byte) error {
	if err := w.head.decode(key, v); err != nil {
		return err
	}
	entry := 0
	for i := range w.head.chunks {
		c := &w.head.chunks[i]
		raw, err := w.head.unpack(w.chunk, c)
		if err != nil {
			return err
		}
		w.chunk = raw
		off := uint32(len(w.buf))
		w.buf = append(w.buf, raw...)
		for range c.count {
			w.events = append(w.events, messages.Event{
				Off: off, Len: w.head.lens[entry], Fingerprint: binary.LittleEndian.Uint64(w.head.prints[8*entry:]),
			})
			off += w.head.lens[entry]
			entry++
		}
	}
	w.ids = append(w.ids, w.head.ids...)
	if len(w.head.parts) > 0 {
		w.parts = append(w.parts, w.head.parts...)
	} else {
		w.parts = append(w.parts, w.head.count)
	}
	w.keys = append(w.keys, append([]byte(nil), key...))
	w.size += len(v)
	w.newest = w.head.blockSummary
	w.checkpoint = append(w.checkpoint[:0], w.head.checkpoint...)
	return nil
}

// mergeRun replaces the run's blocks by one under the last one's key, in one transaction: a reader sees the ones or the other.
func (s *embeddedStream) mergeRun(ctx context.Context, w *merger, run []candidate) error {
	w.reset()
	last := run[len(run)-1].last
	err := s.eachBlock(ctx, run[0].last, func(item *badger.Item) (bool, error) {
		err := item.Value(func(v []byte) error { return w.add(item.Key(), v) })
		if err != nil {
			return false, s.corruptBlock(item.Key(), err)
		}
		return len(w.buf) < mergeRaw && blockKeyID(item.Key()).Compare(last) < 0, nil
	})
	if err != nil || len(w.keys) < 2 {
		return err
	}
	key := w.keys[len(w.keys)-1]
	block, err := w.enc.encode(key, &source{
		buf: w.buf, events: w.events, ids: w.ids, parts: w.parts,
		endEntries: w.newest.endEntries, endBytes: w.newest.endBytes, checkpoint: w.checkpoint,
	})
	if err != nil {
		return err
	}
	if err := s.store.space.check(uint64(len(block))); err != nil { // merging only costs space at first
		return err
	}
	s.write.Lock()
	defer s.write.Unlock()
	m := s.state()
	m.DroppedBytes += int64(w.size - len(block))
	err = s.store.update(func(txn *badger.Txn) error {
		for _, k := range w.keys[:len(w.keys)-1] {
			if err := txn.Delete(k); err != nil {
				return err
			}
		}
		if err := txn.SetEntry(badger.NewEntry(key, block).WithMeta(tier(len(w.ids)))); err != nil {
			return err
		}
		return s.putMeta(txn, &m)
	})
	if err != nil {
		return err
	}
	s.store.garbage.Add(int64(w.size))
	s.store.touch(w.size + len(block))
	s.publish(&m, nil)
	return nil
}

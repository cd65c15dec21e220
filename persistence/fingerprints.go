package persistence

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/dgraph-io/badger/v4"
)

// Fingerprints implements Stream. A merged block is given as the blocks it was made of, so that what Entry is asked for later
// means the same however often blocks were merged in between. A corrupt block is left out: its entries are lost to readers, so
// a replay that brings them back is welcome.
func (s *embeddedStream) Fingerprints(ctx context.Context, h Horizon, yield func(FingerprintBlock) bool) error {
	release, err := s.store.use()
	if err != nil {
		return err
	}
	defer release()
	m := s.state()
	if m.kept() == 0 {
		return ctx.Err()
	}
	oldest := m.Oldest
	if age := uint64(h.Age.Milliseconds()); h.Age > 0 && age < m.Last.MS && m.Last.MS-age > oldest.MS {
		oldest = EntryID{MS: m.Last.MS - age}
	}
	left := math.MaxInt
	if h.Entries > 0 {
		left = h.Entries
	}
	var prints []uint64
	var after blockSummary
	give := func(first, last EntryID, raw []byte) bool {
		if left <= 0 || last.Compare(oldest) < 0 {
			return false
		}
		prints = prints[:0]
		for ; len(raw) > 0; raw = raw[8:] {
			prints = append(prints, binary.LittleEndian.Uint64(raw))
		}
		left -= len(prints)
		return yield(FingerprintBlock{First: first, Last: last, Fingerprints: prints})
	}
	var head blockHead
	return s.eachBlockBackwards(ctx, func(key, v []byte) bool {
		summary, raw, err := readSummary(key, v)
		if err == nil {
			s.checkJoin(&summary, &after)
			after = summary
		}
		if err == nil && binary.LittleEndian.Uint32(v[offParts:]) == 0 {
			return give(summary.first, summary.last, summary.prints(raw))
		}
		if err == nil {
			err = head.decode(key, v)
		}
		if err != nil {
			_ = s.corruptBlock(key, err)
			after = blockSummary{}
			return true
		}
		end := head.count
		for _, n := range slices.Backward(head.parts) {
			if !give(head.ids[end-n], head.ids[end-1], head.prints[8*(end-n):8*end]) {
				return false
			}
			end -= n
		}
		return true
	})
}

// eachBlockBackwards calls visit for every block, newest first, until it returns false. The value is valid during the call.
func (s *embeddedStream) eachBlockBackwards(ctx context.Context, visit func(key, v []byte) bool) error {
	return s.store.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: s.prefix, Reverse: true})
		defer it.Close()
		past := append(slices.Clone(s.prefix), slices.Repeat([]byte{0xff}, idLen+1)...)
		for it.Seek(past); it.Valid(); it.Next() {
			if err := ctx.Err(); err != nil {
				return err
			}
			key, more := it.Item().Key(), true
			err := it.Item().Value(func(v []byte) error {
				more = visit(key, v)
				return nil
			})
			if err != nil { // the value itself is gone: as good as no head
				more = visit(key, nil)
			}
			if !more {
				return nil
			}
		}
		return nil
	})
}

// entryCache is the chunk that Entry looked into last, and the head of its block.
type entryCache struct {
	head  *blockHead
	chunk int // -1: none
	raw   []byte
}

// Entry implements Stream.
func (s *embeddedStream) Entry(ctx context.Context, last EntryID, i int) ([]byte, error) {
	release, err := s.store.use()
	if err != nil {
		return nil, err
	}
	defer release()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m := s.state()
	if i < 0 || m.kept() == 0 || last.Compare(m.Oldest) < 0 {
		return nil, s.noEntry(last, i)
	}
	c := &s.entry
	if entry, ok := c.locate(last, i); ok && c.has(entry) {
		return c.bytes(entry), nil
	}
	var found []byte
	err = s.eachBlock(ctx, last, func(item *badger.Item) (bool, error) {
		err := item.Value(func(v []byte) error {
			if c.head == nil {
				c.head = new(blockHead)
			}
			c.chunk = -1
			if err := c.head.decode(item.Key(), v); err != nil {
				return err
			}
			entry, ok := c.locate(last, i)
			if !ok {
				return nil
			}
			if err := c.load(entry); err != nil {
				return err
			}
			found = c.bytes(entry)
			return nil
		})
		if c.head != nil {
			c.head.prints, c.head.checkpoint, c.head.payload = nil, nil, nil // they alias the database
		}
		if err != nil {
			return false, s.corruptBlock(item.Key(), err)
		}
		return false, nil
	})
	if err != nil {
		return nil, err
	}
	if found == nil {
		return nil, s.noEntry(last, i)
	}
	return found, nil
}

func (s *embeddedStream) noEntry(last EntryID, i int) error {
	return fmt.Errorf("%w: entry %d of block %s in stream %s", ErrNotFound, i, last, s.name)
}

// locate is the index, in the cached block, of entry i of the block that was appended with last as its last entry.
func (c *entryCache) locate(last EntryID, i int) (int, bool) {
	if c.head == nil || c.head.count == 0 {
		return 0, false
	}
	if len(c.head.parts) == 0 {
		return i, c.head.last == last && i < c.head.count
	}
	start := 0
	for _, n := range c.head.parts {
		if c.head.ids[start+n-1] == last {
			return start + i, i < n
		}
		start += n
	}
	return 0, false
}

// has says whether the entry lies in the unpacked chunk.
func (c *entryCache) has(entry int) bool {
	if c.chunk < 0 {
		return false
	}
	k := &c.head.chunks[c.chunk]
	return entry >= k.first && entry < k.first+k.count
}

// load unpacks the chunk that holds the entry.
func (c *entryCache) load(entry int) error {
	for i := range c.head.chunks {
		k := &c.head.chunks[i]
		if entry < k.first+k.count {
			raw, err := c.head.unpack(c.raw, k)
			if err != nil {
				return err
			}
			c.raw, c.chunk = raw, i
			return nil
		}
	}
	return fmt.Errorf("%w: no chunk holds entry %d", errBlock, entry)
}

// bytes is an entry of the unpacked chunk.
func (c *entryCache) bytes(entry int) []byte {
	off := 0
	for _, n := range c.head.lens[c.head.chunks[c.chunk].first:entry] {
		off += int(n)
	}
	return c.raw[off : off+int(c.head.lens[entry]) : off+int(c.head.lens[entry])]
}

package embedded

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"tempestd/persistence"
	"tempestd/persistence/embedded/segment"
)

// Fingerprints implements persistence.Stream. It reads only heads. A packed block is returned as
// the blocks that it was made of. So a later call of Entry means the same entries, however often
// blocks were packed in between. A corrupt block is skipped: readers cannot read its entries, so a
// replay should store them again.
func (st *stream) Fingerprints(ctx context.Context, h persistence.Horizon, yield func(persistence.FingerprintBlock) bool) error {
	release, err := st.store.use()
	if err != nil {
		return err
	}
	defer release()
	p := fingerprintReader{yield: yield, left: math.MaxInt}
	if h.Entries > 0 {
		p.left = h.Entries
	}
	var head segment.Head
	var buf []byte
	for t := st.tip.Load(); ; {
		m := &t.meta
		if m.kept() == 0 {
			return ctx.Err()
		}
		p.oldest = m.oldest
		if age := uint64(h.Age.Milliseconds()); h.Age > 0 && age < m.end.Last.MS && m.end.Last.MS-age > p.oldest.MS {
			p.oldest = EntryID{MS: m.end.Last.MS - age}
		}
		err := st.eachRowBackwards(ctx, t, func(g *segmentFile, row *segment.Row) (bool, error) {
			// This block was seen before retention made the loop begin again.
			if p.given > 0 && row.EndEntries > p.given {
				return true, nil
			}
			if row.Hole() {
				_ = st.corruptBlock(row, fmt.Errorf("%w: %d entries are missing", segment.ErrDamaged, row.Count))
				return true, nil
			}
			if p.left <= 0 || row.Last.Compare(p.oldest) < 0 {
				return false, nil
			}
			var err error
			if buf, err = readHead(g, row, &head, buf); err != nil {
				if err := st.readError(row, err); !isCorrupt(err) {
					return false, err
				}
				return true, nil
			}
			p.given = row.Start()
			return p.give(&head), nil
		})
		now := st.tip.Load()
		if !isGone(err) || now == t {
			return err
		}
		t = now
	}
}

// readHead reads the head of a row's block. It is valid until buf is used again.
func readHead(g *segmentFile, row *segment.Row, head *segment.Head, buf []byte) ([]byte, error) {
	f, err := g.use()
	if err != nil {
		return buf, err
	}
	defer g.release()
	buf = slices.Grow(buf[:0], int(row.HeadLen))[:row.HeadLen]
	err = readTwice(f, buf, row.Off, func() error {
		if err := head.Decode(buf); err != nil {
			return err
		}
		if head.End.Last != row.Last || head.Count != int(row.Count) {
			return fmt.Errorf("%w: it is another block", segment.ErrDamaged)
		}
		return nil
	})
	return buf, err
}

// printReader returns fingerprints to yield.
type fingerprintReader struct {
	yield        func(persistence.FingerprintBlock) bool
	oldest       EntryID
	left         int    // entries that are still wanted
	given        uint64 // entries before the blocks already given; 0 before the first
	fingerprints []uint64
}

// give gives the fingerprints of a block, part by part. It reports whether more are wanted.
func (p *fingerprintReader) give(h *segment.Head) bool {
	if len(h.Parts) == 0 {
		return p.one(h, 0, h.Count)
	}
	end := h.Count
	for _, n := range slices.Backward(h.Parts) {
		if !p.one(h, end-n, end) {
			return false
		}
		end -= n
	}
	return true
}

func (p *fingerprintReader) one(h *segment.Head, first, end int) bool {
	if p.left <= 0 || h.IDs[end-1].Compare(p.oldest) < 0 {
		return false
	}
	p.fingerprints = p.fingerprints[:0]
	for raw := h.Fingerprints[8*first : 8*end]; len(raw) > 0; raw = raw[8:] {
		p.fingerprints = append(p.fingerprints, binary.LittleEndian.Uint64(raw))
	}
	p.left -= len(p.fingerprints)
	return p.yield(persistence.FingerprintBlock{First: h.IDs[first], Last: h.IDs[end-1], Fingerprints: p.fingerprints})
}

// entryCache is the chunk that Entry read last, and the head of its block.
type entryCache struct {
	head  segment.Head
	buf   []byte
	at    blockRef
	chunk int // -1 for none
	raw   []byte
}

// Entry implements persistence.Stream.
func (st *stream) Entry(ctx context.Context, last EntryID, i int) ([]byte, error) {
	release, err := st.store.use()
	if err != nil {
		return nil, err
	}
	defer release()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	t := st.tip.Load()
	if i < 0 || t.meta.kept() == 0 || last.Compare(t.meta.floor) <= 0 {
		return nil, st.noEntry(last, i)
	}
	c := &st.entry
	if entry, ok := c.locate(last, i); ok && c.has(entry) {
		return c.bytes(entry), nil
	}
	var found []byte
	err = st.eachRow(ctx, t, last, func(g *segmentFile, row *segment.Row) (bool, error) {
		if row.Hole() || row.First.Compare(last) > 0 {
			return false, nil
		}
		if at := (blockRef{g, row.Off}); c.at != at {
			*c = entryCache{head: c.head, buf: c.buf, raw: c.raw, chunk: -1}
			var err error
			if c.buf, err = readHead(g, row, &c.head, c.buf); err != nil {
				return false, st.readError(row, err)
			}
			c.at = at
		}
		entry, ok := c.locate(last, i)
		if !ok {
			return false, nil
		}
		if !c.has(entry) {
			if err := c.load(st.store, entry); err != nil {
				return false, st.readError(row, err)
			}
		}
		found = c.bytes(entry)
		return false, nil
	})
	if err != nil && !isGone(err) {
		return nil, err
	}
	if found == nil {
		return nil, st.noEntry(last, i)
	}
	return found, nil
}

func (st *stream) noEntry(last EntryID, i int) error {
	return fmt.Errorf("%w: entry %d of block %s in stream %s", persistence.ErrNotFound, i, last, st.name)
}

// locate returns the index in the cached block of entry i of the block that was appended with last
// as its last entry.
func (c *entryCache) locate(last EntryID, i int) (int, bool) {
	if c.at.g == nil {
		return 0, false
	}
	if len(c.head.Parts) == 0 {
		return i, c.head.End.Last == last && i < c.head.Count
	}
	start := 0
	for _, n := range c.head.Parts {
		if c.head.IDs[start+n-1] == last {
			return start + i, i < n
		}
		start += n
	}
	return 0, false
}

// has reports whether the entry lies in the unpacked chunk.
func (c *entryCache) has(entry int) bool {
	if c.chunk < 0 {
		return false
	}
	k := &c.head.Chunks[c.chunk]
	return entry >= k.First && entry < k.First+k.Count
}

// load unpacks the chunk that contains the entry.
func (c *entryCache) load(s *Store, entry int) error {
	c.chunk = -1
	for i := range c.head.Chunks {
		k := &c.head.Chunks[i]
		if entry < k.First+k.Count {
			raw, err := s.unpack(c.raw, c.at, &c.head, i)
			if err != nil {
				return err
			}
			c.raw, c.chunk = raw, i
			return nil
		}
	}
	return fmt.Errorf("%w: no chunk holds entry %d", segment.ErrDamaged, entry)
}

// bytes returns an entry of the unpacked chunk.
func (c *entryCache) bytes(entry int) []byte {
	off := 0
	for _, n := range c.head.Lens[c.head.Chunks[c.chunk].First:entry] {
		off += int(n)
	}
	return c.raw[off : off+int(c.head.Lens[entry]) : off+int(c.head.Lens[entry])]
}

package persistence

import (
	"slices"
	"sync"
)

// Bounds of the heads that are kept between pages (I5): some fifteen readers' that catch up in full blocks.
const (
	headsKept  = 32
	headsBytes = 4 << 20
	// chunkKept is what a chunk that is kept has at the most: all but those of giant events.
	chunkKept = 2 * chunkTarget
)

// heads lends readers the decoded heads of blocks. Where a page ends within a block, the next one of the same reader begins there: so the head of such a block is
// kept, and the chunk that the page ended in, unpacked. A block has up to some thousand entries, and decoding the head of all of them anew costs a page
// of a hundred more than the page itself.
//
// What is kept spares decoding, and decides nothing: it is of one version of a block, and found only by who has that version before him in a transaction. A block that
// retention has dropped, or a merge replaced, is in no transaction any more. Safe for concurrent use.
type heads struct {
	mu   sync.Mutex
	kept []*sharedHead // the one that was kept last at the end
	pool sync.Pool     // *sharedHead that nobody has
}

// sharedHead is a head that any number of readers have at once, none of which writes to it. Its memory is decoded into again when the last of them is done with
// it and it is kept no longer.
type sharedHead struct {
	blockHead // without what aliases the database
	stream    *embeddedStream
	version   uint64

	// Guarded by heads.mu.
	readers int
	kept    bool
	unpacked
}

// unpacked are the raw bytes of one of a block's chunks. They are never written to again: frames alias them.
type unpacked struct {
	chunk int
	raw   []byte // nil for none
}

// cost is what the head holds in memory.
func (h *sharedHead) cost() int {
	return 20*cap(h.ids) + 48*cap(h.chunks) + 8*cap(h.parts) + cap(h.raw) + 300
}

// openBlock is a block as one reader has it before him, in a transaction.
type openBlock struct {
	blockHead // but for the payload it is shared
	shared    *sharedHead
	unpacked  // the chunk that was asked for last
}

// open gives the block v of stream s under key, in its version; it is valid until close or the transaction's end, whichever is first.
func (h *heads) open(s *embeddedStream, key []byte, version uint64, v []byte) (openBlock, error) {
	if b, ok := h.lend(s, blockKeyID(key), version, len(v)); ok {
		end := b.chunks[len(b.chunks)-1]
		b.payload = v[len(v)-end.off-end.size:]
		return b, nil
	}
	shared, ok := h.pool.Get().(*sharedHead)
	if !ok {
		shared = new(sharedHead)
	}
	err := shared.decode(key, v)
	b := openBlock{blockHead: shared.blockHead, shared: shared}
	shared.prints, shared.checkpoint, shared.payload = nil, nil, nil
	if err != nil {
		h.pool.Put(shared)
		return openBlock{}, err
	}
	shared.stream, shared.version, shared.readers = s, version, 1
	return b, nil
}

// lend finds a head that is kept.
func (h *heads) lend(s *embeddedStream, last EntryID, version uint64, size int) (openBlock, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := h.index(s, last, version)
	if i < 0 || h.kept[i].size != size {
		return openBlock{}, false
	}
	shared := h.kept[i]
	shared.readers++
	return openBlock{blockHead: shared.blockHead, shared: shared, unpacked: shared.unpacked}, true
}

func (h *heads) index(s *embeddedStream, last EntryID, version uint64) int {
	return slices.IndexFunc(h.kept, func(k *sharedHead) bool { return k.version == version && k.last == last && k.stream == s })
}

// close gives a block back. keep says that reading is likely to go on in it, where b's chunk is.
func (h *heads) close(b *openBlock, keep bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	shared := b.shared
	if keep {
		switch i := h.index(shared.stream, shared.last, shared.version); {
		case i < 0:
			shared.kept = true
			h.kept = append(h.kept, shared)
		case h.kept[i] == shared:
			h.kept = append(slices.Delete(h.kept, i, i+1), shared)
		} // else another reader was first to keep what it decoded
	}
	if shared.kept && keep && cap(b.raw) <= chunkKept {
		shared.unpacked = b.unpacked
	}
	shared.readers--
	if !shared.kept {
		h.recycle(shared)
	}
	h.bound(headsKept, headsBytes)
}

// forget keeps nothing any longer: readers that have left need none of it, and the others decode one head more.
func (h *heads) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bound(0, 0)
}

// bound forgets the heads that were kept first, until so many, and so many bytes, are left.
func (h *heads) bound(count, bytes int) {
	for _, k := range h.kept {
		bytes -= k.cost()
	}
	drop := 0
	for bytes < 0 || len(h.kept)-drop > count {
		k := h.kept[drop]
		bytes += k.cost()
		k.kept = false
		h.recycle(k)
		drop++
	}
	h.kept = slices.Delete(h.kept, 0, drop)
}

// recycle lends the memory of a head that is not kept to others, once nobody has it.
func (h *heads) recycle(shared *sharedHead) {
	shared.unpacked = unpacked{}
	if shared.readers == 0 {
		shared.stream = nil
		h.pool.Put(shared)
	}
}

// bytesOf gives the raw bytes of the block's chunk i.
func (b *openBlock) bytesOf(i int) ([]byte, error) {
	if b.raw == nil || b.chunk != i {
		raw, err := b.unpack(nil, &b.chunks[i])
		if err != nil {
			return nil, err
		}
		b.unpacked = unpacked{chunk: i, raw: raw}
	}
	return b.raw, nil
}

package embedded

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"

	"tempestd/persistence/embedded/segment"
)

// Bounds of the heads that are kept between pages (I5). This is enough for about fifteen readers
// that catch up in full blocks.
const (
	maxHeads     = 32
	maxHeadBytes = 4 << 20
	// chunkKept is the largest chunk that is kept, in raw bytes. Only chunks of giant events are
	// larger.
	maxChunkKept = 512 << 10
)

// headCache keeps the decoded heads of blocks for readers. If a page ends inside a block, the next
// page of the same reader begins there. So the head of such a block is kept, together with the
// unpacked chunk in which the page ended. A block has up to some thousand entries. To decode all of
// them again for a page of a hundred would cost more than the page itself. headCache is safe for
// concurrent use.
type headCache struct {
	mu   sync.Mutex
	kept []*sharedHead // the head that was kept last is at the end
	pool sync.Pool     // *sharedHead that nobody uses
}

// sharedHead is a head that several readers can use at once; none of them writes to it. Its memory
// is reused for another head when its last reader is done and it is no longer kept.
type sharedHead struct {
	segment.Head
	buf []byte // the bytes that it was decoded from
	at  blockRef

	// Guarded by headCache.mu.
	readers int
	kept    bool
	unpacked
}

// blockRef names a block by its file and its offset.
type blockRef struct {
	g   *segmentFile
	off int64
}

// unpacked is the raw bytes of one chunk of a block. They are never changed, because entries alias
// them.
type unpacked struct {
	chunk int
	raw   []byte // nil for none
}

// cost is the memory that the head uses, in bytes.
func (h *sharedHead) cost() int {
	return 20*cap(h.IDs) + 48*cap(h.Chunks) + 8*cap(h.Parts) + cap(h.buf) + cap(h.raw) + 300
}

// openBlock is a block in use by one reader.
type openBlock struct {
	*sharedHead // never changed
	unpacked    // the chunk that was read last
}

// buffers is memory for bytes that are read and not kept.
type buffers struct{ pool sync.Pool }

func (p *buffers) get(n int) *[]byte {
	b, ok := p.pool.Get().(*[]byte)
	if !ok {
		b = new([]byte)
	}
	*b = slices.Grow((*b)[:0], n)[:n]
	return b
}

func (p *buffers) put(b *[]byte) {
	if cap(*b) <= 1<<20 {
		p.pool.Put(b)
	}
}

// open returns the block of a row. It is valid until close.
func (h *headCache) open(g *segmentFile, row *segment.Row) (openBlock, error) {
	at := blockRef{g, row.Off}
	if b, ok := h.get(at); ok {
		return b, nil
	}
	shared, ok := h.pool.Get().(*sharedHead)
	if !ok {
		shared = new(sharedHead)
	}
	err := shared.read(g, row)
	if err != nil {
		h.pool.Put(shared)
		return openBlock{}, err
	}
	shared.at, shared.readers = at, 1
	return openBlock{sharedHead: shared}, nil
}

// read reads and decodes the head of a block and compares it with the row.
func (h *sharedHead) read(g *segmentFile, row *segment.Row) error {
	f, err := g.use()
	if err != nil {
		return err
	}
	defer g.release()
	h.buf = slices.Grow(h.buf[:0], int(row.HeadLen))[:row.HeadLen]
	return readTwice(f, h.buf, row.Off, func() error {
		if err := h.Decode(h.buf); err != nil {
			return err
		}
		if h.End.Last != row.Last || h.End.Entries != row.EndEntries || h.First != row.First || uint32(h.BodyLen) != row.BodyLen {
			return fmt.Errorf("%w: it is another block", segment.ErrDamaged)
		}
		return nil
	})
}

// readTwice reads all of b and checks it. What is damaged is read once more before it counts as
// damaged: a read can bring other bytes than the disk has, and the next one the right ones. A block
// that counts as damaged is fetched again from the upstream, and readers are sent past it.
func readTwice(f io.ReaderAt, b []byte, off int64, check func() error) (err error) {
	for range 2 {
		if err = readAt(f, b, off); err == nil {
			err = check()
		}
		if !errors.Is(err, segment.ErrDamaged) {
			return err
		}
	}
	return err
}

// readHeader reads the header of a segment, of which the file has len(b) bytes.
func readHeader(f io.ReaderAt, b []byte) (h segment.Header, err error) {
	err = readTwice(f, b, 0, func() (err error) {
		h, err = segment.ReadHeader(b)
		return err
	})
	return h, err
}

// readAt reads all of b. Missing bytes at the end of the file are damage, not an error of the file
// system.
func readAt(f io.ReaderAt, b []byte, off int64) error {
	n, err := f.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if errors.Is(err, io.EOF) || err == nil {
		return fmt.Errorf("%w: the file ends at %d", segment.ErrDamaged, off+int64(n))
	}
	return err
}

// get returns a block whose head is kept.
func (h *headCache) get(at blockRef) (openBlock, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := h.index(at)
	if i < 0 {
		return openBlock{}, false
	}
	shared := h.kept[i]
	shared.readers++
	return openBlock{sharedHead: shared, unpacked: shared.unpacked}, true
}

func (h *headCache) index(at blockRef) int {
	return slices.IndexFunc(h.kept, func(k *sharedHead) bool { return k.at == at })
}

// close gives a block back. keep says that the next page will probably continue in b's chunk.
func (h *headCache) close(b *openBlock, keep bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	shared := b.sharedHead
	if keep {
		switch i := h.index(shared.at); {
		case i < 0:
			shared.kept = true
			h.kept = append(h.kept, shared)
		case h.kept[i] == shared:
			h.kept = append(slices.Delete(h.kept, i, i+1), shared)
		} // else another reader has kept this head first
	}
	if shared.kept && keep && cap(b.unpacked.raw) <= maxChunkKept {
		shared.unpacked = b.unpacked
	}
	shared.readers--
	if !shared.kept {
		h.recycle(shared)
	}
	h.bound(maxHeads, maxHeadBytes)
}

// forget drops all kept heads. Readers that have left need none of them, and the others decode one
// head again.
func (h *headCache) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bound(0, 0)
}

// bound drops the heads that were kept first, until at most count heads and the given number of
// bytes are left.
func (h *headCache) bound(count, bytes int) {
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

// recycle makes the memory of a head that is not kept available to others when it has no reader.
func (h *headCache) recycle(shared *sharedHead) {
	shared.unpacked = unpacked{}
	if shared.readers == 0 {
		shared.at = blockRef{}
		if cap(shared.buf) <= 1<<20 {
			h.pool.Put(shared)
		}
	}
}

// bytesOf returns the raw bytes of the block's chunk i.
func (s *Store) bytesOf(b *openBlock, i int) ([]byte, error) {
	if b.unpacked.raw == nil || b.unpacked.chunk != i {
		raw, err := s.unpack(nil, b.at, &b.Head, i)
		if err != nil {
			return nil, err
		}
		b.unpacked = unpacked{chunk: i, raw: raw}
	}
	return b.unpacked.raw, nil
}

// unpack reads and unpacks chunk i of a block. It uses dst's memory, or allocates if that is too
// small.
func (s *Store) unpack(dst []byte, at blockRef, h *segment.Head, i int) ([]byte, error) {
	f, err := at.g.use()
	if err != nil {
		return nil, err
	}
	defer at.g.release()
	c := &h.Chunks[i]
	comp := s.buffers.get(c.Size)
	defer s.buffers.put(comp)
	var raw []byte
	err = readTwice(f, *comp, at.off+int64(h.HeadLen)+int64(c.Off), func() (err error) {
		raw, err = s.dec.Unpack(dst, *comp, h, c)
		return err
	})
	return raw, err
}

// isGone reports whether a file no longer exists.
func isGone(err error) bool { return errors.Is(err, fs.ErrNotExist) }

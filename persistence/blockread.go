package persistence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/klauspost/compress/s2"
)

// errBlock is what every fault of a block's bytes matches.
var errBlock = errors.New("bad block")

// blockSummary is the fixed part of a block's head, read and checked without decoding the rest.
type blockSummary struct {
	first, last EntryID
	count       int
	endEntries  uint64
	endBytes    uint64
	size        int // stored bytes, the key not counted
}

// startEntries is how many entries were ever appended before the block.
func (s *blockSummary) startEntries() uint64 { return s.endEntries - uint64(s.count) }

// blockHead is a decoded head. It aliases the block's bytes where it can; the slices it owns are kept for the next decode.
type blockHead struct {
	blockSummary
	prints     []byte // fingerprints, 8 bytes each
	checkpoint []byte
	parts      []int
	chunks     []chunk
	ids        []EntryID
	lens       []uint32
	payload    []byte
}

// chunk is a run of entries that is compressed together.
type chunk struct {
	first, count int    // entries
	off, size    int    // compressed, within the payload
	crc          uint32 // of the compressed bytes
	raw          int    // uncompressed
}

// readSummary checks a head's CRC and gives its fixed part.
func readSummary(key, b []byte) (s blockSummary, head []byte, err error) {
	switch {
	case len(b) < fixedHead:
		return s, nil, fmt.Errorf("%w: %d bytes are no head", errBlock, len(b))
	case b[0] != blockVersion:
		return s, nil, fmt.Errorf("%w: version %d; known: %d", errBlock, b[0], blockVersion)
	}
	headLen := int(binary.LittleEndian.Uint32(b[offHeadLen:]))
	if headLen < fixedHead || headLen > len(b) {
		return s, nil, fmt.Errorf("%w: a head of %d bytes in %d", errBlock, headLen, len(b))
	}
	head = b[:headLen]
	if headCRC(key, head) != binary.LittleEndian.Uint32(b[offCRC:]) {
		return s, nil, fmt.Errorf("%w: the head's checksum does not match", errBlock)
	}
	s = blockSummary{
		first:      EntryID{MS: binary.LittleEndian.Uint64(b[offFirst:]), Seq: binary.LittleEndian.Uint64(b[offFirst+8:])},
		last:       blockKeyID(key),
		count:      int(binary.LittleEndian.Uint32(b[offCount:])),
		endEntries: binary.LittleEndian.Uint64(b[offEndEntries:]),
		endBytes:   binary.LittleEndian.Uint64(b[offEndBytes:]),
		size:       len(b),
	}
	if s.count < 1 || s.count > (headLen-fixedHead)/8 || uint64(s.count) > s.endEntries {
		return s, nil, fmt.Errorf("%w: %d entries", errBlock, s.count)
	}
	return s, head, nil
}

// prints are the fingerprints of a block whose summary was read.
func (s *blockSummary) prints(head []byte) []byte { return head[fixedHead : fixedHead+8*s.count] }

// decode reads the head of block b, stored under key. h is not usable after an error.
func (h *blockHead) decode(key, b []byte) error {
	summary, head, err := readSummary(key, b)
	if err != nil {
		return err
	}
	h.blockSummary = summary
	h.prints = summary.prints(head)
	h.payload = b[len(head):]

	r := reader{b: head[fixedHead+len(h.prints):]}
	chunks := int(binary.LittleEndian.Uint32(b[offChunks:]))
	parts := int(binary.LittleEndian.Uint32(b[offParts:]))
	checkpoint := int(binary.LittleEndian.Uint32(b[offCheckpoint:]))
	if chunks < 1 || chunks > len(r.b)/chunkEntry || parts > len(r.b) {
		return fmt.Errorf("%w: %d chunks and %d parts in %d bytes", errBlock, chunks, parts, len(r.b))
	}
	rows := r.take(chunks * chunkEntry)
	if err := h.decodeParts(&r, parts); err != nil {
		return err
	}
	h.checkpoint = r.take(checkpoint)
	if err := h.decodeIDs(&r); err != nil {
		return err
	}
	h.lens = slices.Grow(h.lens[:0], h.count)
	for range h.count {
		n := r.uvarint()
		if n > maxEntryBytes {
			return fmt.Errorf("%w: an entry of %d bytes", errBlock, n)
		}
		h.lens = append(h.lens, uint32(n))
	}
	if r.failed || len(r.b) > 0 {
		return fmt.Errorf("%w: the head's length does not match", errBlock)
	}
	return h.decodeChunks(rows)
}

// decodeParts reads from how many entries each the block was merged.
func (h *blockHead) decodeParts(r *reader, parts int) error {
	h.parts = slices.Grow(h.parts[:0], parts)
	total := 0
	for range parts {
		n := r.uvarint()
		if n < 1 || n > uint64(h.count) {
			return fmt.Errorf("%w: a part of %d entries", errBlock, n)
		}
		total += int(n)
		h.parts = append(h.parts, int(n))
	}
	if parts > 0 && total != h.count {
		return fmt.Errorf("%w: parts of %d entries make a block of %d", errBlock, total, h.count)
	}
	return nil
}

// decodeIDs reads the IDs, which must increase and end with the key's.
func (h *blockHead) decodeIDs(r *reader) error {
	h.ids = append(slices.Grow(h.ids[:0], h.count), h.first)
	id := h.first
	for range h.count - 1 {
		ms, seq := r.uvarint(), r.uvarint()
		next := EntryID{MS: id.MS + ms, Seq: seq}
		if ms == 0 {
			next.Seq = id.Seq + seq
		}
		if next.Compare(id) <= 0 {
			return fmt.Errorf("%w: IDs do not increase", errBlock)
		}
		id = next
		h.ids = append(h.ids, id)
	}
	if id != h.last {
		return fmt.Errorf("%w: it ends with %s", errBlock, id)
	}
	return nil
}

// decodeChunks reads the chunk table, which must cover the entries and the payload exactly.
func (h *blockHead) decodeChunks(rows []byte) error {
	h.chunks = h.chunks[:0]
	entry, off := 0, 0
	for ; len(rows) > 0; rows = rows[chunkEntry:] {
		c := chunk{
			first: entry,
			count: int(binary.LittleEndian.Uint32(rows)),
			off:   off,
			size:  int(binary.LittleEndian.Uint32(rows[4:])),
			crc:   binary.LittleEndian.Uint32(rows[8:]),
		}
		if c.count < 1 || c.count > h.count-entry || c.size > len(h.payload)-off {
			return fmt.Errorf("%w: a chunk of %d entries in %d bytes", errBlock, c.count, c.size)
		}
		for _, n := range h.lens[entry : entry+c.count] {
			c.raw += int(n)
		}
		if c.raw > maxChunkRaw {
			return fmt.Errorf("%w: a chunk of %d raw bytes", errBlock, c.raw)
		}
		h.chunks = append(h.chunks, c)
		entry, off = entry+c.count, off+c.size
	}
	if entry != h.count || off != len(h.payload) {
		return fmt.Errorf("%w: chunks cover %d of %d entries, %d of %d bytes", errBlock, entry, h.count, off, len(h.payload))
	}
	return nil
}

// unpack gives the raw bytes of chunk c in dst's memory, or new one where that is too small.
func (h *blockHead) unpack(dst []byte, c *chunk) ([]byte, error) {
	comp := h.payload[c.off : c.off+c.size]
	if crc32.Checksum(comp, castagnoli()) != c.crc {
		return nil, fmt.Errorf("%w: a chunk's checksum does not match", errBlock)
	}
	if n, err := s2.DecodedLen(comp); err != nil || n != c.raw {
		return nil, fmt.Errorf("%w: a chunk of %d bytes says it has %d (%v)", errBlock, c.raw, n, err)
	}
	raw, err := s2.Decode(slices.Grow(dst[:0], c.raw)[:c.raw], comp)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBlock, err)
	}
	return raw, nil
}

// search is the index of the first entry with an ID of at least id; count if there is none.
func (h *blockHead) search(id EntryID) int {
	i, _ := slices.BinarySearchFunc(h.ids, id, EntryID.Compare)
	return i
}

// verify unpacks everything, in scratch's memory, which it gives back.
func (h *blockHead) verify(scratch []byte) ([]byte, error) {
	for i := range h.chunks {
		raw, err := h.unpack(scratch, &h.chunks[i])
		if err != nil {
			return scratch, err
		}
		scratch = raw
	}
	return scratch, nil
}

// reader takes numbers and bytes off a slice; once something is missing it gives zeros and failed is set.
type reader struct {
	b      []byte
	failed bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.failed = true
		r.b = nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.failed = true
		r.b = nil
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

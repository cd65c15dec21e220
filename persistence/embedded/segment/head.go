package segment

import (
	"slices"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// Head is a decoded head. It aliases the bytes that it was read from where it can. Its own slices
// are reused by the next Decode.
type Head struct {
	Fixed
	Fingerprints []byte // fingerprints, 8 bytes each
	Checkpoint   []byte
	Reason       []byte
	// Parts is the number of entries of each block that was packed into it. It is empty for a block
	// as it was appended.
	Parts  []int
	Chunks []Chunk
	IDs    []EntryID
	Lens   []uint32
}

// Fixed is the fixed part of a head.
type Fixed struct {
	HeadLen, BodyLen int
	Prev             uint64   // link of the block before it
	End              Position // after the block
	First            EntryID  // zero without entries
	Count            int
	Codec            Codec
	More             bool
	MinUS, MaxUS     int64 // of its events
	Floor            EntryID
	DroppedEntries   uint64
	DroppedBytes     uint64
	ClosedUS         int64

	chunks, parts, checkpoint, reason int
}

// Chunk is a run of entries that is compressed together.
type Chunk struct {
	First, Count int // entries
	Off, Size    int // compressed, within the body
	Raw          int // uncompressed
	crc          uint32
}

// Start is how many entries were ever appended before the block.
func (f *Fixed) Start() uint64 { return f.End.Entries - uint64(f.Count) }

// Len is the number of bytes that the block takes in its segment.
func (f *Fixed) Len() int64 { return align(int64(f.HeadLen) + int64(f.BodyLen)) }

// fixedOf reads the fixed part, which contains the length of the head. Its fields are only certain
// after the head's checksum was compared.
func fixedOf(b []byte) (f Fixed, err error) {
	if len(b) < fixedLen || u32(b) != blockMagic {
		return f, damaged("there is no block")
	}
	f = Fixed{
		HeadLen: int(u32(b[offHeadLen:])), BodyLen: int(u32(b[offBodyLen:])),
		Prev:  u64(b[offPrev:]),
		End:   Position{Number: u64(b[offNumber:]), Link: u64(b[offLink:]), Last: getID(b[offLast:]), Entries: u64(b[offEndEntries:]), Bytes: u64(b[offEndBytes:])},
		First: getID(b[offFirst:]), Count: int(u32(b[offCount:])), Codec: Codec(b[offCodec]), More: b[offFlags]&flagMore != 0,
		MinUS: int64(u64(b[offMinUS:])), MaxUS: int64(u64(b[offMaxUS:])),
		Floor: getID(b[offFloor:]), DroppedEntries: u64(b[offDroppedEntries:]), DroppedBytes: u64(b[offDroppedBytes:]),
		ClosedUS: int64(u64(b[offClosed:])),
		chunks:   int(u32(b[offChunks:])), parts: int(u32(b[offParts:])), checkpoint: int(u32(b[offCheckpoint:])), reason: int(u32(b[offReason:])),
	}
	if f.HeadLen < fixedLen+8*f.Count || f.Count > maxHead/8 || f.HeadLen > maxHead || f.BodyLen > maxBody {
		return f, damaged("a head of %d bytes for %d entries, a body of %d", f.HeadLen, f.Count, f.BodyLen)
	}
	return f, nil
}

// Upper bounds of a head and a body. A longer length is damage.
const (
	maxHead = 64 << 20
	maxBody = 1 << 30
)

// Decode reads a head. b must begin with the whole head. After an error h is not usable.
func (h *Head) Decode(b []byte) error {
	f, err := fixedOf(b)
	if err != nil {
		return err
	}
	if f.HeadLen > len(b) {
		return damaged("a head of %d bytes in %d", f.HeadLen, len(b))
	}
	b = b[:f.HeadLen]
	if headCRC(b) != u32(b[offCRC:]) {
		return damaged("the head's checksum does not match")
	}
	h.Fixed = f
	h.Fingerprints = b[fixedLen : fixedLen+8*h.Count]
	r := reader{b: b[fixedLen+len(h.Fingerprints):]}
	if h.Count > 0 != (h.chunks > 0) || h.chunks > len(r.b)/chunkEntry || h.parts > len(r.b) || uint64(h.Count) > h.End.Entries {
		return damaged("%d chunks and %d parts in %d bytes", h.chunks, h.parts, len(r.b))
	}
	rows := r.take(h.chunks * chunkEntry)
	if err := h.decodeParts(&r); err != nil {
		return err
	}
	h.Checkpoint = r.take(h.checkpoint)
	h.Reason = r.take(h.reason)
	if err := h.decodeIDs(&r); err != nil {
		return err
	}
	h.Lens = slices.Grow(h.Lens[:0], h.Count)
	for range h.Count {
		n := r.uvarint()
		if n > MaxEntryBytes {
			return damaged("an entry of %d bytes", n)
		}
		h.Lens = append(h.Lens, uint32(n))
	}
	if r.failed || len(r.b) > 0 {
		return damaged("the head's length does not match")
	}
	return h.decodeChunks(rows)
}

func (h *Head) decodeParts(r *reader) error {
	h.Parts = slices.Grow(h.Parts[:0], h.parts)
	total := 0
	for range h.parts {
		n := r.uvarint()
		if n < 1 || n > uint64(h.Count) {
			return damaged("a part of %d entries", n)
		}
		total += int(n)
		h.Parts = append(h.Parts, int(n))
	}
	if h.parts > 0 && total != h.Count {
		return damaged("parts of %d entries make a block of %d", total, h.Count)
	}
	return nil
}

// decodeIDs reads the IDs, which must increase and end with the last ID.
func (h *Head) decodeIDs(r *reader) error {
	h.IDs = h.IDs[:0]
	if h.Count == 0 {
		return nil
	}
	h.IDs = append(slices.Grow(h.IDs, h.Count), h.First)
	id := h.First
	for range h.Count - 1 {
		ms, seq := r.uvarint(), r.uvarint()
		next := EntryID{MS: id.MS + ms, Seq: seq}
		if ms == 0 {
			next.Seq = id.Seq + seq
		}
		if next.Compare(id) <= 0 {
			return damaged("IDs do not increase")
		}
		id = next
		h.IDs = append(h.IDs, id)
	}
	if id != h.End.Last {
		return damaged("it ends with %s", id)
	}
	return nil
}

// decodeChunks reads the chunk table, which must cover the entries and the body exactly.
func (h *Head) decodeChunks(rows []byte) error {
	h.Chunks = h.Chunks[:0]
	entry, off := 0, 0
	for ; len(rows) > 0; rows = rows[chunkEntry:] {
		c := Chunk{First: entry, Count: int(u32(rows)), Off: off, Size: int(u32(rows[4:])), crc: u32(rows[8:])}
		if c.Count < 1 || c.Count > h.Count-entry || c.Size > h.BodyLen-off {
			return damaged("a chunk of %d entries in %d bytes", c.Count, c.Size)
		}
		for _, n := range h.Lens[entry : entry+c.Count] {
			c.Raw += int(n)
		}
		if c.Raw > maxChunkRaw {
			return damaged("a chunk of %d raw bytes", c.Raw)
		}
		h.Chunks = append(h.Chunks, c)
		entry, off = entry+c.Count, off+c.Size
	}
	if entry != h.Count || off != h.BodyLen {
		return damaged("chunks cover %d of %d entries, %d of %d bytes", entry, h.Count, off, h.BodyLen)
	}
	return nil
}

// Search returns the index of the first entry with an ID of at least id, Count if there is none.
func (h *Head) Search(id EntryID) int {
	i, _ := slices.BinarySearchFunc(h.IDs, id, EntryID.Compare)
	return i
}

// CheckLink compares the link with the link that is computed from the parts.
func (h *Head) CheckLink() error {
	link, before, start := h.Prev, h.Start(), 0
	if h.Count > 0 {
		var d xxhash.Digest
		var whole [1]int
		parts := h.Parts
		if len(parts) == 0 {
			whole[0] = h.Count
			parts = whole[:]
		}
		for _, n := range parts {
			link = linkOf(&d, link, h.IDs[start], h.IDs[start+n-1], before, h.Fingerprints[8*start:8*(start+n)])
			start += n
			before += uint64(n)
		}
	}
	if link != h.End.Link {
		return damaged("the link is not the one that follows")
	}
	return nil
}

// Decoder unpacks chunks. It is safe for concurrent use.
type Decoder struct{ zstd *zstd.Decoder }

// NewDecoder returns a Decoder. Close releases it.
func NewDecoder() (*Decoder, error) {
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(2), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(2*maxChunkRaw))
	if err != nil {
		return nil, err
	}
	return &Decoder{zstd: z}, nil
}

// Close releases the decoder.
func (d *Decoder) Close() { d.zstd.Close() }

// Unpack returns the raw bytes of chunk c of h, whose compressed bytes are comp. It uses dst's
// memory, or allocates if that is too small.
func (d *Decoder) Unpack(dst, comp []byte, h *Head, c *Chunk) ([]byte, error) {
	if checksum(comp) != c.crc {
		return nil, damaged("a chunk's checksum does not match")
	}
	switch h.Codec {
	case S2:
		if n, err := s2.DecodedLen(comp); err != nil || n != c.Raw {
			return nil, damaged("a chunk of %d bytes says it has %d (%v)", c.Raw, n, err)
		}
		raw, err := s2.Decode(slices.Grow(dst[:0], c.Raw)[:c.Raw], comp)
		if err != nil {
			return nil, damaged("%v", err)
		}
		return raw, nil
	case Zstd:
		raw, err := d.zstd.DecodeAll(comp, slices.Grow(dst[:0], c.Raw))
		if err != nil || len(raw) != c.Raw {
			return nil, damaged("a chunk of %d bytes has %d (%v)", c.Raw, len(raw), err)
		}
		return raw, nil
	}
	return nil, damaged("codec %d; known: %d and %d", h.Codec, S2, Zstd)
}

// Verify unpacks the whole body. It uses scratch's memory and returns it.
func (d *Decoder) Verify(scratch, body []byte, h *Head) ([]byte, error) {
	if len(body) < h.BodyLen {
		return scratch, damaged("a body of %d bytes in %d", h.BodyLen, len(body))
	}
	for i := range h.Chunks {
		c := &h.Chunks[i]
		raw, err := d.Unpack(scratch, body[c.Off:c.Off+c.Size], h, c)
		if err != nil {
			return scratch, err
		}
		scratch = raw
	}
	return scratch, nil
}

// CheckBody compares the checksums of a block's body without unpacking it.
func (h *Head) CheckBody(body []byte) error {
	if len(body) < h.BodyLen {
		return damaged("a body of %d bytes in %d", h.BodyLen, len(body))
	}
	for i := range h.Chunks {
		c := &h.Chunks[i]
		if checksum(body[c.Off:c.Off+c.Size]) != c.crc {
			return damaged("a chunk's checksum does not match")
		}
	}
	return nil
}

// Fingerprint returns the fingerprint of entry i.
func (h *Head) Fingerprint(i int) uint64 { return u64(h.Fingerprints[8*i:]) }

// PartsOf returns the number of entries of each block that it was packed from. For a block that was
// not packed this is its own number of entries. The slice is valid until the next call of Decode.
func (h *Head) PartsOf() []int {
	if len(h.Parts) == 0 {
		h.Parts = append(h.Parts[:0], h.Count)
	}
	return h.Parts
}

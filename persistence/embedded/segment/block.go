package segment

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"

	"tempestd/messages"
)

// Codec is the compression of a block's body.
type Codec uint8

// The codecs: S2 is cheap, Zstd compresses better.
const (
	S2   Codec = 1
	Zstd Codec = 2
)

const (
	blockMagic  = 0x314b4c42
	footerMagic = 0x31525446

	offHeadLen        = 4
	offBodyLen        = 8
	offCRC            = 12
	offNumber         = 16
	offPrev           = 24
	offLink           = 32
	offFirst          = 40
	offLast           = 56
	offEndEntries     = 72
	offEndBytes       = 80
	offCount          = 88
	offCodec          = 92
	offFlags          = 93
	offMinUS          = 96
	offMaxUS          = 104
	offFloor          = 112
	offDroppedEntries = 128
	offDroppedBytes   = 136
	offClosed         = 144
	offChunks         = 152
	offParts          = 156
	offCheckpoint     = 160
	offReason         = 164
	fixedLen          = 168

	flagMore = 1

	chunkEntry = 12
	// The raw bytes at which a chunk ends. Measured: beyond it s2 gains little and zstd some, and
	// reading one entry costs the unpacking of one chunk.
	chunkS2   = 128 << 10
	chunkZstd = 256 << 10

	// MaxEntryBytes bounds one event, and with it the memory that a reader must allocate for a
	// chunk.
	MaxEntryBytes = 32 << 20
	maxChunkRaw   = chunkZstd + MaxEntryBytes
	// MaxBlockBytes and MaxBlockEntries are the sizes at which an append begins another block.
	MaxBlockBytes   = 8 << 20
	MaxBlockEntries = 1 << 16
)

// State is the state of a stream after a block, besides its entries.
type State struct {
	Floor          EntryID // the newest entry that retention dropped
	DroppedEntries uint64
	DroppedBytes   uint64
	ClosedUS       int64
	ClosedReason   string
	Checkpoint     []byte // JSON; empty for none
}

// Source is the input of a block: the events of a batch that Kept names. The last four fields are
// set for a packed block only.
type Source struct {
	Buf    []byte
	Events []messages.Event
	Kept   []int     // indices of the events
	IDs    []EntryID // the IDs of the kept events
	Parts  []int     // entries of each part
	Number uint64    // number of its last part
	Link   uint64    // link of its last part
	Bytes  uint64    // bytes ever appended, including its last part
}

// Encoder makes blocks. It keeps its buffers from block to block and is not safe for concurrent
// use. The zero value compresses with s2.
type Encoder struct {
	Zstd    *zstd.Encoder // if set, compress with zstd
	scratch []byte
	digest  xxhash.Digest
}

// Split returns how many of the kept events go into the next block.
func Split(events []messages.Event, kept []int) int {
	size := 0
	for n, i := range kept {
		if n == MaxBlockEntries || size >= MaxBlockBytes {
			return n
		}
		size += int(events[i].Len)
	}
	return len(kept)
}

// Append appends the block that follows at to dst, and moves at behind the block. The length of dst
// must be a multiple of 8. more says that another block of the same append follows; then the block
// has no checkpoint.
func (e *Encoder) Append(dst []byte, src *Source, st *State, more bool, at *Position) ([]byte, Row, error) {
	for _, i := range src.Kept {
		if n := src.Events[i].Len; n > MaxEntryBytes {
			return dst, Row{}, fmt.Errorf("an event has %d bytes; accepted: up to %d", n, MaxEntryBytes)
		}
	}
	begin := len(dst)
	chunks := e.planChunks(src)
	checkpoint := st.Checkpoint
	if more {
		checkpoint = nil
	}
	b := append(dst, make([]byte, fixedLen)...)
	printsAt := len(b)
	for _, i := range src.Kept {
		b = binary.LittleEndian.AppendUint64(b, src.Events[i].Fingerprint)
	}
	chunkTable := len(b)
	b = append(b, make([]byte, chunks*chunkEntry)...)
	for _, n := range src.Parts {
		b = binary.AppendUvarint(b, uint64(n))
	}
	b = append(b, checkpoint...)
	b = append(b, st.ClosedReason...)
	b = appendIDs(b, src.IDs)
	for _, i := range src.Kept {
		b = binary.AppendUvarint(b, uint64(src.Events[i].Len))
	}
	headLen := len(b) - begin
	b = e.appendBody(b, chunkTable, src)

	row := Row{HeadLen: uint32(headLen), BodyLen: uint32(len(b) - begin - headLen), Count: uint32(len(src.Kept)), Last: at.Last}
	end := Position{Number: at.Number + 1, Link: at.Link, Last: at.Last, Entries: at.Entries, Bytes: at.Bytes}
	if row.Count > 0 {
		row.First, row.Last = src.IDs[0], src.IDs[len(src.IDs)-1]
		end = Position{Number: at.Number + 1, Last: row.Last, Entries: at.Entries + uint64(row.Count), Bytes: at.Bytes + uint64(len(b)-begin)}
		if src.Parts == nil {
			end.Link = e.link(at.Link, row.First, row.Last, at.Entries, b[printsAt:printsAt+8*len(src.Kept)])
		} else {
			end.Link, end.Bytes = src.Link, src.Bytes
		}
	}
	if src.Number > 0 {
		end.Number = src.Number
	}
	row.EndEntries, row.EndBytes = end.Entries, end.Bytes
	e.putFixed(b[begin:], src, st, at.Link, &end, &row)
	put32(b[begin+offChunks:], uint32(chunks))
	put32(b[begin+offCheckpoint:], uint32(len(checkpoint)))
	if more {
		b[begin+offFlags] |= flagMore
	}
	put32(b[begin+offCRC:], headCRC(b[begin:begin+headLen]))
	for len(b)%8 != 0 {
		b = append(b, 0)
	}
	*at = end
	return b, row, nil
}

// putFixed writes the fixed part of the head, except for the fields that Append writes.
func (e *Encoder) putFixed(b []byte, src *Source, st *State, prev uint64, end *Position, row *Row) {
	put32(b, blockMagic)
	put32(b[offHeadLen:], row.HeadLen)
	put32(b[offBodyLen:], row.BodyLen)
	put64(b[offNumber:], end.Number)
	put64(b[offPrev:], prev)
	put64(b[offLink:], end.Link)
	putID(b[offFirst:], row.First)
	putID(b[offLast:], end.Last)
	put64(b[offEndEntries:], end.Entries)
	put64(b[offEndBytes:], end.Bytes)
	put32(b[offCount:], row.Count)
	b[offCodec] = byte(e.codec())
	if row.Count > 0 {
		least, greatest := src.Events[src.Kept[0]].TimeUS, src.Events[src.Kept[0]].TimeUS
		for _, i := range src.Kept {
			least, greatest = min(least, src.Events[i].TimeUS), max(greatest, src.Events[i].TimeUS)
		}
		put64(b[offMinUS:], uint64(least))
		put64(b[offMaxUS:], uint64(greatest))
	}
	putID(b[offFloor:], st.Floor)
	put64(b[offDroppedEntries:], st.DroppedEntries)
	put64(b[offDroppedBytes:], st.DroppedBytes)
	put64(b[offClosed:], uint64(st.ClosedUS))
	put32(b[offParts:], uint32(len(src.Parts)))
	put32(b[offReason:], uint32(len(st.ClosedReason)))
}

func (e *Encoder) codec() Codec {
	if e.Zstd != nil {
		return Zstd
	}
	return S2
}

func appendIDs(b []byte, ids []EntryID) []byte {
	if len(ids) == 0 {
		return b
	}
	last := ids[0]
	for _, id := range ids[1:] {
		b = binary.AppendUvarint(b, id.MS-last.MS)
		if id.MS == last.MS {
			b = binary.AppendUvarint(b, id.Seq-last.Seq)
		} else {
			b = binary.AppendUvarint(b, id.Seq)
		}
		last = id
	}
	return b
}

// link computes the link of a block with entries.
func (e *Encoder) link(prev uint64, first, last EntryID, before uint64, fingerprints []byte) uint64 {
	return linkOf(&e.digest, prev, first, last, before, fingerprints)
}

func linkOf(d *xxhash.Digest, prev uint64, first, last EntryID, before uint64, fingerprints []byte) uint64 {
	var b [44]byte
	putID(b[:], first)
	putID(b[16:], last)
	put64(b[32:], before)
	put32(b[40:], uint32(len(fingerprints)/8))
	d.ResetWithSeed(prev)
	_, _ = d.Write(b[:])
	_, _ = d.Write(fingerprints)
	return d.Sum64()
}

// headCRC is the checksum of a head.
func headCRC(head []byte) uint32 {
	crc := crc32.Checksum(head[:offCRC], castagnoli())
	return crc32.Update(crc, castagnoli(), head[offCRC+4:])
}

func (e *Encoder) chunkTarget() int {
	if e.Zstd != nil {
		return chunkZstd
	}
	return chunkS2
}

// planChunks counts the chunks of the events.
func (e *Encoder) planChunks(src *Source) int {
	chunks := 0
	for next := 0; next < len(src.Kept); chunks++ {
		next = e.chunkEnd(src, next)
	}
	return chunks
}

// chunkEnd returns the index of the kept event after the chunk that begins with kept event first.
func (e *Encoder) chunkEnd(src *Source, first int) int {
	size, next, target := 0, first, e.chunkTarget()
	for next < len(src.Kept) && size < target {
		size += int(src.Events[src.Kept[next]].Len)
		next++
	}
	return next
}

// appendBody compresses the chunks and fills in their table.
func (e *Encoder) appendBody(b []byte, chunkTable int, src *Source) []byte {
	for first, row := 0, chunkTable; first < len(src.Kept); row += chunkEntry {
		next := e.chunkEnd(src, first)
		raw := e.gather(src, first, next)
		at := len(b)
		if e.Zstd != nil {
			b = e.Zstd.EncodeAll(raw, b)
		} else {
			b = slices.Grow(b, s2.MaxEncodedLen(len(raw)))
			b = b[:at+len(s2.Encode(b[at:cap(b)], raw))]
		}
		put32(b[row:], uint32(next-first))
		put32(b[row+4:], uint32(len(b)-at))
		put32(b[row+8:], checksum(b[at:]))
		first = next
	}
	return b
}

// gather returns the raw bytes of kept events first to next. Without a dropped event between them
// they lie together in the source's buffer; otherwise they are copied together.
func (e *Encoder) gather(src *Source, first, next int) []byte {
	start := src.Events[src.Kept[first]].Off
	end := start
	for _, i := range src.Kept[first:next] {
		ev := &src.Events[i]
		if ev.Off != end {
			return e.copy(src, first, next)
		}
		end += ev.Len
	}
	return src.Buf[start:end]
}

func (e *Encoder) copy(src *Source, first, next int) []byte {
	e.scratch = e.scratch[:0]
	for _, i := range src.Kept[first:next] {
		ev := &src.Events[i]
		e.scratch = append(e.scratch, src.Buf[ev.Off:ev.Off+ev.Len]...)
	}
	return e.scratch
}

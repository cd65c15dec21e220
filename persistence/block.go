package persistence

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/klauspost/compress/s2"

	"tempestd/messages"
)

// A block is what one Append stores: entries, their IDs and fingerprints, and the stream's state after them. Numbers are little endian.
//
//	 0  version, 3 bytes of zero
//	 4  length of the head, which is everything but the payload
//	 8  number of entries
//	12  CRC32C of the key and of the head without this field
//	16  first ID: milliseconds, sequence
//	32  entries ever appended to the stream, this block's included: its ordinal, by which a hole between blocks shows
//	40  bytes ever appended
//	48  number of chunks
//	52  number of parts, 0 for a block that was never merged
//	56  length of the checkpoint
//	60  zero
//	64  fingerprints, 8 bytes an entry
//	    chunk table: entries, compressed length, CRC32C of the compressed bytes; 4 bytes each
//	    parts: the number of entries of each block this one was merged from, varints
//	    checkpoint: JSON, as it was after this block
//	    IDs after the first: milliseconds since the last one; sequence, since the last one if the milliseconds are the same; varints
//	    lengths of the entries, varints
//	    payload: the chunks, each compressed with s2
//
// The payload is cut in chunks so that a page, or one entry, costs no more than the chunks it lies in.
const (
	blockVersion = 1

	offHeadLen    = 4
	offCount      = 8
	offCRC        = 12
	offFirst      = 16
	offEndEntries = 32
	offEndBytes   = 40
	offChunks     = 48
	offParts      = 52
	offCheckpoint = 56
	fixedHead     = 64

	chunkEntry = 12
	// chunkTarget is where a chunk ends, raw bytes. Measured: s2 gains little beyond it, and reading one entry costs one chunk.
	chunkTarget = 128 << 10
	// maxEntryBytes bounds one entry, and with it what a reader must allocate for a chunk.
	maxEntryBytes = 32 << 20
	maxChunkRaw   = chunkTarget + maxEntryBytes
)

// castagnoli is the CRC32C polynomial's table: hardware does it.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// source is what a block is made of: a batch's events, or those of the blocks being merged.
type source struct {
	buf        []byte
	events     []messages.Event // those marked Drop are left out
	ids        []EntryID        // of the events that are kept
	parts      []int
	endEntries uint64
	startBytes uint64 // bytes ever appended before this block; or …
	endBytes   uint64 // … with it, where that is known already (a merge does not append)
	checkpoint []byte
}

// encoder makes blocks. Its buffers are kept from block to block: not safe for concurrent use.
type encoder struct {
	out     []byte
	scratch []byte
	kept    []int // indices of the events that are not dropped
}

// encode gives the block of src under key. It is valid until the next call.
func (e *encoder) encode(key []byte, src *source) ([]byte, error) {
	table := castagnoli()
	e.kept = e.kept[:0]
	for i := range src.events {
		if ev := &src.events[i]; !ev.Drop {
			if ev.Len > maxEntryBytes {
				return nil, fmt.Errorf("%w: an event has %d bytes; accepted: up to %d", ErrBadBound, ev.Len, maxEntryBytes)
			}
			e.kept = append(e.kept, i)
		}
	}
	count := len(e.kept)
	chunks := e.planChunks(src)

	b := append(e.out[:0], make([]byte, fixedHead)...)
	for _, i := range e.kept {
		b = binary.LittleEndian.AppendUint64(b, src.events[i].Fingerprint)
	}
	chunkTable := len(b)
	b = append(b, make([]byte, chunks*chunkEntry)...)
	for _, n := range src.parts {
		b = binary.AppendUvarint(b, uint64(n))
	}
	b = append(b, src.checkpoint...)
	last := src.ids[0]
	for _, id := range src.ids[1:] {
		b = binary.AppendUvarint(b, id.MS-last.MS)
		if id.MS == last.MS {
			b = binary.AppendUvarint(b, id.Seq-last.Seq)
		} else {
			b = binary.AppendUvarint(b, id.Seq)
		}
		last = id
	}
	for _, i := range e.kept {
		b = binary.AppendUvarint(b, uint64(src.events[i].Len))
	}
	headLen := len(b)

	for c, first := 0, 0; c < chunks; c++ {
		next := e.chunkEnd(src, first)
		raw := e.gatherChunk(src, first, next)
		b = slices.Grow(b, s2.MaxEncodedLen(len(raw)))
		comp := s2.Encode(b[len(b):cap(b)], raw)
		b = b[:len(b)+len(comp)]
		row := b[chunkTable+c*chunkEntry:]
		binary.LittleEndian.PutUint32(row, uint32(next-first))
		binary.LittleEndian.PutUint32(row[4:], uint32(len(comp)))
		binary.LittleEndian.PutUint32(row[8:], crc32.Checksum(comp, table))
		first = next
	}

	b[0] = blockVersion
	endBytes := src.endBytes
	if endBytes == 0 {
		endBytes = src.startBytes + uint64(len(b))
	}
	binary.LittleEndian.PutUint32(b[offHeadLen:], uint32(headLen))
	binary.LittleEndian.PutUint32(b[offCount:], uint32(count))
	binary.LittleEndian.PutUint64(b[offFirst:], src.ids[0].MS)
	binary.LittleEndian.PutUint64(b[offFirst+8:], src.ids[0].Seq)
	binary.LittleEndian.PutUint64(b[offEndEntries:], src.endEntries)
	binary.LittleEndian.PutUint64(b[offEndBytes:], endBytes)
	binary.LittleEndian.PutUint32(b[offChunks:], uint32(chunks))
	binary.LittleEndian.PutUint32(b[offParts:], uint32(len(src.parts)))
	binary.LittleEndian.PutUint32(b[offCheckpoint:], uint32(len(src.checkpoint)))
	binary.LittleEndian.PutUint32(b[offCRC:], headCRC(key, b[:headLen]))
	e.out = b
	return b, nil
}

// planChunks counts the chunks the kept entries make.
func (e *encoder) planChunks(src *source) int {
	chunks := 0
	for next := 0; next < len(e.kept); chunks++ {
		next = e.chunkEnd(src, next)
	}
	return chunks
}

// chunkEnd is the kept entry after the chunk that begins with kept entry first.
func (e *encoder) chunkEnd(src *source, first int) int {
	size, next := 0, first
	for next < len(e.kept) && size < chunkTarget {
		size += int(src.events[e.kept[next]].Len)
		next++
	}
	return next
}

// gatherChunk is the raw bytes of kept entries first to next. Where no event was dropped they lie in the source's buffer as they
// are; only where one was must they be copied together.
func (e *encoder) gatherChunk(src *source, first, next int) []byte {
	start := src.events[e.kept[first]].Off
	end := start
	for _, i := range e.kept[first:next] {
		ev := &src.events[i]
		if ev.Off != end {
			return e.copyChunk(src, first, next)
		}
		end += ev.Len
	}
	return src.buf[start:end]
}

func (e *encoder) copyChunk(src *source, first, next int) []byte {
	e.scratch = e.scratch[:0]
	for _, i := range e.kept[first:next] {
		ev := &src.events[i]
		e.scratch = append(e.scratch, src.buf[ev.Off:ev.Off+ev.Len]...)
	}
	return e.scratch
}

// headCRC covers the key as well, so that a block found under another's key is noticed.
func headCRC(key, head []byte) uint32 {
	table := castagnoli()
	crc := crc32.Checksum(key, table)
	crc = crc32.Update(crc, table, head[:offCRC])
	return crc32.Update(crc, table, head[offCRC+4:])
}

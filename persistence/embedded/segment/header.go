package segment

import (
	"fmt"
	"io"
)

// HeaderLen is the length of a header. The first block begins there.
const HeaderLen = 512

const (
	headerMagic   = "tmpstseg"
	layoutVersion = 1
	maxName       = 64
)

// Position is a point between two blocks of a stream.
type Position struct {
	Number  uint64  // of the block before it
	Link    uint64  // of the block before it
	Last    EntryID // the newest entry before it
	Entries uint64  // ever appended before it
	Bytes   uint64  // ever appended before it
}

// Header is the beginning of a segment.
type Header struct {
	Stream string
	Number uint64
	Start  Position
	First  EntryID // its first entry; zero if the first append had none
	Packed uint32  // how often it was packed
}

// AppendHeader appends h to dst.
func AppendHeader(dst []byte, h *Header) []byte {
	at := len(dst)
	dst = append(dst, make([]byte, HeaderLen)...)
	b := dst[at:]
	copy(b, headerMagic)
	put32(b[8:], layoutVersion)
	put64(b[16:], h.Number)
	put64(b[24:], h.Start.Entries)
	put64(b[32:], h.Start.Bytes)
	put64(b[40:], h.Start.Number)
	put64(b[48:], h.Start.Link)
	putID(b[56:], h.Start.Last)
	putID(b[72:], h.First)
	put32(b[88:], h.Packed)
	b[92] = byte(len(h.Stream))
	copy(b[93:93+maxName], h.Stream)
	put32(b[12:], checksum(b[16:]))
	return dst
}

// ReadHeader reads the header at the beginning of b. The error matches ErrDamaged, or ErrVersion if
// the header is whole and has another version.
func ReadHeader(b []byte) (h Header, err error) {
	switch {
	case len(b) < HeaderLen:
		return h, damaged("%d bytes are no header", len(b))
	case string(b[:8]) != headerMagic:
		return h, damaged("it does not begin as a segment does")
	case checksum(b[16:HeaderLen]) != u32(b[12:]):
		return h, damaged("the header's checksum does not match")
	case u32(b[8:]) != layoutVersion:
		return h, fmt.Errorf("%w %d; this version reads %d", ErrVersion, u32(b[8:]), layoutVersion)
	case b[92] > maxName:
		return h, damaged("a name of %d bytes", b[92])
	}
	return Header{
		Stream: string(b[93 : 93+int(b[92])]),
		Number: u64(b[16:]),
		Start:  Position{Number: u64(b[40:]), Link: u64(b[48:]), Last: getID(b[56:]), Entries: u64(b[24:]), Bytes: u64(b[32:])},
		First:  getID(b[72:]),
		Packed: u32(b[88:]),
	}, nil
}

// Unused reports whether b, the beginning of a file, is that of a file whose space was allocated
// and in which nothing was written yet.
func Unused(b []byte) bool { return allZero(b) }

// BeginsSegment reports whether a file without a whole header begins like a segment: then its first
// append was interrupted.
func BeginsSegment(r io.ReaderAt) bool {
	var b [8]byte
	return readFull(r, b[:], 0) == nil && string(b[:]) == headerMagic
}

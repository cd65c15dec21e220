package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"tempestd/messages"
)

// EntryID is the ID of an entry in a stream.
type EntryID = messages.EntryID

// ErrDamaged is matched by every fault of a segment's bytes.
var ErrDamaged = errors.New("damaged")

// ErrVersion is matched by the error for a segment with another layout.
var ErrVersion = errors.New("unknown layout version")

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrDamaged}, args...)...)
}

// castagnoli is the table of the CRC32C polynomial, which hardware computes.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli()) }

func u32(b []byte) uint32        { return binary.LittleEndian.Uint32(b) }
func u64(b []byte) uint64        { return binary.LittleEndian.Uint64(b) }
func put32(b []byte, v uint32)   { binary.LittleEndian.PutUint32(b, v) }
func put64(b []byte, v uint64)   { binary.LittleEndian.PutUint64(b, v) }
func getID(b []byte) EntryID     { return EntryID{MS: u64(b), Seq: u64(b[8:])} }
func putID(b []byte, id EntryID) { put64(b, id.MS); put64(b[8:], id.Seq) }
func align(off int64) int64      { return (off + 7) &^ 7 }
func allZero(b []byte) (yes bool) {
	return len(b) == 0 || b[0] == 0 && string(b[:len(b)-1]) == string(b[1:])
}

// reader takes numbers and bytes off a slice. When something is missing, it sets failed and returns
// zeros.
type reader struct {
	b      []byte
	failed bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.failed, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.failed, r.b = true, nil
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

package jss

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

const (
	// HeaderSize is the length of a segment's header, bytes.
	HeaderSize = 256
	// Version is the one layout that is known.
	Version = 1

	magic = "jss0"
)

var (
	// ErrCorrupt is the kind of every error about bytes that contradict themselves or their
	// checksum.
	ErrCorrupt = errors.New("corrupt archive segment")
	// ErrUnknown is the kind of every error about a version or an event kind that is newer than
	// this package.
	ErrUnknown = errors.New("unknown to this version")
	// ErrTooLarge is the kind of every error about a block that is larger than the reader takes.
	ErrTooLarge = errors.New("larger than what is accepted")
)

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrCorrupt}, args...)...)
}

// Header is what a segment says of itself. Times are Unix µs by the server's clock.
type Header struct {
	Checksum       uint64 // see Verify
	Blocks         uint32
	Events         uint32
	Accounts       uint32
	MinSeq, MaxSeq uint64
	MinWitnessedUS int64
	MaxWitnessedUS int64

	// Where the parts of the footer begin; each ends where the next one does.
	IndexOffset           uint64
	AccountBloomOffset    uint64
	BlockBloomOffset      uint64
	CollectionIndexOffset uint64
}

// ParseHeader reads the first HeaderSize bytes of a segment. It does not check the checksum, for
// which the footer is needed.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderSize {
		return Header{}, corrupt("a header of %d bytes, want %d", len(b), HeaderSize)
	}
	if string(b[:4]) != magic {
		return Header{}, corrupt("it begins with %q, want %q", b[:4], magic)
	}
	le := binary.LittleEndian
	if v := le.Uint16(b[12:]); v != Version {
		return Header{}, fmt.Errorf("archive segment of version %d: %w, which reads version %d", v, ErrUnknown, Version)
	}
	h := Header{
		Checksum:              le.Uint64(b[4:]),
		Blocks:                le.Uint32(b[14:]),
		Events:                le.Uint32(b[18:]),
		Accounts:              le.Uint32(b[22:]),
		MinSeq:                le.Uint64(b[26:]),
		MaxSeq:                le.Uint64(b[34:]),
		MinWitnessedUS:        int64(le.Uint64(b[42:])),
		MaxWitnessedUS:        int64(le.Uint64(b[50:])),
		IndexOffset:           le.Uint64(b[58:]),
		AccountBloomOffset:    le.Uint64(b[66:]),
		BlockBloomOffset:      le.Uint64(b[74:]),
		CollectionIndexOffset: le.Uint64(b[82:]),
	}
	switch index := le.Uint64(b[90:]); {
	case h.Checksum == 0:
		return Header{}, corrupt("it is not sealed")
	case index != h.IndexOffset:
		return Header{}, corrupt("the footer begins at byte %d and the block index at %d", h.IndexOffset, index)
	case h.IndexOffset < HeaderSize:
		return Header{}, corrupt("the footer begins within the header, at byte %d", h.IndexOffset)
	case h.AccountBloomOffset < h.IndexOffset || h.AccountBloomOffset-h.IndexOffset != uint64(h.Blocks)*indexEntrySize:
		return Header{}, corrupt("the index of %d blocks lies between bytes %d and %d", h.Blocks, h.IndexOffset, h.AccountBloomOffset)
	case h.BlockBloomOffset < h.AccountBloomOffset || h.CollectionIndexOffset < h.BlockBloomOffset:
		return Header{}, corrupt("the parts of its footer are out of order")
	case h.MinSeq > h.MaxSeq:
		return Header{}, corrupt("its sequence numbers go from %d to %d", h.MinSeq, h.MaxSeq)
	}
	return h, nil
}

const (
	namePrefix = "seg_"
	nameSuffix = ".jss"
	nameDigits = 10
)

// Name is the file name of the segment with an index: "seg_", ten digits of base 36, ".jss".
// Names sort as their segments do.
func Name(index uint64) string {
	digits := strconv.FormatUint(index, 36)
	return namePrefix + strings.Repeat("0", max(0, nameDigits-len(digits))) + digits + nameSuffix
}

// ParseName is the index of a segment by its file name.
func ParseName(name string) (uint64, error) {
	digits, ok := strings.CutSuffix(strings.TrimPrefix(name, namePrefix), nameSuffix)
	if ok && len(digits) == nameDigits {
		if index, err := strconv.ParseUint(digits, 36, 64); err == nil && Name(index) == name {
			return index, nil
		}
	}
	return 0, fmt.Errorf("%.40q is no segment's name: want %q, %d digits of base 36, %q", name, namePrefix, nameDigits, nameSuffix)
}

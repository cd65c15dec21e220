package jss

import (
	"encoding/binary"
	"fmt"

	"github.com/zeebo/xxh3"
)

const (
	indexEntrySize = 52
	lengthSize     = 8 // the length in front of each frame
)

// BlockInfo is what the index says of a block.
type BlockInfo struct {
	Offset         uint64 // of the length in front of the frame, in the file
	Size           uint32 // of the frame, bytes
	RawSize        uint32 // of the block
	Events         uint32
	MinSeq, MaxSeq uint64
	MinWitnessedUS int64
	MaxWitnessedUS int64
}

// FrameOffset is where the block's frame begins in the file.
func (i *BlockInfo) FrameOffset() uint64 { return i.Offset + lengthSize }

// ParseIndex reads the block index of the segment with header h: the bytes from h.IndexOffset up to
// h.AccountBloomOffset. The blocks must lie one after another, without space between them.
func ParseIndex(h *Header, b []byte) ([]BlockInfo, error) {
	if uint64(len(b)) != uint64(h.Blocks)*indexEntrySize {
		return nil, corrupt("an index of %d bytes for %d blocks, want %d", len(b), h.Blocks, uint64(h.Blocks)*indexEntrySize)
	}
	le := binary.LittleEndian
	infos := make([]BlockInfo, h.Blocks)
	at, events := uint64(HeaderSize), uint64(0)
	for n := range infos {
		e := b[n*indexEntrySize:]
		infos[n] = BlockInfo{
			Offset:         le.Uint64(e),
			Size:           le.Uint32(e[8:]),
			RawSize:        le.Uint32(e[12:]),
			Events:         le.Uint32(e[16:]),
			MinSeq:         le.Uint64(e[20:]),
			MaxSeq:         le.Uint64(e[28:]),
			MinWitnessedUS: int64(le.Uint64(e[36:])),
			MaxWitnessedUS: int64(le.Uint64(e[44:])),
		}
		i := &infos[n]
		switch {
		case i.Offset != at:
			return nil, corrupt("block %d begins at byte %d, the one before it ends at %d", n, i.Offset, at)
		case i.Events > MaxRows:
			return nil, corrupt("block %d has %d events, more than %d", n, i.Events, MaxRows)
		case i.Events > 0 && (i.MinSeq > i.MaxSeq || i.MinSeq < h.MinSeq || i.MaxSeq > h.MaxSeq):
			return nil, corrupt("block %d has the sequence numbers %d to %d, its segment %d to %d", n, i.MinSeq, i.MaxSeq, h.MinSeq, h.MaxSeq)
		}
		at += lengthSize + uint64(i.Size)
		events += uint64(i.Events)
	}
	switch {
	case at != h.IndexOffset:
		return nil, corrupt("the blocks end at byte %d, the footer begins at %d", at, h.IndexOffset)
	case events != uint64(h.Events):
		return nil, corrupt("the blocks have %d events, the segment %d", events, h.Events)
	}
	return infos, nil
}

// Verify compares the checksum of a segment with its header and its footer, which are its first
// HeaderSize bytes and everything from the block index on.
func Verify(header, footer []byte) error {
	h, err := ParseHeader(header)
	if err != nil {
		return err
	}
	if sum := checksum(header, footer); sum != h.Checksum {
		return corrupt("header and footer have the checksum %s, the header says %s", ChecksumText(sum), ChecksumText(h.Checksum))
	}
	return nil
}

func checksum(header, footer []byte) uint64 {
	d := xxh3.New()
	d.Write(header[12:HeaderSize])
	d.Write(footer)
	return d.Sum64()
}

// ChecksumText is a checksum as plans and ETags spell it: 16 lower-case hexadecimal digits.
func ChecksumText(sum uint64) string { return fmt.Sprintf("%016x", sum) }

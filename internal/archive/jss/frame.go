package jss

import (
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// Decompressor unpacks frames. It is not safe for concurrent use.
type Decompressor struct {
	dec *zstd.Decoder
	max uint64
}

// NewDecompressor makes one that unpacks blocks of up to max bytes.
func NewDecompressor(max uint64) (*Decompressor, error) {
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(max))
	if err != nil {
		return nil, err
	}
	return &Decompressor{dec, max}, nil
}

// Close gives its memory back.
func (d *Decompressor) Close() { d.dec.Close() }

// Unpack unpacks one frame into buf, which is used from its beginning and grown if need be. A frame
// must have a checksum of its content, and nothing may follow it. Servers say how long the content
// is, but for short ones.
func (d *Decompressor) Unpack(buf, frame []byte) ([]byte, error) {
	var h zstd.Header
	if err := h.Decode(frame); err != nil {
		return buf, corrupt("a block's frame: %v", err)
	}
	switch {
	case h.Skippable || h.DictionaryID != 0:
		return buf, corrupt("a block's frame needs a dictionary, or is none")
	case !h.HasCheckSum:
		return buf, corrupt("a block's frame has no checksum")
	case frameSize(frame, h.HeaderSize) != len(frame):
		return buf, corrupt("a block of %d bytes is not one frame", len(frame))
	case h.HasFCS && h.FrameContentSize > d.max:
		return buf, fmt.Errorf("%w: a block of %d bytes, up to %d are taken", ErrTooLarge, h.FrameContentSize, d.max)
	case h.HasFCS && uint64(cap(buf)) < h.FrameContentSize:
		buf = make([]byte, 0, h.FrameContentSize)
	}
	out, err := d.dec.DecodeAll(frame, buf[:0])
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) {
		return buf, fmt.Errorf("%w: a block of more than the %d bytes that are taken", ErrTooLarge, d.max)
	}
	if err != nil {
		return buf, corrupt("a block's frame: %v", err)
	}
	return out, nil
}

// frameSize follows the blocks of a frame to its end, checksum included. It is -1 where there is
// none.
func frameSize(frame []byte, at int) int {
	for last := false; !last; {
		if len(frame)-at < 3 {
			return -1
		}
		h := int(frame[at]) | int(frame[at+1])<<8 | int(frame[at+2])<<16
		last = h&1 != 0
		size := h >> 3
		if h>>1&3 == 1 {
			size = 1 // one byte that is repeated
		}
		at += 3 + size
	}
	return at + 4
}

// ContentSize is the length of what a frame unpacks to, if the frame says it.
func ContentSize(frame []byte) (size uint64, known bool, err error) {
	var h zstd.Header
	if err := h.Decode(frame); err != nil {
		return 0, false, corrupt("a block's frame: %v", err)
	}
	return h.FrameContentSize, h.HasFCS, nil
}

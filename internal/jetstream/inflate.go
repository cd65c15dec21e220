package jetstream

import (
	"errors"
	"fmt"
	"slices"

	"github.com/klauspost/compress/zstd"

	"tempestd/internal/atproto"
)

// dictionary is a zstd dictionary.
type dictionary struct {
	id   uint32
	data []byte
}

// parseDictionary checks that the data is a dictionary, and finds its ID.
func parseDictionary(data []byte) (*dictionary, error) {
	d, err := zstd.InspectDictionary(data)
	if err != nil {
		return nil, fmt.Errorf("not a zstd dictionary: %w", err)
	}
	if d.ID() == 0 {
		return nil, errors.New("not a zstd dictionary: it has no ID")
	}
	return &dictionary{id: d.ID(), data: data}, nil
}

// CheckV1Dictionary says what is wrong with data that is meant for DialOptions.V1Dictionary; nil if
// nothing is.
func CheckV1Dictionary(data []byte) error {
	d, err := parseDictionary(data)
	if err == nil && d.id != atproto.DictionaryV1 {
		err = fmt.Errorf("a zstd dictionary with the ID %d; want the v1 servers' one, %d", d.id, atproto.DictionaryV1)
	}
	return err
}

// inflater decompresses a connection's messages. It is not safe for concurrent use.
type inflater struct {
	decoder    *zstd.Decoder
	dictionary []byte
	max        int // greatest size of a decompressed message, in bytes
}

func newInflater(d *dictionary, maxSize int64) (*inflater, error) {
	// With a concurrency of 1 the decoder decodes in the caller's goroutine and starts none. It
	// writes to the room that it is given and allocates none: a frame that lies about its window or
	// its size costs nothing.
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderDicts(d.data))
	if err != nil {
		return nil, err
	}
	return &inflater{decoder: decoder, dictionary: d.data, max: int(maxSize)}, nil
}

// errTooLarge is a message that is too large to be kept, as it came or decompressed.
var errTooLarge = errors.New("larger than max_message_size")

// packedRatio is the assumed ratio of decompressed to compressed size, for a message that does not
// say its size.
const packedRatio = 4

// minUnpacked is the least room, in bytes, for a message that did not fit the size that it said.
const minUnpacked = 4 << 10

// append decompresses a message to the end of dst. After an error dst is returned unchanged. An
// error other than errTooLarge says that the message cannot be decompressed.
func (z *inflater) append(dst, packed []byte) ([]byte, error) {
	size := packedRatio * len(packed)
	var h zstd.Header
	if h.Decode(packed) == nil && h.HasFCS {
		if h.FrameContentSize > uint64(z.max) {
			return dst, errTooLarge
		}
		size = int(h.FrameContentSize)
	}
	for {
		size = min(size, z.max)
		dst = slices.Grow(dst, size)
		// The decoder counts the bytes already in its destination against its limits, so it gets
		// the free room only.
		room := dst[len(dst):len(dst):cap(dst)]
		out, err := z.decoder.DecodeAll(packed, room)
		switch {
		case err == nil && len(out) <= z.max:
			return dst[:len(dst)+len(out)], nil
		case err == nil, errors.Is(err, zstd.ErrDecoderSizeExceeded) && size == z.max:
			return dst, errTooLarge
		case !errors.Is(err, zstd.ErrDecoderSizeExceeded):
			return dst, &unpackError{err}
		}
		size = max(2*size, 2*cap(room), minUnpacked) // the size that the message says may be a lie
	}
}

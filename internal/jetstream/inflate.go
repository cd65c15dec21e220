package jetstream

import (
	"errors"
	"fmt"
	"slices"

	"github.com/klauspost/compress/zstd"
)

// v1DictionaryID is the dictionary that v1 servers compress with. They do not give it out.
const v1DictionaryID = 1612007021

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

// CheckV1Dictionary says what is wrong with the contents of a file that is to be DialOptions.V1Dictionary.
func CheckV1Dictionary(data []byte) error {
	d, err := parseDictionary(data)
	if err == nil && d.id != v1DictionaryID {
		err = fmt.Errorf("a zstd dictionary with the ID %d; want the v1 servers' one, %d", d.id, v1DictionaryID)
	}
	return err
}

// inflater unpacks a connection's messages. It is not safe for concurrent use.
type inflater struct {
	decoder    *zstd.Decoder
	dictionary []byte
	max        int // bytes of an unpacked message
}

func newInflater(d *dictionary, maxSize int64) (*inflater, error) {
	// One decoder decodes in the caller's goroutine and starts none. It is given the room there is, and never makes its own: what a frame says about
	// its window and its size costs nothing.
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderDicts(d.data))
	if err != nil {
		return nil, err
	}
	return &inflater{decoder: decoder, dictionary: d.data, max: int(maxSize)}, nil
}

// errTooLarge is a message that is larger, as it is or unpacked, than is read.
var errTooLarge = errors.New("larger than max_message_size")

// packedRatio is how many times larger than packed a message is thought to be when it does not say so.
const packedRatio = 4

// minUnpacked is the least room, in bytes, for a message that did not fit in what it said it needs.
const minUnpacked = 4 << 10

// append unpacks a message to the end of dst. After an error dst is returned as it was. An error other than errTooLarge says that the message cannot be
// unpacked.
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
		// The decoder counts what is in its destination against its bounds, so it gets the room alone.
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
		size = max(2*size, 2*cap(room), minUnpacked) // what it says of its size may be a lie
	}
}

package mirror

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// compressor compresses a subscriber's messages with zstd: each binary message is one zstd frame.
// It is safe for concurrent use.
type compressor interface {
	compress(dst, text []byte) []byte
}

// dictionaryCompressor compresses with a dictionary that the subscriber has too.
type dictionaryCompressor struct {
	id   uint32
	sum  [sha256.Size]byte // of data
	data []byte
	enc  *zstd.Encoder
}

func (p *dictionaryCompressor) compress(dst, text []byte) []byte { return p.enc.EncodeAll(text, dst) }

// zstdWindow is how far back in a message the encoder looks for matches, in bytes. Hardly any
// message is longer.
const zstdWindow = 128 << 10

func newCompressor(dictionary []byte) (*dictionaryCompressor, error) {
	info, err := zstd.InspectDictionary(dictionary)
	if err != nil {
		return nil, fmt.Errorf("zstd dictionary: %w", err)
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderDict(dictionary), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(zstdWindow),
		zstd.WithEncoderConcurrency(runtime.GOMAXPROCS(0)))
	if err != nil {
		return nil, fmt.Errorf("zstd dictionary %d: %w", info.ID(), err)
	}
	return &dictionaryCompressor{id: info.ID(), data: dictionary, enc: enc}, nil
}

// rawCompressor serves v1 subscribers when their dictionary is not available. Each message is still
// a zstd frame, but of stored (raw) blocks: every decoder can read it, with any dictionary, and it
// is 12 bytes longer instead of shorter.
type rawCompressor struct{}

const (
	zstdMagic = 0xFD2FB528
	// singleSegment is a frame header descriptor: the size of the content follows in four bytes,
	// and there is no window, checksum or dictionary ID.
	singleSegment = 0xA0
	maxRawBlock   = 128 << 10
)

func (rawCompressor) compress(dst, text []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, zstdMagic)
	dst = append(dst, singleSegment)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(text))) // events have at most 32 MiB
	for {
		n := min(len(text), maxRawBlock)
		header := uint32(n) << 3 // type raw
		if n == len(text) {
			header |= 1 // the last block
		}
		dst = append(dst, byte(header), byte(header>>8), byte(header>>16))
		dst = append(dst, text[:n]...)
		if text = text[n:]; len(text) == 0 {
			return dst
		}
	}
}

// compressors are the compressors of the dictionaries in use.
type compressors struct {
	of func(stream string) (v1, v2 []byte) // nil for no dictionaries

	mu sync.Mutex
	// made is in the order of use, the last used at the end. An ID does not say which bytes a
	// dictionary has: an upstream can give any ID, that of another feed's dictionary too.
	made []*dictionaryCompressor
}

// maxDictionaries bounds the compressors that are kept. An upstream changes its dictionary rarely,
// and could do it often.
const maxDictionaries = 16

// v1 returns the compressor of a stream's v1 subscribers.
func (p *compressors) v1(stream string) (compressor, error) {
	if p.of != nil {
		if data, _ := p.of(stream); data != nil {
			return p.make(data)
		}
	}
	return rawCompressor{}, nil
}

// v2 returns the compressor of a stream's v2 subscribers, nil if no dictionary is available.
func (p *compressors) v2(stream string) (*dictionaryCompressor, error) {
	if p.of != nil {
		if _, data := p.of(stream); data != nil {
			return p.make(data)
		}
	}
	return nil, nil
}

func (p *compressors) make(data []byte) (*dictionaryCompressor, error) {
	sum := sha256.Sum256(data)
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.IndexFunc(p.made, func(d *dictionaryCompressor) bool { return d.sum == sum }); i >= 0 {
		made := p.made[i]
		p.made = append(slices.Delete(p.made, i, i+1), made)
		return made, nil
	}
	made, err := newCompressor(data)
	if err != nil {
		return nil, err
	}
	made.sum = sum
	if len(p.made) == maxDictionaries {
		p.made = slices.Delete(p.made, 0, 1) // its subscribers keep it
	}
	p.made = append(p.made, made)
	return made, nil
}

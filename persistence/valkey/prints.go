package valkey

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"unsafe"

	valkeygo "github.com/valkey-io/valkey-go"

	"tempestd/persistence"
)

// fingerprintPage is how many blocks are fetched at a time.
const fingerprintPage = 128

// Fingerprints implements persistence.Stream.
func (s *stream) Fingerprints(ctx context.Context, h persistence.Horizon, yield func(persistence.FingerprintBlock) bool) error {
	left := math.MaxInt
	if h.Entries > 0 {
		left = h.Entries
	}
	var oldest persistence.EntryID
	var prints []uint64
	for upper := "+"; ; {
		m, err := s.store.do(ctx, func(b valkeygo.Builder) valkeygo.Completed {
			return b.Xrevrange().Key(s.keys.blocks).End(upper).Start("-").Count(fingerprintPage).Build()
		})
		if err != nil {
			return err
		}
		page, err := m.ToArray()
		if err != nil {
			return s.store.failure(ctx, err)
		}
		if len(page) == 0 {
			return ctx.Err()
		}
		for i := range page {
			b, raw, _, err := parseBlock(&page[i])
			if err != nil {
				return s.refuse(err)
			}
			if upper == "+" && i == 0 && h.Age > 0 {
				if age := uint64(h.Age.Milliseconds()); age < b.Last.MS {
					oldest = persistence.EntryID{MS: b.Last.MS - age}
				}
			}
			if left <= 0 || b.Last.Compare(oldest) < 0 {
				return nil
			}
			prints = prints[:0]
			for ; len(raw) >= 8; raw = raw[8:] {
				prints = append(prints, binary.LittleEndian.Uint64(raw))
			}
			left -= len(prints)
			b.Fingerprints = prints
			if !yield(b) {
				return nil
			}
			upper = "(" + b.Last.String()
		}
	}
}

// parseBlock parses an entry of the blocks stream. It returns the block, its raw fingerprints,
// which alias the reply, and the size of its entries.
func parseBlock(m *valkeygo.ValkeyMessage) (b persistence.FingerprintBlock, raw []byte, size int64, err error) {
	id, fields, err := streamEntry(m)
	if err != nil {
		return b, nil, 0, err
	}
	b.Last = id
	r := &reading{what: "block " + id.String(), rest: fields}
	entries := int64(-1)
	for r.more() {
		switch name := r.text(); name {
		case "f":
			b.First = r.id()
		case "p":
			prints := r.text()
			raw = unsafe.Slice(unsafe.StringData(prints), len(prints))
		case "b":
			size = r.number()
		case "n":
			entries = r.number()
		default:
			r.text()
		}
	}
	if err := r.end(); err != nil {
		return b, nil, 0, err
	}
	if b.First.IsZero() || int64(len(raw)) != 8*entries {
		return b, nil, 0, fmt.Errorf("block %s tells of %d entries from %s on, and has %d bytes of fingerprints", id, entries, b.First, len(raw))
	}
	return b, raw, size, nil
}

// streamEntry splits an entry of a native stream into its ID and its fields.
func streamEntry(m *valkeygo.ValkeyMessage) (id persistence.EntryID, fields []valkeygo.ValkeyMessage, err error) {
	pair, err := m.ToArray()
	if err != nil {
		return id, nil, err
	}
	if len(pair) != 2 {
		return id, nil, fmt.Errorf("an entry of a stream has %d parts", len(pair))
	}
	text, err := pair[0].ToString()
	if err != nil {
		return id, nil, err
	}
	if err := id.UnmarshalText([]byte(text)); err != nil {
		return id, nil, err
	}
	fields, err = pair[1].ToArray()
	return id, fields, err
}

// A replay goes forwards, so Entry also fetches the blocks after the requested one: up to this many
// blocks, entries and bytes.
const (
	aheadBlocks  = 64
	aheadEntries = 2048
	aheadBytes   = 2 << 20
)

// loadedBlock is a block that Entry has loaded.
type loadedBlock struct {
	first, last persistence.EntryID
	frames      []persistence.Frame
}

// Entry implements persistence.Stream.
func (s *stream) Entry(ctx context.Context, last persistence.EntryID, i int) ([]byte, error) {
	at, found := s.loaded(last)
	if !found {
		if err := s.loadBlocks(ctx, last); err != nil {
			return nil, err
		}
		if at, found = s.loaded(last); !found {
			return nil, fmt.Errorf("%w: block %s in stream %s", persistence.ErrNotFound, last, s.name)
		}
	}
	frames := s.blocks[at].frames
	if i < 0 || i >= len(frames) {
		return nil, fmt.Errorf("%w: entry %d of block %s in stream %s", persistence.ErrNotFound, i, last, s.name)
	}
	return frames[i].Event, nil
}

func (s *stream) loaded(last persistence.EntryID) (at int, found bool) {
	return slices.BinarySearchFunc(s.blocks, last, func(b loadedBlock, last persistence.EntryID) int { return b.last.Compare(last) })
}

// loadBlocks fetches the entries of the block that ends with last, and of the blocks after it.
func (s *stream) loadBlocks(ctx context.Context, last persistence.EntryID) error {
	s.blocks = s.blocks[:0]
	m, err := s.store.do(ctx, func(b valkeygo.Builder) valkeygo.Completed {
		return b.Xrange().Key(s.keys.blocks).Start(last.String()).End("+").Count(aheadBlocks).Build()
	})
	if err != nil {
		return err
	}
	found, err := m.ToArray()
	if err != nil {
		return s.store.failure(ctx, err)
	}
	entries, size := 0, int64(0)
	for i := range found {
		block, prints, bytes, err := parseBlock(&found[i])
		if err != nil {
			s.blocks = s.blocks[:0]
			return s.refuse(err)
		}
		entries, size = entries+len(prints)/8, size+bytes
		if i > 0 && (entries > aheadEntries || size > aheadBytes) {
			break
		}
		s.blocks = append(s.blocks, loadedBlock{first: block.First, last: block.Last})
	}
	if len(s.blocks) == 0 || s.blocks[0].last != last {
		s.blocks = s.blocks[:0]
		return nil
	}
	end := s.blocks[len(s.blocks)-1].last
	if m, err = s.store.do(ctx, func(b valkeygo.Builder) valkeygo.Completed {
		return b.Xrange().Key(s.keys.stream).Start(s.blocks[0].first.String()).End(end.String()).Build()
	}); err != nil {
		s.blocks = s.blocks[:0]
		return err
	}
	frames, err := framesOfReply(&m)
	if err != nil {
		s.blocks = s.blocks[:0]
		return s.refuse(err)
	}
	for i := range s.blocks {
		for len(frames) > 0 && frames[0].ID.Compare(s.blocks[i].first) < 0 {
			frames = frames[1:] // of another client, between two appends
		}
		n := 0
		for n < len(frames) && frames[n].ID.Compare(s.blocks[i].last) <= 0 {
			n++
		}
		s.blocks[i].frames, frames = frames[:n:n], frames[n:]
	}
	return nil
}

package valkey

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

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
	var fingerprints []uint64
	for upper := "+"; ; {
		m, err := s.store.do(ctx, func(b valkeygo.Builder) valkeygo.Completed {
			return b.Xrevrange().Key(s.keys.blocks).End(upper).Start("-").Count(fingerprintPage).Build()
		})
		if err != nil {
			return err
		}
		before := upper
		for b, err := range decodeBlocks(m) {
			if err != nil {
				return s.refuse(err)
			}
			if upper == "+" && h.Age > 0 { // the newest block
				if age := uint64(h.Age.Milliseconds()); age < b.last.MS {
					oldest = persistence.EntryID{MS: b.last.MS - age}
				}
			}
			if left <= 0 || b.last.Compare(oldest) < 0 {
				return nil
			}
			fingerprints = fingerprints[:0]
			for f := range slices.Chunk(b.fingerprints, 8) {
				fingerprints = append(fingerprints, binary.LittleEndian.Uint64(f))
			}
			left -= len(fingerprints)
			if !yield(persistence.FingerprintBlock{First: b.first, Last: b.last, Fingerprints: fingerprints}) {
				return nil
			}
			upper = "(" + b.last.String()
		}
		if upper == before { // there are no more blocks
			return ctx.Err()
		}
	}
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
	entries     []persistence.Entry
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
	entries := s.blocks[at].entries
	if i < 0 || i >= len(entries) {
		return nil, fmt.Errorf("%w: entry %d of block %s in stream %s", persistence.ErrNotFound, i, last, s.name)
	}
	return entries[i].Event, nil
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
	var entries, bytes int64
	for b, err := range decodeBlocks(m) {
		if err != nil {
			s.blocks = s.blocks[:0]
			return s.refuse(err)
		}
		entries, bytes = entries+b.entries, bytes+b.bytes
		if len(s.blocks) > 0 && (entries > aheadEntries || bytes > aheadBytes) {
			break
		}
		s.blocks = append(s.blocks, loadedBlock{first: b.first, last: b.last})
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
	rest, err := decodeEntries(m)
	if err != nil {
		s.blocks = s.blocks[:0]
		return s.refuse(err)
	}
	for i := range s.blocks {
		for len(rest) > 0 && rest[0].ID.Compare(s.blocks[i].first) < 0 {
			rest = rest[1:] // of another client, between two appends
		}
		n := 0
		for n < len(rest) && rest[n].ID.Compare(s.blocks[i].last) <= 0 {
			n++
		}
		s.blocks[i].entries, rest = rest[:n:n], rest[n:]
	}
	return nil
}

package persistence

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"unsafe"

	"github.com/valkey-io/valkey-go"
)

// fingerprintPage is how many blocks are fetched at a time.
const fingerprintPage = 128

// Fingerprints implements Stream.
func (s *valkeyStream) Fingerprints(ctx context.Context, h Horizon, yield func(FingerprintBlock) bool) error {
	left := math.MaxInt
	if h.Entries > 0 {
		left = h.Entries
	}
	var oldest EntryID
	var prints []uint64
	for upper := "+"; ; {
		m, err := s.store.do(ctx, func(b valkey.Builder) valkey.Completed {
			return b.Xrevrange().Key(s.keys.blocks).End(upper).Start("-").Count(fingerprintPage).Build()
		})
		if err != nil {
			return err
		}
		page, err := m.ToArray()
		if err != nil || len(page) == 0 {
			return ctx.Err()
		}
		for i := range page {
			b, raw, err := parseBlock(&page[i])
			if err != nil {
				return fmt.Errorf("stream %s: %w", s.name, err)
			}
			if upper == "+" && i == 0 && h.Age > 0 {
				if age := uint64(h.Age.Milliseconds()); age < b.Last.MS {
					oldest = EntryID{MS: b.Last.MS - age}
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

// parseBlock reads an entry of the blocks stream. The fingerprints alias it.
func parseBlock(m *valkey.ValkeyMessage) (b FingerprintBlock, raw []byte, err error) {
	id, fields, err := streamEntry(m)
	if err != nil {
		return b, nil, err
	}
	b.Last = id
	for i := 0; i+1 < len(fields); i += 2 {
		name, _ := fields[i].ToString()
		value, _ := fields[i+1].ToString()
		switch name {
		case "f":
			if first := entryID(value); first != nil {
				b.First = *first
			}
		case "p":
			raw = unsafe.Slice(unsafe.StringData(value), len(value))
		}
	}
	return b, raw, nil
}

// streamEntry takes an entry of a native stream apart.
func streamEntry(m *valkey.ValkeyMessage) (id EntryID, fields []valkey.ValkeyMessage, err error) {
	pair, err := m.ToArray()
	if err != nil || len(pair) != 2 {
		return id, nil, fmt.Errorf("an entry of a stream has %d parts: %v", len(pair), err)
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

// frameOf is an entry as readers get it. The bytes are the reply's own.
func frameOf(m *valkey.ValkeyMessage) (Frame, error) {
	id, fields, err := streamEntry(m)
	if err != nil {
		return Frame{}, err
	}
	for i := 0; i+1 < len(fields); i += 2 {
		if name, _ := fields[i].ToString(); name == "json" {
			event, err := fields[i+1].ToString()
			return Frame{ID: id, Event: unsafe.Slice(unsafe.StringData(event), len(event))}, err
		}
	}
	return Frame{}, fmt.Errorf("entry %s has no field json", id)
}

// valkeyEntry is the block that Entry looked into last.
type valkeyEntry struct {
	last   EntryID
	frames []Frame
}

// Entry implements Stream.
func (s *valkeyStream) Entry(ctx context.Context, last EntryID, i int) ([]byte, error) {
	e := &s.entry
	if e.last != last || e.frames == nil {
		if err := s.loadBlock(ctx, last); err != nil {
			return nil, err
		}
	}
	if i < 0 || i >= len(e.frames) {
		return nil, fmt.Errorf("%w: entry %d of block %s in stream %s", ErrNotFound, i, last, s.name)
	}
	return e.frames[i].Event, nil
}

// loadBlock fetches the entries of the block that ends with last.
func (s *valkeyStream) loadBlock(ctx context.Context, last EntryID) error {
	s.entry = valkeyEntry{}
	id := last.String()
	m, err := s.store.do(ctx, func(b valkey.Builder) valkey.Completed {
		return b.Xrange().Key(s.keys.blocks).Start(id).End(id).Build()
	})
	if err != nil {
		return err
	}
	found, err := m.ToArray()
	if err != nil || len(found) == 0 {
		return fmt.Errorf("%w: block %s in stream %s", ErrNotFound, last, s.name)
	}
	block, _, err := parseBlock(&found[0])
	if err != nil {
		return fmt.Errorf("stream %s: %w", s.name, err)
	}
	if m, err = s.store.do(ctx, func(b valkey.Builder) valkey.Completed {
		return b.Xrange().Key(s.keys.stream).Start(block.First.String()).End(id).Build()
	}); err != nil {
		return err
	}
	frames, err := framesOfReply(&m)
	if err != nil {
		return fmt.Errorf("stream %s: %w", s.name, err)
	}
	s.entry = valkeyEntry{last: last, frames: frames}
	return nil
}

// framesOfReply are the entries of an XRANGE's answer.
func framesOfReply(m *valkey.ValkeyMessage) ([]Frame, error) {
	array, err := m.ToArray()
	if err != nil {
		return nil, err
	}
	frames := make([]Frame, len(array))
	for i := range array {
		if frames[i], err = frameOf(&array[i]); err != nil {
			return nil, err
		}
	}
	return frames, nil
}

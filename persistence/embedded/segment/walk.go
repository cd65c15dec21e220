package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
)

// Walk is the result of going through a segment from block to block.
type Walk struct {
	Rows         []Row
	Off          int64    // where the last whole append ends
	End          Position // the position there
	MinUS, MaxUS int64

	// The block that ends the last append. State.HeadLen is 0 if there is none.
	State      Fixed
	StateOff   int64
	Checkpoint []byte
	Reason     []byte

	// Fault says why the walk ended before the segment's last block; nil if zeros or a footer
	// follow.
	Fault error
	// Footer says that a footer begins at Off.
	Footer bool
}

// Walker goes through segments. It keeps its buffers and is not safe for concurrent use.
type Walker struct {
	head   Head
	window window
	found  []byte // the buffer of Find
}

// New returns a walk that begins at the position in the header.
func New(h *Header) *Walk { return &Walk{Off: HeaderLen, End: h.Start} }

// Go continues the walk w through r, which has size bytes. It calls visit, which may be nil, for
// each block. An error of visit that matches ErrDamaged makes the block a fault; any other error of
// visit is returned. Errors of r are returned, and faults of the bytes are in w.Fault. packed
// allows missing blocks without entries.
func (k *Walker) Go(r io.ReaderAt, size int64, w *Walk, packed bool, visit func(off int64, h *Head) error) error {
	k.window.reset(r, size)
	w.Fault, w.Footer = nil, false
	off, end, first := w.Off, w.End, len(w.Rows)
	low, high := w.MinUS, w.MaxUS
	for {
		h, err := k.at(off)
		switch {
		case err == nil:
			err = h.follows(&end, packed)
			if err == nil && visit != nil {
				err = visit(off, h)
			}
		case errors.Is(err, errZeros):
			if off != w.Off {
				w.Fault = damaged("an append is not whole")
			}
			w.Rows = w.Rows[:first]
			return nil
		case errors.Is(err, errFooter):
			w.Footer = off == w.Off
			if !w.Footer {
				w.Fault = damaged("an append is not whole")
			}
			w.Rows = w.Rows[:first]
			return nil
		}
		if err != nil {
			w.Rows = w.Rows[:first]
			if errors.Is(err, ErrDamaged) {
				w.Fault = err
				return nil
			}
			return err
		}
		if h.Count > 0 {
			w.Rows = append(w.Rows, h.Row(off))
			if low == 0 && high == 0 {
				low, high = h.MinUS, h.MaxUS
			}
			low, high = min(low, h.MinUS), max(high, h.MaxUS)
		}
		end = h.End
		if !h.More {
			w.State, w.StateOff = h.Fixed, off
			w.Checkpoint, w.Reason = slices.Clone(h.Checkpoint), slices.Clone(h.Reason)
			w.Off, w.End, first = off+h.Len(), end, len(w.Rows)
			w.MinUS, w.MaxUS = low, high
		}
		off += h.Len()
	}
}

// Row returns the footer's row of the block, which begins at off.
func (h *Head) Row(off int64) Row {
	return Row{Off: off, HeadLen: uint32(h.HeadLen), BodyLen: uint32(h.BodyLen), First: h.First, Last: h.End.Last,
		EndEntries: h.End.Entries, EndBytes: h.End.Bytes, Count: uint32(h.Count)}
}

// follows returns the reason why a block cannot be the next one at a position.
func (h *Head) follows(at *Position, packed bool) error {
	switch {
	case h.End.Number != at.Number+1 && (!packed || h.End.Number <= at.Number):
		return damaged("block %d follows block %d", h.End.Number, at.Number)
	case h.Prev != at.Link:
		return damaged("block %d does not follow the one before it", h.End.Number)
	case h.Start() != at.Entries:
		return damaged("block %d begins after %d entries, %d were appended", h.End.Number, h.Start(), at.Entries)
	case h.Count > 0 && h.First.Compare(at.Last) <= 0 || h.Count == 0 && h.End.Last != at.Last:
		return damaged("block %d begins with %s after %s", h.End.Number, h.First, at.Last)
	}
	return h.CheckLink()
}

// Errors for the end of a segment's blocks.
var (
	errZeros  = errors.New("zeros")
	errFooter = errors.New("footer")
)

// at reads the head at off. The head is valid until the next call.
func (k *Walker) at(off int64) (*Head, error) {
	fixed, err := k.window.bytes(off, fixedLen)
	if err != nil && !errors.Is(err, ErrDamaged) {
		return nil, err
	}
	if err != nil || allZero(fixed) {
		rest, readErr := k.window.upTo(off, fixedLen)
		if readErr != nil {
			return nil, readErr
		}
		if allZero(rest) {
			return nil, errZeros
		}
		if len(rest) >= 4 && u32(rest) == footerMagic {
			return nil, errFooter
		}
		return nil, err
	}
	if u32(fixed) == footerMagic {
		return nil, errFooter
	}
	f, err := fixedOf(fixed)
	if err != nil {
		return nil, err
	}
	if off+f.Len() > align(k.window.size) {
		return nil, damaged("a block of %d bytes, the file ends at %d", f.Len(), k.window.size)
	}
	head, err := k.window.bytes(off, f.HeadLen)
	if err != nil {
		return nil, err
	}
	if err := k.head.Decode(head); err != nil {
		return nil, err
	}
	return &k.head, nil
}

// Find looks for a whole block head from off on, to find blocks behind damage. It returns 0 if
// there is none. h is valid until the walker is used again.
func (k *Walker) Find(r io.ReaderAt, size, off int64) (at int64, h *Head, err error) {
	k.window.reset(r, size)
	var magic [4]byte
	binary.LittleEndian.PutUint32(magic[:], blockMagic)
	for off = align(off); off < size; off += int64(len(k.found)) - 8 {
		n := int(min(windowLen, size-off))
		k.found = slices.Grow(k.found[:0], n)[:n]
		if err := readFull(r, k.found, off); err != nil {
			return 0, nil, err
		}
		for at := 0; at+8 <= n; at += 8 {
			if string(k.found[at:at+4]) != string(magic[:]) {
				continue
			}
			h, err := k.at(off + int64(at))
			if err == nil {
				return off + int64(at), h, nil
			}
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, errZeros) && !errors.Is(err, errFooter) {
				return 0, nil, err
			}
		}
		if n < windowLen {
			break
		}
	}
	return 0, nil, nil
}

// LastByte returns the offset after the last byte from off on that is not zero; off if all are
// zero.
func (k *Walker) LastByte(r io.ReaderAt, size, off int64) (int64, error) {
	k.window.reset(r, size)
	last := off
	for at := off; at < size; {
		b, err := k.window.upTo(at, windowLen)
		if err != nil {
			return 0, err
		}
		if used := len(bytes.TrimRight(b, "\x00")); used > 0 {
			last = at + int64(used)
		}
		if len(b) == 0 {
			break
		}
		at += int64(len(b))
	}
	return last, nil
}

const windowLen = 256 << 10

// window reads ahead.
type window struct {
	r    io.ReaderAt
	size int64
	off  int64
	b    []byte
}

func (w *window) reset(r io.ReaderAt, size int64) { w.r, w.size, w.off, w.b = r, size, 0, w.b[:0] }

// bytes returns n bytes at off, valid until the next call.
func (w *window) bytes(off int64, n int) ([]byte, error) {
	if off+int64(n) > w.size {
		return nil, damaged("the file ends at %d", w.size)
	}
	if off < w.off || off+int64(n) > w.off+int64(len(w.b)) {
		want := int(min(int64(max(n, windowLen)), w.size-off))
		w.b = slices.Grow(w.b[:0], want)[:want]
		w.off = off
		if err := readFull(w.r, w.b, off); err != nil {
			w.b = w.b[:0]
			return nil, err
		}
	}
	return w.b[off-w.off : off-w.off+int64(n)], nil
}

// upTo returns up to n bytes at off, fewer at the end of the file.
func (w *window) upTo(off int64, n int) ([]byte, error) {
	return w.bytes(off, int(max(min(int64(n), w.size-off), 0)))
}

// BeginsBlock reports whether b, the bytes after the last whole append, begins like a block or a
// footer: then an append or the sealing was interrupted.
func BeginsBlock(b []byte) bool {
	return len(b) >= 4 && (u32(b) == blockMagic || u32(b) == footerMagic)
}

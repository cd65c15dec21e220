package embedded

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"tempestd/persistence"
	"tempestd/persistence/embedded/segment"
)

// inspection is the result of checking every byte of one segment's file.
type inspection struct {
	name   string // relative to the store's directory
	number uint64
	size   int64
	unused bool // its space was allocated, and nothing was written

	header    segment.Header
	headerErr error // the fault of the header; then header was made from the first block

	parts   []part
	end     segment.Position // after its last block, or as its trailer says
	ending  segment.Ending
	trailer *segment.Trailer // nil if there is no whole trailer
	footer  error            // the fault of the footer
	first   EntryID          // ID of its first entry; zero for none
	wasShut bool             // it was sealed, and its footer was damaged later
	torn    bool             // the bytes after its last block begin like a block
	damaged bool             // there is a finding
}

// part is a block, or a hole of lost entries.
type part struct {
	off, len int64
	head     segment.Fixed // of a block
	hole     bool
	from, to segment.Position // of a hole
	err      error            // why there is a hole, or the fault of a block without entries
	known    bool             // the footer says that the entries are lost
}

func (p *part) entries() uint64 { return p.to.Entries - p.from.Entries }

// inspector inspects segments.
type inspector struct {
	*segment.Inspector
	dec *segment.Decoder
}

// inspect checks a segment of size bytes. before is the end of the segment with the number before
// it, nil if there is none.
func (in *inspector) inspect(r io.ReaderAt, size int64, stream string, number uint64, before *segment.Position) (*inspection, error) {
	n := &inspection{number: number, size: size}
	b := make([]byte, min(size, segment.HeaderLen))
	if n.header, n.headerErr = readHeader(r, b); n.headerErr != nil && !errors.Is(n.headerErr, segment.ErrDamaged) && !errors.Is(n.headerErr, segment.ErrVersion) {
		return nil, n.headerErr
	}
	if n.headerErr == nil && (n.header.Stream != stream || n.header.Number != number) {
		n.headerErr = fmt.Errorf("%w: it is segment %d of stream %s", segment.ErrDamaged, n.header.Number, n.header.Stream)
	}
	if errors.Is(n.headerErr, segment.ErrVersion) {
		return nil, n.headerErr
	}
	var rows []segment.Row
	t, err := segment.ReadTrailer(r, size)
	if err == nil {
		n.trailer = &t
		rows, err = segment.ReadRows(r, &t)
	}
	if err != nil && !errors.Is(err, segment.ErrDamaged) {
		return nil, err
	}
	n.footer = err
	w := &partsWalk{n: n, rows: rows, before: before, started: n.headerErr == nil, at: n.header.Start}
	if n.ending, err = in.Each(r, size, w.visit); err != nil {
		return nil, err
	}
	w.finish()
	if n.headerErr != nil && len(n.parts) == 0 && n.ending.Used <= segment.HeaderLen && segment.Unused(b) {
		n.unused, n.headerErr = true, nil
	}
	if n.headerErr != nil && len(n.parts) == 0 {
		n.torn = segment.BeginsSegment(r)
		return n, nil
	}
	switch {
	case n.trailer != nil && n.footer == nil:
		n.footer = n.compareFooter(rows)
	case n.trailer == nil && n.ending.Footer:
		entries := slices.DeleteFunc(n.blocks(), func(p *part) bool { return p.head.Count == 0 })
		n.wasShut, err = segment.Sealed(r, size, n.ending.Off, len(entries))
	case n.trailer == nil && n.ending.Used > n.ending.Off:
		next := make([]byte, min(n.ending.Used-n.ending.Off, 4))
		err = readAt(r, next, n.ending.Off)
		n.torn = segment.BeginsBlock(next)
	}
	return n, err
}

// partsWalk makes parts of pieces.
type partsWalk struct {
	n       *inspection
	rows    []segment.Row
	before  *segment.Position
	started bool             // at is known
	at      segment.Position // after the last part
	bad     *part            // bytes that are no block, before the next piece
}

func (w *partsWalk) visit(p *segment.Piece) error {
	n := w.n
	if p.Head == nil {
		w.noBlock(p.Off, p.Len, p.Err)
		return nil
	}
	h := p.Head
	if !w.started {
		w.start(h, p.Off)
	}
	if h.Start() < w.at.Entries || h.End.Number <= w.at.Number {
		w.noBlock(p.Off, p.Len, fmt.Errorf("%w: block %d stands behind block %d", segment.ErrDamaged, h.End.Number, w.at.Number))
		return nil
	}
	w.passTo(h, p.Off)
	if h.Count > 0 && n.first.IsZero() {
		n.first = h.First
	}
	if p.Err != nil && h.Count > 0 {
		w.add(part{off: p.Off, len: p.Len, hole: true, from: w.at, to: h.End, err: p.Err, head: h.Fixed})
	} else {
		w.n.parts = append(w.n.parts, part{off: p.Off, len: p.Len, head: h.Fixed, err: p.Err})
	}
	w.at = h.End
	return nil
}

// start finds the start position from the first block if the header is damaged.
func (w *partsWalk) start(h *segment.Head, off int64) {
	w.started = true
	if w.before != nil && w.before.Entries <= h.Start() {
		w.at = *w.before
	} else {
		w.at = segment.Position{Number: h.End.Number - 1, Link: h.Prev, Last: h.First.Prev(), Entries: h.Start(), Bytes: h.End.Bytes}
		if h.Count == 0 {
			w.at.Last = h.End.Last
		} else {
			w.at.Bytes -= min(w.at.Bytes, uint64(h.HeadLen+h.BodyLen))
		}
	}
	w.n.header.Start, w.n.header.Packed = w.at, 0
	if len(h.Parts) > 0 {
		w.n.header.Packed = 1
	}
}

// noBlock records bytes that are no block.
func (w *partsWalk) noBlock(off, length int64, err error) {
	if w.bad == nil {
		w.bad = &part{off: off, err: err}
	}
	w.bad.len = off + length - w.bad.off
}

// passTo records the entries that are missing between the last part and the block h.
func (w *partsWalk) passTo(h *segment.Head, off int64) {
	at := &w.at
	follows := h.Prev == at.Link && h.Start() == at.Entries && (h.Count == 0 && h.End.Last == at.Last || h.Count > 0 && h.First.Compare(at.Last) > 0)
	// In a sealed segment blocks without entries may be missing: later blocks repeat their state.
	sealed := w.n.trailer != nil || w.n.header.Packed > 0
	if w.bad == nil && follows && (h.End.Number == at.Number+1 || sealed) {
		return
	}
	to := segment.Position{Number: h.End.Number - 1, Link: h.Prev, Last: h.First.Prev(), Entries: h.Start(), Bytes: at.Bytes}
	if h.Count == 0 {
		to.Last = h.End.Last
	} else if own := uint64(h.HeadLen + h.BodyLen); len(h.Parts) == 0 && h.End.Bytes >= at.Bytes+own {
		to.Bytes = h.End.Bytes - own
	}
	w.pass(to, off, fmt.Errorf("%w: block %d does not follow block %d", segment.ErrDamaged, h.End.Number, at.Number))
}

// pass adds a hole up to the position to. The hole begins at off in the file.
func (w *partsWalk) pass(to segment.Position, off int64, err error) {
	hole := part{off: off, hole: true, from: w.at, to: to, err: err}
	if w.bad != nil {
		hole.off, hole.len, hole.err = w.bad.off, w.bad.len, w.bad.err
		w.bad = nil
	}
	w.add(hole)
	w.at = to
}

// add adds a hole, or extends the hole before it.
func (w *partsWalk) add(hole part) {
	hole.known = w.known(&hole)
	parts := w.n.parts
	if i := len(parts) - 1; i >= 0 && parts[i].hole && parts[i].known == hole.known {
		last := &parts[i]
		last.to, last.len = hole.to, max(hole.off+hole.len-last.off, last.len)
		return
	}
	w.n.parts = append(parts, hole)
}

// known reports whether the rows of the footer have a hole at the same place.
func (w *partsWalk) known(hole *part) bool {
	if hole.to.Entries == hole.from.Entries {
		return w.n.trailer != nil && hole.len == 0
	}
	for at := hole.from.Entries; at < hole.to.Entries; {
		covered, before := false, w.n.header.Start.Entries
		for i := range w.rows {
			row := &w.rows[i]
			if row.Hole() && before <= at && at < row.EndEntries {
				at, covered = row.EndEntries, true
				break
			}
			before = row.EndEntries
		}
		if !covered {
			return false
		}
	}
	return true
}

// finish adds the entries that are missing at the segment's end.
func (w *partsWalk) finish() {
	n := w.n
	n.end = w.at
	if t := n.trailer; t != nil {
		if w.started && t.End.Entries > w.at.Entries {
			w.pass(t.End, n.ending.Off, fmt.Errorf("%w: its last blocks are not there", segment.ErrDamaged))
		}
		n.end = t.End
	}
}

// blocks returns the parts that can be read.
func (n *inspection) blocks() (blocks []*part) {
	for i := range n.parts {
		if !n.parts[i].hole {
			blocks = append(blocks, &n.parts[i])
		}
	}
	return blocks
}

// appendEnd returns the last block that ends an append; nil for none.
func (n *inspection) appendEnd() *part {
	for i := len(n.parts) - 1; i >= 0; i-- {
		if p := &n.parts[i]; !p.hole && !p.head.More {
			return p
		}
	}
	return nil
}

// compareFooter compares the footer with the blocks.
func (n *inspection) compareFooter(rows []segment.Row) error {
	at := make(map[int64]*part)
	for i := range n.parts {
		if p := &n.parts[i]; p.head.HeadLen > 0 && p.head.Count > 0 {
			at[p.off] = p
		}
	}
	var before *segment.Row
	for i := range rows {
		row := &rows[i]
		if before != nil && (row.First.Compare(before.Last) <= 0 || row.EndEntries < before.EndEntries) {
			return fmt.Errorf("%w: the footer's row %d is not in order", segment.ErrDamaged, i+1)
		}
		before = row
		if row.Hole() {
			continue
		}
		p := at[row.Off]
		switch {
		case p == nil && slices.ContainsFunc(n.parts, func(p part) bool { return p.hole && p.from.Entries <= row.Start() && row.EndEntries <= p.to.Entries }):
			// it is one of the damaged blocks
		case p == nil:
			return fmt.Errorf("%w: there is no block where the footer's row %d says", segment.ErrDamaged, i+1)
		case rowOf(p) != *row:
			return fmt.Errorf("%w: the footer's row %d is not that of its block", segment.ErrDamaged, i+1)
		default:
			delete(at, row.Off)
		}
	}
	for _, p := range at {
		if !p.hole {
			return fmt.Errorf("%w: the footer has no row for block %d", segment.ErrDamaged, p.head.End.Number)
		}
	}
	if last := n.appendEnd(); last != nil && n.trailer.StateOff != last.off && !slices.ContainsFunc(n.parts, func(p part) bool { return p.hole }) {
		return fmt.Errorf("%w: the footer names another block for the last one", segment.ErrDamaged)
	}
	return nil
}

func rowOf(p *part) segment.Row {
	h := &p.head
	return segment.Row{Off: p.off, HeadLen: uint32(h.HeadLen), BodyLen: uint32(h.BodyLen), First: h.First, Last: h.End.Last,
		EndEntries: h.End.Entries, EndBytes: h.End.Bytes, Count: uint32(h.Count)}
}

// lossOf returns the loss of the entries between two positions, nil for none.
func lossOf(from, to segment.Position) *persistence.Loss {
	if to.Entries <= from.Entries {
		return nil
	}
	first := from.Last.Next()
	return &persistence.Loss{First: first, Last: to.Last, Entries: to.Entries - from.Entries, From: timeOf(first), To: timeOf(to.Last)}
}

// timeOf is about the time when an entry was witnessed, from its ID.
func timeOf(id EntryID) time.Time {
	if id.IsZero() {
		return time.Time{}
	}
	return time.UnixMicro(id.TimeUS()).UTC()
}

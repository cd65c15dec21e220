package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"tempestd/persistence"
	"tempestd/persistence/embedded/disk"
	"tempestd/persistence/embedded/segment"
)

// scan reads the stream's files. expected is where the writer left the stream, nil when the process
// starts.
func (st *stream) scan(registered known, expected *segment.Position) (f *scanned, err error) {
	sc := &scanner{st: st, expected: expected, scanned: new(scanned)}
	defer func() {
		if err != nil {
			sc.closeFiles()
			f = nil
		}
	}()
	var fault error
	if sc.mark, fault, err = st.store.openMark(st.name); err != nil {
		if sc.mark == nil {
			sc.mark = new(mark)
		}
		sc.broken, err = err, nil
	}
	sc.known = sc.mark.known
	if err := sc.segments(); err != nil {
		return nil, err
	}
	if errors.Is(fault, fs.ErrNotExist) && len(sc.segs) > 0 && sc.broken == nil && expected == nil {
		st.reportDamaged(st.store.markPath(st.name), errors.New("the high-water mark is missing"))
	}
	if err := sc.findEnd(); err != nil {
		return nil, err
	}
	sc.continueCounts(registered)
	if err := sc.insertHoles(); err != nil {
		return nil, err
	}
	sc.compare(registered)
	return sc.scanned, nil
}

// scanner reads a stream's files.
type scanner struct {
	*scanned
	st       *stream
	expected *segment.Position
	known    known
	walker   segment.Walker
	beyond   EntryID // the newest entry that was seen after the end of the stream
	fault    error   // why the end is truncated
}

// segments lists the files and reads their headers.
func (sc *scanner) segments() error {
	files := sc.st.store.files
	names, err := files.List(sc.st.dir)
	if err != nil && !isGone(err) {
		return sc.st.store.failure(fmt.Errorf("list the segments: %w", err))
	}
	var numbers []uint64
	for _, name := range names {
		if n, ok := parseSegmentName(name); ok {
			numbers = append(numbers, n)
		} else if sc.expected == nil && isTemporary(name) {
			_ = files.Unlink(sc.st.dir + "/" + name) // an unfinished copy of a segment
		}
	}
	slices.Sort(numbers)
	for i, n := range numbers {
		g, err := sc.header(n, i == len(numbers)-1)
		if err != nil {
			return err
		}
		if g != nil {
			sc.segs = append(sc.segs, g)
		}
	}
	return nil
}

// header reads a segment's header. It returns nil for a file without data.
func (sc *scanner) header(number uint64, newest bool) (*segmentFile, error) {
	g := sc.st.newSegment(number)
	f, err := g.use()
	if errors.Is(err, disk.ErrNotRegular) {
		return nil, sc.setAside(g, err)
	}
	if err != nil {
		return nil, sc.st.store.failure(fmt.Errorf("open a segment: %w", err))
	}
	defer g.release()
	size, err := f.Size()
	if err != nil {
		return nil, sc.st.store.failure(err)
	}
	g.size.Store(size)
	b := make([]byte, min(size, segment.HeaderLen))
	h, err := readHeader(f, b)
	switch {
	case errors.Is(err, segment.ErrVersion):
		return nil, fmt.Errorf("%s: %w", sc.st.store.below(g.path), err)
	case err == nil && h.Stream == sc.st.name && h.Number == number:
		g.header = h
		return g, nil
	case err == nil:
		return nil, sc.setAside(g, fmt.Errorf("it is segment %d of stream %s", h.Number, h.Stream))
	case !errors.Is(err, segment.ErrDamaged):
		return nil, sc.st.store.failure(fmt.Errorf("read a segment: %w", err))
	}
	if segment.Unused(b) {
		used, err := sc.walker.LastByte(f, size, 0)
		if err != nil {
			return nil, sc.st.store.failure(err)
		}
		if used == 0 {
			return nil, sc.unused(g, newest)
		}
	}
	return sc.salvage(g, f, size, newest, err)
}

// unused handles the file of a segment whose space was allocated and in which nothing was written
// yet.
func (sc *scanner) unused(g *segmentFile, newest bool) error {
	if newest && sc.broken == nil {
		w, err := sc.st.store.files.Open(g.path, disk.Write)
		if err != nil {
			sc.broken = err
			return nil
		}
		sc.spare = &spare{number: g.number, output: output{file: w, reserved: g.size.Load()}}
		return nil
	}
	return nil // nothing is lost with it, and its number is skipped
}

// salvage makes the header from the first block if the header is damaged. A file without a block is
// moved aside.
func (sc *scanner) salvage(g *segmentFile, f disk.File, size int64, newest bool, fault error) (*segmentFile, error) {
	at, h, err := sc.walker.Find(f, size, segment.HeaderLen)
	if err != nil {
		return nil, sc.st.store.failure(err)
	}
	if at == 0 && newest && segment.BeginsSegment(f) && sc.unacknowledged() {
		return nil, sc.restart(g)
	}
	if at == 0 {
		return nil, sc.setAside(g, fault)
	}
	if newest && sc.known.found && h.End.Last.Compare(sc.known.synced) > 0 && !(at == segment.HeaderLen && sc.follows(h)) {
		// Its beginning is lost and was not known to be on disk, so all of it is fetched again.
		sc.beyond = h.End.Last
		return nil, sc.setAside(g, fault)
	}
	start := segment.Position{Number: h.End.Number - 1, Link: h.Prev, Last: h.First.Prev(), Entries: h.Start(), Bytes: h.End.Bytes}
	if h.Count == 0 {
		start.Last = h.End.Last
	} else {
		start.Bytes -= min(start.Bytes, uint64(h.HeadLen+h.BodyLen))
	}
	if n := len(sc.segs); at != segment.HeaderLen && n > 0 && sc.segs[n-1].number+1 == g.number {
		// The first blocks are damaged too. They were between the segment before this one and the
		// first block found.
		if t, err := sc.endOf(sc.segs[n-1]); err == nil {
			start = t
		}
	}
	g.header = segment.Header{Stream: sc.st.name, Number: g.number, Start: start, First: h.First, Packed: 1}
	g.guessed = true
	sc.st.reportDamaged(g.path, fmt.Errorf("its header: %w", fault))
	return g, nil
}

// unacknowledged reports whether nothing after the segments seen so far was acknowledged.
func (sc *scanner) unacknowledged() bool {
	var end segment.Position
	if n := len(sc.segs); n > 0 {
		var err error
		if end, err = sc.endOf(sc.segs[n-1]); err != nil {
			return false
		}
	}
	return sc.expected != nil && sc.expected.Number <= end.Number || sc.known.found && sc.known.number <= end.Number
}

// follows reports whether a block follows the segments seen so far.
func (sc *scanner) follows(h *segment.Head) bool {
	var end segment.Position
	if n := len(sc.segs); n > 0 {
		var err error
		if end, err = sc.endOf(sc.segs[n-1]); err != nil {
			return false
		}
	}
	return h.Prev == end.Link && h.Start() == end.Entries
}

// restart empties a segment whose first append was interrupted, so that it is written from its
// beginning.
func (sc *scanner) restart(g *segmentFile) error {
	if sc.broken != nil {
		return nil
	}
	f, err := sc.st.store.files.Open(g.path, disk.Write)
	if err == nil {
		err = f.Truncate(0)
	}
	if err != nil {
		sc.broken = err
		return nil
	}
	sc.spare = &spare{number: g.number, output: output{file: f}}
	return nil
}

// setAside moves a file aside that is not a segment of the stream.
func (sc *scanner) setAside(g *segmentFile, fault error) error {
	aside, err := sc.st.store.setAside(g.path)
	if err != nil {
		sc.broken = err
	}
	sc.st.store.emit(persistence.FileDamaged{Stream: sc.st.name, File: sc.st.store.below(g.path), Aside: aside, Err: fault})
	return nil
}

// endOf finds where a segment ends, from its content.
func (sc *scanner) endOf(g *segmentFile) (segment.Position, error) {
	f, err := g.use()
	if err != nil {
		return segment.Position{}, sc.st.store.failure(err)
	}
	defer g.release()
	t, err := segment.ReadTrailer(f, g.size.Load())
	if err == nil {
		return t.End, nil
	}
	if !errors.Is(err, segment.ErrDamaged) {
		return segment.Position{}, sc.st.store.failure(err)
	}
	w, err := sc.walk(g, f)
	if err != nil {
		return segment.Position{}, err
	}
	return w.End, nil
}

// findEnd finds the end of the stream: in the newest segment, or in the segment before it if the
// newest has no block.
func (sc *scanner) findEnd() error {
	for i := len(sc.segs) - 1; i >= 0; i-- {
		g := sc.segs[i]
		w, sealed, err := sc.readLast(g, i == len(sc.segs)-1)
		if err != nil {
			return err
		}
		if i == len(sc.segs)-1 {
			sc.meta.end, g.end = w.End, w.End
			if !sealed {
				if err := sc.open(g, w); err != nil {
					return err
				}
			}
		}
		if w.State.HeadLen > 0 {
			sc.state(w)
			break
		}
	}
	return nil
}

// readLast reads a segment's state. For the newest segment it also reads the blocks.
func (sc *scanner) readLast(g *segmentFile, newest bool) (w *segment.Walk, sealed bool, err error) {
	f, err := g.use()
	if err != nil {
		return nil, false, sc.st.store.failure(err)
	}
	defer g.release()
	t, err := segment.ReadTrailer(f, g.size.Load())
	if err == nil {
		w = segment.New(&g.header)
		w.End = t.End
		if t.StateHead == 0 { // no block is left, or no block that ends an append
			return w, true, nil
		}
		var h segment.Head
		b := make([]byte, t.StateHead)
		if err = readAt(f, b, t.StateOff); err == nil {
			err = h.Decode(b)
		}
		if err == nil {
			w.State, w.Checkpoint, w.Reason = h.Fixed, h.Checkpoint, h.Reason
			return w, true, nil
		}
		sc.st.reportDamaged(g.path, fmt.Errorf("the block with its last checkpoint: %w", err))
		end := t.End
		if w, err = sc.walk(g, f); err == nil {
			w.End = end
		}
		return w, true, err
	}
	if !errors.Is(err, segment.ErrDamaged) {
		return nil, false, sc.st.store.failure(err)
	}
	if w, err = sc.walk(g, f); err != nil {
		return nil, false, err
	}
	// The footer is not whole: the sealing was interrupted, or the footer is damaged.
	if w.Footer && newest {
		if sealed, err = segment.Sealed(f, g.size.Load(), w.Off, len(w.Rows)); err != nil {
			return nil, false, sc.st.store.failure(err)
		}
	}
	if sealed {
		sc.st.reportDamaged(g.path, errors.New("its footer is damaged"))
		g.rows.Store(&w.Rows)
	}
	return w, sealed || !newest, nil
}

// walk goes through the blocks of a segment up to where the stream can continue.
func (sc *scanner) walk(g *segmentFile, f disk.File) (*segment.Walk, error) {
	size := g.size.Load()
	w := segment.New(&g.header)
	var body []byte
	visit := func(off int64, h *segment.Head) error {
		if sc.expected != nil && h.End.Number > sc.expected.Number {
			return fmt.Errorf("%w: it was not acknowledged", segment.ErrDamaged)
		}
		// Blocks that are known to be on disk are left to their readers, except for the newest
		// block: if that is damaged, it is fetched again.
		if sc.known.found && h.End.Last.Compare(sc.known.synced) <= 0 && h.End.Number < sc.known.number {
			return nil
		}
		body = slices.Grow(body[:0], h.BodyLen)[:h.BodyLen]
		if err := readAt(f, body, off+int64(h.HeadLen)); err != nil {
			return err
		}
		return h.CheckBody(body)
	}
	for {
		if err := sc.walker.Go(f, size, w, g.header.Packed > 0, visit); err != nil {
			return nil, sc.st.store.failure(err)
		}
		if w.Footer || sc.expected != nil && w.End.Number >= sc.expected.Number {
			return w, nil
		}
		next, h, err := sc.walker.Find(f, size, w.Off+1)
		for err == nil && next > 0 && (h.Start() < w.End.Entries || h.End.Number <= w.End.Number) {
			next, h, err = sc.walker.Find(f, size, next+1)
		}
		if err != nil {
			return nil, sc.st.store.failure(err)
		}
		if next == 0 {
			return w, nil
		}
		if sc.known.found && h.End.Last.Compare(sc.known.synced) > 0 {
			// It was not known to be on disk. A power cut may keep the last writes and lose writes
			// before them. All of them are fetched again.
			sc.beyond = later(sc.beyond, h.End.Last)
			return w, nil
		}
		passHole(w, next, h)
	}
}

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

// look reads the stream's files. expected is where the writer left the stream, nil when the process
// starts.
func (st *stream) look(registered known, expected *segment.Position) (f *found, err error) {
	l := &looker{st: st, expected: expected, found: new(found)}
	defer func() {
		if err != nil {
			l.closeFiles()
			f = nil
		}
	}()
	var fault error
	if l.mark, fault, err = st.store.openMark(st.name); err != nil {
		if l.mark == nil {
			l.mark = new(mark)
		}
		l.broken, err = err, nil
	}
	l.known = l.mark.known
	if err := l.segments(); err != nil {
		return nil, err
	}
	if errors.Is(fault, fs.ErrNotExist) && len(l.segs) > 0 && l.broken == nil && expected == nil {
		st.tellDamaged(st.store.markPath(st.name), errors.New("the high-water mark is missing"))
	}
	if err := l.last(); err != nil {
		return nil, err
	}
	l.goOnCounting(registered)
	if err := l.holes(); err != nil {
		return nil, err
	}
	l.compare(registered)
	return l.found, nil
}

// looker reads a stream's files.
type looker struct {
	*found
	st       *stream
	expected *segment.Position
	known    known
	walker   segment.Walker
	beyond   EntryID // the newest entry that was seen in the part that is cut off
	cut      error   // why a part is cut off
}

// segments lists the files and reads their headers.
func (l *looker) segments() error {
	files := l.st.store.files
	names, err := files.List(l.st.dir)
	if err != nil && !isGone(err) {
		return l.st.store.failure(fmt.Errorf("list the segments: %w", err))
	}
	var numbers []uint64
	for _, name := range names {
		if n, ok := parseSegmentName(name); ok {
			numbers = append(numbers, n)
		} else if l.expected == nil && isTemporary(name) {
			_ = files.Unlink(l.st.dir + "/" + name) // an unfinished copy of a segment
		}
	}
	slices.Sort(numbers)
	for i, n := range numbers {
		g, err := l.header(n, i == len(numbers)-1)
		if err != nil {
			return err
		}
		if g != nil {
			l.segs = append(l.segs, g)
		}
	}
	return nil
}

// header reads a segment's header. It returns nil for a file without data.
func (l *looker) header(number uint64, newest bool) (*segmentFile, error) {
	g := l.st.newSegment(number)
	f, err := g.use()
	if errors.Is(err, disk.ErrNotRegular) {
		return nil, l.setAside(g, err)
	}
	if err != nil {
		return nil, l.st.store.failure(fmt.Errorf("open a segment: %w", err))
	}
	defer g.release()
	size, err := f.Size()
	if err != nil {
		return nil, l.st.store.failure(err)
	}
	g.size.Store(size)
	b := make([]byte, min(size, segment.HeaderLen))
	if err := readAt(f, b, 0); err != nil && !errors.Is(err, segment.ErrDamaged) {
		return nil, l.st.store.failure(fmt.Errorf("read a segment: %w", err))
	}
	h, err := segment.ReadHeader(b)
	switch {
	case errors.Is(err, segment.ErrVersion):
		return nil, fmt.Errorf("%s: %w", l.st.store.below(g.path), err)
	case err == nil && h.Stream == l.st.name && h.Number == number:
		g.header = h
		return g, nil
	case err == nil:
		return nil, l.setAside(g, fmt.Errorf("it is segment %d of stream %s", h.Number, h.Stream))
	}
	if segment.Unused(b) {
		used, lookErr := l.walker.LastByte(f, size, 0)
		if lookErr != nil {
			return nil, l.st.store.failure(lookErr)
		}
		if used == 0 {
			return nil, l.unused(g, newest)
		}
	}
	return l.salvage(g, f, size, newest, err)
}

// unused handles the file of a segment whose space was allocated and in which nothing was written
// yet.
func (l *looker) unused(g *segmentFile, newest bool) error {
	if newest && l.broken == nil {
		w, err := l.st.store.files.Open(g.path, disk.Write)
		if err != nil {
			l.broken = err
			return nil
		}
		l.spare = &spare{number: g.number, seat: seat{file: w, reserved: g.size.Load()}}
		return nil
	}
	return nil // nothing is lost with it, and its number is skipped
}

// salvage makes the header from the first block if the header is damaged. A file without a block is
// moved aside.
func (l *looker) salvage(g *segmentFile, f disk.File, size int64, newest bool, fault error) (*segmentFile, error) {
	at, h, err := l.walker.Find(f, size, segment.HeaderLen)
	if err != nil {
		return nil, l.st.store.failure(err)
	}
	if at == 0 && newest && segment.BeginsSegment(f) && l.unacknowledged() {
		return nil, l.begun(g)
	}
	if at == 0 {
		return nil, l.setAside(g, fault)
	}
	if newest && l.known.found && h.End.Last.Compare(l.known.synced) > 0 && !(at == segment.HeaderLen && l.follows(h)) {
		// Its beginning is lost and was not known to be on disk, so all of it is fetched again.
		l.beyond = h.End.Last
		return nil, l.setAside(g, fault)
	}
	start := segment.Position{Number: h.End.Number - 1, Link: h.Prev, Last: h.First.Prev(), Entries: h.Start(), Bytes: h.End.Bytes}
	if h.Count == 0 {
		start.Last = h.End.Last
	} else {
		start.Bytes -= min(start.Bytes, uint64(h.HeadLen+h.BodyLen))
	}
	if n := len(l.segs); at != segment.HeaderLen && n > 0 && l.segs[n-1].number+1 == g.number {
		// The first blocks are damaged too. They were between the segment before this one and the
		// first block found.
		if t, err := l.endOf(l.segs[n-1]); err == nil {
			start = t
		}
	}
	g.header = segment.Header{Stream: l.st.name, Number: g.number, Start: start, First: h.First, Packed: 1}
	g.guessed = true
	l.st.tellDamaged(g.path, fmt.Errorf("its header: %w", fault))
	return g, nil
}

// unacknowledged reports whether nothing after the segments seen so far was acknowledged.
func (l *looker) unacknowledged() bool {
	var end segment.Position
	if n := len(l.segs); n > 0 {
		var err error
		if end, err = l.endOf(l.segs[n-1]); err != nil {
			return false
		}
	}
	return l.expected != nil && l.expected.Number <= end.Number || l.known.found && l.known.number <= end.Number
}

// follows reports whether a block follows the segments seen so far.
func (l *looker) follows(h *segment.Head) bool {
	var end segment.Position
	if n := len(l.segs); n > 0 {
		var err error
		if end, err = l.endOf(l.segs[n-1]); err != nil {
			return false
		}
	}
	return h.Prev == end.Link && h.Start() == end.Entries
}

// begun empties a segment whose first append was cut short, so that it is written from its
// beginning.
func (l *looker) begun(g *segmentFile) error {
	if l.broken != nil {
		return nil
	}
	f, err := l.st.store.files.Open(g.path, disk.Write)
	if err == nil {
		err = f.Truncate(0)
	}
	if err != nil {
		l.broken = err
		return nil
	}
	l.spare = &spare{number: g.number, seat: seat{file: f}}
	return nil
}

// setAside moves a file aside that is not a segment of the stream.
func (l *looker) setAside(g *segmentFile, fault error) error {
	aside, err := l.st.store.setAside(g.path)
	if err != nil {
		l.broken = err
	}
	l.st.store.emit(persistence.FileDamaged{Stream: l.st.name, File: l.st.store.below(g.path), Aside: aside, Err: fault})
	return nil
}

// endOf finds where a segment ends, from its content.
func (l *looker) endOf(g *segmentFile) (segment.Position, error) {
	f, err := g.use()
	if err != nil {
		return segment.Position{}, l.st.store.failure(err)
	}
	defer g.release()
	t, err := segment.ReadTrailer(f, g.size.Load())
	if err == nil {
		return t.End, nil
	}
	if !errors.Is(err, segment.ErrDamaged) {
		return segment.Position{}, l.st.store.failure(err)
	}
	w, err := l.walk(g, f)
	if err != nil {
		return segment.Position{}, err
	}
	return w.End, nil
}

// last finds the end of the stream: in the newest segment, or in the segment before it if the
// newest has no block.
func (l *looker) last() error {
	for i := len(l.segs) - 1; i >= 0; i-- {
		g := l.segs[i]
		w, sealed, err := l.readLast(g, i == len(l.segs)-1)
		if err != nil {
			return err
		}
		if i == len(l.segs)-1 {
			l.meta.end, g.end = w.End, w.End
			if !sealed {
				if err := l.open(g, w); err != nil {
					return err
				}
			}
		}
		if w.State.HeadLen > 0 {
			l.state(w)
			break
		}
	}
	return nil
}

// readLast reads a segment's state. For the newest segment it also reads the blocks.
func (l *looker) readLast(g *segmentFile, newest bool) (w *segment.Walk, sealed bool, err error) {
	f, err := g.use()
	if err != nil {
		return nil, false, l.st.store.failure(err)
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
		l.st.tellDamaged(g.path, fmt.Errorf("the block with its last checkpoint: %w", err))
		end := t.End
		if w, err = l.walk(g, f); err == nil {
			w.End = end
		}
		return w, true, err
	}
	if !errors.Is(err, segment.ErrDamaged) {
		return nil, false, l.st.store.failure(err)
	}
	if w, err = l.walk(g, f); err != nil {
		return nil, false, err
	}
	// The footer is not whole: the sealing was cut short, or the footer is damaged.
	if w.Footer && newest {
		if sealed, err = segment.Sealed(f, g.size.Load(), w.Off, len(w.Rows)); err != nil {
			return nil, false, l.st.store.failure(err)
		}
	}
	if sealed {
		l.st.tellDamaged(g.path, errors.New("its footer is damaged"))
		g.rows.Store(&w.Rows)
	}
	return w, sealed || !newest, nil
}

// walk goes through the blocks of a segment up to the place where the stream can continue.
func (l *looker) walk(g *segmentFile, f disk.File) (*segment.Walk, error) {
	size := g.size.Load()
	w := segment.New(&g.header)
	var body []byte
	visit := func(off int64, h *segment.Head) error {
		if l.expected != nil && h.End.Number > l.expected.Number {
			return fmt.Errorf("%w: it was not acknowledged", segment.ErrDamaged)
		}
		// Blocks that are known to be on disk are left to their readers, except for the newest
		// block: if that is damaged, it is fetched again.
		if l.known.found && h.End.Last.Compare(l.known.synced) <= 0 && h.End.Number < l.known.number {
			return nil
		}
		body = slices.Grow(body[:0], h.BodyLen)[:h.BodyLen]
		if err := readAt(f, body, off+int64(h.HeadLen)); err != nil {
			return err
		}
		return h.CheckBody(body)
	}
	for {
		if err := l.walker.Go(f, size, w, g.header.Packed > 0, visit); err != nil {
			return nil, l.st.store.failure(err)
		}
		if w.Footer || l.expected != nil && w.End.Number >= l.expected.Number {
			return w, nil
		}
		next, h, err := l.walker.Find(f, size, w.Off+1)
		for err == nil && next > 0 && (h.Start() < w.End.Entries || h.End.Number <= w.End.Number) {
			next, h, err = l.walker.Find(f, size, next+1)
		}
		if err != nil {
			return nil, l.st.store.failure(err)
		}
		if next == 0 {
			return w, nil
		}
		if l.known.found && h.End.Last.Compare(l.known.synced) > 0 {
			// It was not known to be on disk. A power cut may keep the last writes and lose writes
			// before them. All of them are fetched again.
			l.beyond = later(l.beyond, h.End.Last)
			return w, nil
		}
		passHole(w, next, h)
	}
}

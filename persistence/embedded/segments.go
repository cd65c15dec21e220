package embedded

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"tempestd/persistence"
	"tempestd/persistence/embedded/disk"
	"tempestd/persistence/embedded/segment"
)

// segmentFile is one segment of a stream, or a hole in place of a missing one. The fields for its
// position in the stream never change.
type segmentFile struct {
	stream *stream
	number uint64
	path   string // "" for a hole
	header segment.Header
	// guessed says that the header on disk is damaged and that header was made from the first
	// block.
	guessed bool
	// end is where the next segment begins. The end of the active segment is in the tip.
	end  segment.Position
	size atomic.Int64 // bytes on disk

	rows       atomic.Pointer[[]segment.Row] // of a sealed segment, loaded when needed
	unpackable atomic.Bool                   // packing has failed

	mu     sync.Mutex
	file   disk.File // nil if it is not open
	users  int
	unused int64 // the time of its last release, counted in releases
	gone   bool  // close it when it has no more users
}

const segmentSuffix = ".seg"

func segmentName(number uint64) string { return fmt.Sprintf("%012d%s", number, segmentSuffix) }

// parseSegmentName returns the number in the name of a segment's file.
func parseSegmentName(name string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(digits) < 12 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, err == nil && n > 0 && segmentName(n) == name
}

func (st *stream) newSegment(number uint64) *segmentFile {
	return &segmentFile{stream: st, number: number, path: filepath.Join(st.dir, segmentName(number))}
}

// newHole returns a segment that stands for the lost entries between two positions.
func (st *stream) newHole(number uint64, from, to segment.Position) *segmentFile {
	g := &segmentFile{stream: st, number: number, header: segment.Header{Stream: st.name, Number: number, Start: from}, end: to}
	g.rows.Store(&[]segment.Row{holeRow(from, to)})
	return g
}

func holeRow(from, to segment.Position) segment.Row {
	return segment.Row{
		First: from.Last.Next(), Last: to.Last, EndEntries: to.Entries, EndBytes: to.Bytes, Count: uint32(min(to.Entries-from.Entries, 1<<32-1)), Flags: segment.FlagHole,
	}
}

// hole reports whether the segment is missing.
func (g *segmentFile) hole() bool { return g.path == "" }

// extent is how many bytes its entries had when they were appended.
func (g *segmentFile) extent() uint64 { return g.end.Bytes - g.header.Start.Bytes }

// openFiles bounds how many segments are open for reading.
type openFiles struct {
	mu    sync.Mutex
	clock int64
	open  []*segmentFile
}

const maxOpenFiles = 64

// use opens the segment for reading until release is called.
func (g *segmentFile) use() (disk.File, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.hole() {
		return nil, fs.ErrNotExist
	}
	if g.file == nil {
		f, err := g.stream.store.files.Open(g.path, disk.Read)
		if err != nil {
			return nil, err
		}
		g.file = f
		g.stream.store.open.add(g)
	}
	g.users++
	return g.file, nil
}

func (g *segmentFile) release() {
	o := &g.stream.store.open
	o.mu.Lock()
	o.clock++
	now := o.clock
	o.mu.Unlock()
	g.mu.Lock()
	g.users--
	g.unused = now
	if g.gone && g.users == 0 {
		g.closeLocked()
	}
	g.mu.Unlock()
	o.bound()
}

// drop closes the segment when it has no more readers.
func (g *segmentFile) drop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.gone = true
	if g.users == 0 {
		g.closeLocked()
	}
}

func (g *segmentFile) closeLocked() {
	if g.file != nil {
		_ = g.file.Close() // it was only read
		g.file = nil
	}
}

// forget removes a segment from the bound. Its holders keep its file open.
func (o *openFiles) forget(g *segmentFile) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.open = slices.DeleteFunc(o.open, func(have *segmentFile) bool { return have == g })
}

func (o *openFiles) add(g *segmentFile) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.open = append(o.open, g)
}

// bound closes the segment that was not read for the longest time.
func (o *openFiles) bound() {
	o.mu.Lock()
	if len(o.open) <= maxOpenFiles {
		o.mu.Unlock()
		return
	}
	all := slices.Clone(o.open)
	o.mu.Unlock()
	var oldest *segmentFile
	var closed []*segmentFile
	var least int64
	for _, g := range all {
		g.mu.Lock()
		switch {
		case g.file == nil:
			closed = append(closed, g)
		case g.users == 0 && (oldest == nil || g.unused < least):
			oldest, least = g, g.unused
		}
		g.mu.Unlock()
	}
	if len(closed) == 0 && oldest != nil {
		oldest.mu.Lock()
		if oldest.users == 0 {
			oldest.closeLocked()
			closed = append(closed, oldest)
		}
		oldest.mu.Unlock()
	}
	o.mu.Lock()
	o.open = slices.DeleteFunc(o.open, func(g *segmentFile) bool { return slices.Contains(closed, g) })
	o.mu.Unlock()
}

// index returns the rows of a sealed segment. If the footer is damaged, it finds them by walking
// through the blocks, and reports the damage.
func (g *segmentFile) index() ([]segment.Row, error) {
	if rows := g.rows.Load(); rows != nil {
		return *rows, nil
	}
	f, err := g.use()
	if err != nil {
		return nil, err
	}
	defer g.release()
	rows, err := g.readIndex(f)
	if err != nil {
		return nil, err
	}
	if g.rows.CompareAndSwap(nil, &rows) {
		g.stream.store.indexes.add(g, len(rows))
	}
	return rows, nil
}

func (g *segmentFile) readIndex(f disk.File) ([]segment.Row, error) {
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	t, err := segment.ReadTrailer(f, size)
	if err == nil {
		var rows []segment.Row
		if rows, err = segment.ReadRows(f, &t); err == nil {
			return rows, nil
		}
	}
	if !errors.Is(err, segment.ErrDamaged) {
		return nil, err
	}
	g.stream.reportDamaged(g.path, fmt.Errorf("its footer: %w", err))
	return g.walkAll(f, size)
}

// walkAll finds the rows of a segment block by block, with rows for the holes where it is damaged.
func (g *segmentFile) walkAll(f io.ReaderAt, size int64) ([]segment.Row, error) {
	var k segment.Walker
	w := segment.New(&g.header)
	for {
		if err := k.Go(f, size, w, g.header.Packed > 0, nil); err != nil {
			return nil, err
		}
		if w.Footer || w.End.Entries >= g.end.Entries {
			return w.Rows, nil
		}
		next, h, err := k.Find(f, size, w.Off+1) // the bytes at Off cannot be walked
		if err != nil {
			return nil, err
		}
		for next > 0 && (h.Start() < w.End.Entries || h.End.Entries > g.end.Entries) {
			if next, h, err = k.Find(f, size, next+8); err != nil {
				return nil, err
			}
		}
		if next == 0 {
			if w.End.Entries < g.end.Entries {
				w.Rows = append(w.Rows, holeRow(w.End, g.end))
			}
			return w.Rows, nil
		}
		passHole(w, next, h)
	}
}

// passHole moves a walk to the block h at off, beyond damaged bytes.
func passHole(w *segment.Walk, off int64, h *segment.Head) {
	to := segment.Position{Number: h.End.Number - 1, Link: h.Prev, Last: h.First.Prev(), Entries: h.Start(), Bytes: w.End.Bytes}
	if h.Count == 0 {
		to.Last = h.End.Last
	}
	if to.Entries > w.End.Entries {
		w.Rows = append(w.Rows, holeRow(w.End, to))
	} else {
		to.Last = w.End.Last
	}
	w.End, w.Off = to, off
}

// indexes bounds how many rows of sealed segments are kept in memory (I5).
type indexes struct {
	mu   sync.Mutex
	kept []*segmentFile
	rows int
}

const maxIndexRows = 128 << 10

func (x *indexes) add(g *segmentFile, rows int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.kept = append(x.kept, g)
	x.rows += rows
	for x.rows > maxIndexRows && len(x.kept) > 1 {
		if old := x.kept[0].rows.Swap(nil); old != nil {
			x.rows -= len(*old)
		}
		x.kept = slices.Delete(x.kept, 0, 1)
	}
}

// removed drops the rows of a segment that was dropped or replaced.
func (x *indexes) removed(g *segmentFile) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if i := slices.Index(x.kept, g); i >= 0 {
		if old := g.rows.Swap(nil); old != nil {
			x.rows -= len(*old)
		}
		x.kept = slices.Delete(x.kept, i, i+1)
	}
}

// reportDamaged emits a notice, once per file while the store is open.
func (st *stream) reportDamaged(path string, err error) {
	st.reportedMu.Lock()
	defer st.reportedMu.Unlock()
	if st.reported == nil {
		st.reported = make(map[string]bool)
	}
	if !st.reported[path] {
		st.reported[path] = true
		st.store.emit(persistence.FileDamaged{Stream: st.name, File: st.store.below(path), Err: err})
	}
}

package embedded

import (
	"errors"
	"fmt"
	"io/fs"

	"tempestd/internal/crashpoint"
	"tempestd/persistence"
	"tempestd/persistence/embedded/disk"
	"tempestd/persistence/embedded/segment"
)

const (
	// step is how many bytes the active segment allocates ahead at a time.
	step = 4 << 20
	// controlReserve is kept after a segment's blocks for the writes that must be possible on a
	// full disk: the floor, the closing of a stream, the footer.
	controlReserve = 16 << 10
	minSegment     = 512 << 10
	// maxRows bounds a segment of small blocks, and the memory of its index.
	maxRows = 16 << 10
	// parts is into how many segments the kept bytes of a stream are divided. So about a 32nd is
	// kept too long, and a 32nd is allocated and not yet written.
	parts = 32
)

// spare is a segment whose space was allocated ahead.
type spare struct {
	number uint64
	output
}

// segmentTarget is the intended size of the next segment. It depends on the kept bytes, so that a
// small stream does not keep much more than its bounds. It depends on the free space, so that a
// small disk is used to its end.
func (st *stream) segmentTarget() int64 {
	m := &st.tip.Load().meta
	target := max(m.keptBytes()/parts, minSegment)
	if bound := st.retention.Load().Bytes; bound > 0 {
		target = min(target, max(bound/parts, minSegment))
	}
	return min(target, st.store.opt.SegmentBytes, max(st.store.space.spare()/8, minSegment/2))
}

// nextNumber is the number of the segment after the newest.
func (st *stream) nextNumber() uint64 {
	if segs := st.tip.Load().segs; len(segs) > 0 {
		return segs[len(segs)-1].number + 1
	}
	return 1
}

// nextSegment returns a segment with space for the first writes: the spare segment, or a new one.
func (st *stream) nextSegment(control bool) (*spare, error) {
	if st.w.spare == nil {
		if err := st.takeAhead(true, control); err != nil {
			return nil, err
		}
	}
	st.w.spare.target = st.segmentTarget()
	return st.w.spare, nil
}

// takeAhead makes the spare segment. For writes that must be possible on a full disk (control) it
// allocates little, and may use the space that must otherwise stay free. The caller holds write.
func (st *stream) takeAhead(needed, control bool) error {
	if st.w.spare != nil {
		return nil
	}
	size := min(st.segmentTarget(), step)
	if control {
		size = 2 * controlReserve
	} else if err := st.store.space.check(uint64(size)); err != nil {
		if needed {
			return err
		}
		return nil // there may be space when it is needed
	}
	number := st.nextNumber()
	s, err := st.makeSpare(st.newSegment(number).path, size)
	if err != nil {
		return st.store.failure(fmt.Errorf("take space for a segment of stream %s: %w", st.name, err))
	}
	s.number = number
	st.w.spare = s
	return nil
}

// makeSpare makes a segment's file and its space durable.
func (st *stream) makeSpare(path string, size int64) (*spare, error) {
	files := st.store.files
	f, err := files.Open(path, disk.Create)
	if err != nil {
		return nil, err
	}
	// A file that an earlier process allocated is used. It is known to be unused, because that was
	// checked when the stream was opened.
	if err = f.Preallocate(size); err == nil {
		if err = f.Sync(); err == nil {
			crashpoint.Pass(crashpoint.SegmentTaken)
			err = files.SyncDir(st.dir)
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close(), ignoreNotExist(files.Unlink(path)))
	}
	return &spare{output: output{file: f, reserved: size}}, nil
}

func ignoreNotExist(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// begin makes the spare segment the active one.
func (st *stream) begin(s *spare, h *segment.Header) *segmentFile {
	w := &st.w
	if w.file != nil {
		_ = w.file.Close() // it is sealed and synced
	}
	w.output, w.spare = s.output, nil
	w.low, w.high, w.syncedOff = 0, 0, 0
	g := st.newSegment(s.number)
	g.header = *h
	g.size.Store(s.reserved)
	return g
}

// reserve makes sure that n bytes can be written to a segment, and after them the writes that must
// be possible on a full disk. bounded also leaves MinFree bytes of the disk free, and
// controlReserve bytes of the segment for the writes that are not bounded.
func (st *stream) reserve(s *output, n int64, rows int, bounded bool) error {
	need := s.off + n + segment.FooterLen(s.off+n, rows)
	if bounded {
		need += controlReserve
	}
	if need <= s.reserved {
		return nil
	}
	for _, size := range []int64{max(need, min(s.reserved+step, s.target+controlReserve)), need} {
		if bounded {
			if err := st.store.space.check(uint64(size - s.reserved)); err != nil && size == need {
				return err
			} else if err != nil {
				continue
			}
		}
		err := s.file.Preallocate(size)
		if err == nil {
			s.reserved = size
			return nil
		}
		if size == need || !isFull(err) {
			return st.store.failure(fmt.Errorf("take space for stream %s: %w", st.name, err))
		}
	}
	return nil
}

// seal ends the active segment with its footer and frees the space that it does not need.
func (st *stream) seal(g *segmentFile, t *tip) error {
	w := &st.w
	trailer := segment.Trailer{Number: g.number, End: t.meta.end, MinUS: w.low, MaxUS: w.high, StateOff: w.stateOff, StateHead: w.stateLen}
	footer := segment.AppendFooter(nil, w.off, w.rows, &trailer)
	rows, end := footer[:len(footer)-segment.TrailerLen], footer[len(footer)-segment.TrailerLen:]
	_, err := w.file.WriteAt(rows, w.off)
	if err == nil {
		err = w.file.Truncate(trailer.Size)
	}
	if err == nil {
		err = w.file.Sync()
	}
	crashpoint.Pass(crashpoint.SegmentFooter)
	if err == nil {
		_, err = w.file.WriteAt(end, trailer.Size-segment.TrailerLen)
	}
	if err == nil {
		err = w.file.Sync()
	}
	if err != nil {
		return fmt.Errorf("seal segment %d of stream %s: %w", g.number, st.name, err)
	}
	g.size.Store(trailer.Size)
	w.syncedOff, w.synced = w.off, t.meta.end.Last
	return nil
}

// closeFiles closes the files that the writer has open.
func (w *writer) closeFiles() error {
	var errs []error
	if w.file != nil {
		errs = append(errs, w.file.Close())
	}
	if w.spare != nil {
		errs = append(errs, w.spare.file.Close())
	}
	if w.mark != nil {
		errs = append(errs, w.mark.close())
	}
	w.file, w.spare, w.mark = nil, nil, nil
	return errors.Join(errs...)
}

// kick starts the work that appends leave to the background.
func (s *Store) kick() {
	select {
	case s.kicked <- struct{}{}:
	default:
	}
}

// clear does the work that an append left: it unlinks dropped segments and allocates the next
// segment's space ahead.
func (st *stream) clear() {
	st.write.Lock()
	dropped := st.w.dropped
	st.w.dropped, st.w.unlinking = nil, len(dropped)
	st.write.Unlock()
	failed := dropped
	// The floor must be on disk before the dropped segments are unlinked.
	if len(dropped) > 0 && (st.store.sync || st.syncNow() == nil) {
		failed = st.unlink(dropped)
	}
	st.write.Lock()
	defer st.write.Unlock()
	st.w.dropped, st.w.unlinking = append(st.w.dropped, failed...), 0
	if st.w.broken == nil && st.w.mark != nil && (st.tip.Load().active == nil || st.w.off >= st.w.target/2) {
		if err := st.takeAhead(false, false); err != nil && !persistence.Temporary(err) {
			st.store.emit(persistence.MaintenanceFailed{Stream: st.name, Err: err})
		}
	}
}

// unlink removes dropped segments, and returns those that it could not remove. While a snapshot is
// in use it removes none, unless the disk is nearly full.
func (st *stream) unlink(dropped []*segmentFile) (failed []*segmentFile) {
	if st.store.snapshots.Load() > 0 && !st.store.space.low.Load() {
		return dropped
	}
	if len(dropped) > 0 {
		crashpoint.Pass(crashpoint.TrimFloor)
	}
	for _, g := range dropped {
		g.drop()
		st.store.indexes.removed(g)
		if g.hole() {
			continue
		}
		if err := ignoreNotExist(st.store.files.Unlink(g.path)); err != nil {
			st.store.emit(persistence.MaintenanceFailed{Stream: st.name, Err: fmt.Errorf("drop a segment: %w", err)})
			failed = append(failed, g)
		}
		crashpoint.Pass(crashpoint.TrimUnlinked)
	}
	return failed
}

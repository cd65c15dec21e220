package embedded

import (
	"errors"
	"fmt"
	"io/fs"

	"tempestd/persistence"
	"tempestd/persistence/embedded/disk"
	"tempestd/persistence/embedded/segment"
)

const (
	// step is how much space the active segment takes ahead at a time.
	step = 4 << 20
	// controlReserve is kept behind a segment's blocks for what must be written on a full disk too:
	// the floor, the end of a stream, the footer.
	controlReserve = 16 << 10
	minSegment     = 512 << 10
	// maxRows bounds a segment of small blocks, and what its index takes in memory.
	maxRows = 16 << 10
	// parts is into how many segments what a stream keeps is cut: as much is kept too long, and has
	// not been written to yet.
	parts = 32
)

// spare is a segment whose space was taken ahead.
type spare struct {
	number uint64
	seat
}

// segmentTarget is how large the next segment is to become. It follows what is kept, so that a
// small stream is not kept far beyond its bounds, and what is free, so that a small disk is used to
// its end.
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

// nextSegment gives a segment with space to begin with: the spare one, or a new one.
func (st *stream) nextSegment(control bool) (*spare, error) {
	if st.w.spare == nil {
		if err := st.takeAhead(true, control); err != nil {
			return nil, err
		}
	}
	st.w.spare.target = st.segmentTarget()
	return st.w.spare, nil
}

// takeAhead makes the spare segment. For what must be written on a full disk too it takes little,
// and of what is to stay free. The caller holds write.
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
		return nil // there may be room when it is needed
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

// makeSpare makes a segment's file, and its space, durable.
func (st *stream) makeSpare(path string, size int64) (*spare, error) {
	files := st.store.files
	f, err := files.Open(path, disk.Create)
	if err != nil {
		return nil, err
	}
	// What an earlier process took ahead is used; that it is unused was seen when the stream was
	// opened.
	if err = f.Preallocate(size); err == nil {
		if err = f.Sync(); err == nil {
			err = files.SyncDir(st.dir)
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close(), ignoreNotExist(files.Unlink(path)))
	}
	return &spare{seat: seat{file: f, reserved: size}}, nil
}

func ignoreNotExist(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// begin makes the spare segment the one that is written to.
func (st *stream) begin(s *spare, h *segment.Header) *segmentFile {
	w := &st.w
	if w.file != nil {
		_ = w.file.Close() // it is sealed and synced
	}
	w.seat, w.spare = s.seat, nil
	w.low, w.high, w.syncedOff = 0, 0, 0
	g := st.newSegment(s.number)
	g.header = *h
	g.size.Store(s.reserved)
	return g
}

// reserve makes sure that n bytes can be written to a segment, and afterwards what may have to be
// on a full disk. bounded leaves MinFree free, and the reserve for what is not.
func (st *stream) reserve(s *seat, n int64, rows int, bounded bool) error {
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

// seal ends the active segment with its footer and gives back the space that it does not need.
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

// closeFiles closes what the writer has open.
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

// kick asks for what appends leave to be done in the background.
func (s *Store) kick() {
	select {
	case s.kicked <- struct{}{}:
	default:
	}
}

// clear does what an append left: it unlinks what was dropped and takes the next segment's space
// ahead.
func (st *stream) clear() {
	st.write.Lock()
	dead := st.w.dead
	st.w.dead, st.w.dying = nil, len(dead)
	st.write.Unlock()
	failed := dead
	// That retention dropped them is on the disk before they go.
	if len(dead) > 0 && (st.store.sync || st.syncNow() == nil) {
		failed = st.unlink(dead)
	}
	st.write.Lock()
	defer st.write.Unlock()
	st.w.dead, st.w.dying = append(st.w.dead, failed...), 0
	if st.w.broken == nil && st.w.mark != nil && (st.tip.Load().active == nil || st.w.off >= st.w.target/2) {
		if err := st.takeAhead(false, false); err != nil && !persistence.Temporary(err) {
			st.store.emit(persistence.MaintenanceFailed{Stream: st.name, Err: err})
		}
	}
}

// unlink removes dropped segments, and gives those that it could not. While a snapshot is in use
// they wait, unless the disk is nearly full.
func (st *stream) unlink(dead []*segmentFile) (failed []*segmentFile) {
	if st.store.snapshots.Load() > 0 && !st.store.space.low.Load() {
		return dead
	}
	for _, g := range dead {
		g.drop()
		st.store.indexes.removed(g)
		if g.hole() {
			continue
		}
		if err := ignoreNotExist(st.store.files.Unlink(g.path)); err != nil {
			st.store.emit(persistence.MaintenanceFailed{Stream: st.name, Err: fmt.Errorf("drop a segment: %w", err)})
			failed = append(failed, g)
		}
	}
	return failed
}

package embedded

import (
	"context"
	"fmt"

	"tempestd/persistence"
	"tempestd/persistence/embedded/disk"
	"tempestd/persistence/embedded/segment"
	"tempestd/persistence/internal/wake"
)

// loadStreams finds the stored streams, and repairs the effects of a power cut or damage. A
// stream's segments, its high-water mark and the register must name the same newest entry.
func (s *Store) loadStreams(ctx context.Context) error {
	if err := s.loadDeleted(); err != nil {
		return err
	}
	registered, keeps := s.state.register()
	names := make(map[string]bool)
	for name := range registered {
		names[name] = true
	}
	for _, dir := range []string{streamsDir, marksDir} {
		found, err := s.files.List(s.path(dir))
		if err != nil {
			return s.failure(fmt.Errorf("list the streams: %w", err))
		}
		for _, name := range found {
			if persistence.CheckName(name) == nil {
				names[name] = true
			}
		}
	}
	for name := range names {
		if s.deleting[name] {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		st := s.newStream(name)
		s.streams[name] = st
		if keep, ok := keeps[name]; ok {
			st.retention.Store(&keep)
		}
		if err := st.load(registered[name]); err != nil {
			return fmt.Errorf("open stream %s: %w", name, err)
		}
	}
	return nil
}

// load opens the stream's files for the first time.
func (st *stream) load(registered known) error {
	if err := st.store.clearFile(st.name, st.dir); err != nil {
		return err
	}
	if err := st.store.files.MakeDir(st.dir); err != nil {
		st.w.broken = err // for example, the disk is full; the first append tries again
	}
	f, err := st.scan(registered, nil)
	if err != nil {
		return err
	}
	st.adopt(f)
	if lost := f.meta.lost; lost != nil {
		st.noteLost(f, registered)
		st.store.mu.Lock()
		st.store.lost = append(st.store.lost, *lost)
		st.store.mu.Unlock()
		st.store.emit(persistence.LogTruncated{Truncation: *lost})
	}
	return nil
}

// noteLost stores the loss in the mark until the next append, if only the register knew of it. So
// the next process reports it too.
func (st *stream) noteLost(f *scanned, registered known) {
	k := f.mark.known
	if f.mark.file == nil || k.last.Compare(f.meta.lost.Expected) >= 0 {
		return
	}
	k.last, k.oldest, k.found = f.meta.lost.Expected, f.meta.lost.Oldest, true
	k.synced = f.meta.end.Last
	k.number = max(k.number, f.meta.end.Number)
	k.entries, k.bytes = max(k.entries, registered.entries), max(k.bytes, registered.bytes)
	if err := f.mark.write(k); err != nil {
		st.store.emit(persistence.MaintenanceFailed{Stream: st.name, Err: err})
	}
}

// reopen opens the stream's files again after a failed write. The acknowledged data must be there.
// Data that was not acknowledged is erased. The caller holds write.
func (st *stream) reopen() error {
	t := st.tip.Load()
	expected := t.meta.end
	_ = st.w.closeFiles() // their errors are already known
	f, err := st.scan(known{}, &expected)
	if err == nil {
		err = f.broken
	}
	if err == nil {
		err = st.rewrite(f)
	}
	if err != nil {
		if f != nil {
			f.closeFiles()
		}
		return st.failed(err)
	}
	for _, g := range t.segs {
		g.drop()
	}
	same := f.meta.end.Number == expected.Number && f.meta.end.Link == expected.Link
	if same {
		f.meta.lost = t.meta.lost
		st.adopt(f)
		return nil
	}
	lost := persistence.Truncation{Stream: st.name, Oldest: t.meta.oldest, Expected: expected.Last, Found: f.meta.end.Last}
	f.meta.lost = &lost
	st.adopt(f)
	st.recovered()
	st.store.emit(persistence.LogTruncated{Truncation: lost})
	return &persistence.ConflictError{Stream: st.name, Expected: expected.Last, Found: f.meta.end.Last}
}

// rewrite writes the data again that was acknowledged and not yet synced: after a failed sync the
// system may report that it is on disk although it is not.
func (st *stream) rewrite(f *scanned) error {
	if f.active == nil || st.store.sync {
		return nil
	}
	off := max(st.w.syncedOff, 0)
	if n := int64(len(f.rows)); n == 0 || off > f.off {
		off = 0
	}
	b := make([]byte, f.off-off)
	if err := readAt(f.file, b, off); err != nil {
		return err
	}
	if _, err := f.file.WriteAt(b, off); err != nil {
		return err
	}
	return f.file.Sync()
}

// scanned is the state of a stream as its files show it.
type scanned struct {
	segs    []*segmentFile
	meta    meta
	mark    *mark
	dropped []*segmentFile
	spare   *spare
	broken  error // the reason why nothing can be written

	// The active segment; nil if all are sealed.
	active    *segmentFile
	file      disk.File
	off       int64
	rows      []segment.Row
	low, high int64
	stateOff  int64
	stateLen  int
}

func (f *scanned) closeFiles() {
	w := writer{output: output{file: f.file}, spare: f.spare, mark: f.mark}
	_ = w.closeFiles()
}

// adopt makes the scanned state the stream's state. The caller holds write, or nothing else uses
// the stream yet.
func (st *stream) adopt(f *scanned) {
	w := &st.w
	w.output, w.rows, w.low, w.high, w.stateOff, w.stateLen = output{file: f.file, off: f.off}, f.rows, f.low, f.high, f.stateOff, f.stateLen
	w.mark, w.spare, w.dropped, w.broken = f.mark, f.spare, f.dropped, f.broken
	w.syncedOff, w.synced = f.off, f.meta.end.Last
	if f.active != nil {
		w.reserved, w.target = f.active.size.Load(), st.segmentTarget()
	}
	w.recent.reset()
	old := st.tip.Load()
	st.tip.Store(&tip{meta: f.meta, segs: f.segs, active: f.active, rows: f.rows, next: new(wake.Signal)})
	old.next.Send()
	if len(f.dropped) > 0 {
		st.store.kick()
	}
}

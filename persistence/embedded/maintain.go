package embedded

import (
	"context"
	"errors"
	"path/filepath"
	"strings"

	"tempestd/persistence"
	"tempestd/persistence/embedded/disk"
)

// maintain is one round of the background work.
func (s *Store) maintain(ctx context.Context) {
	_ = s.space.check(0) // reports free space that came back while nothing was appended
	s.heads.forget()
	if err := s.state.open(); err != nil && !persistence.Temporary(err) {
		s.maintenanceFailed(ctx, "", err)
	}
	s.maintaining.Lock()
	defer s.maintaining.Unlock()
	s.finishDeletes()
	for _, st := range s.all() {
		if err := st.retain(); err != nil && !errors.Is(err, persistence.ErrNoStream) {
			s.maintenanceFailed(ctx, st.name, err)
		}
		if ctx.Err() != nil {
			return
		}
		st.clear()
	}
	select {
	case s.packs <- struct{}{}:
	default:
	}
	s.saveRegister(false)
	if err := s.state.copyOut(); err != nil {
		s.maintenanceFailed(ctx, "", err)
	}
}

// follow does the work that appends leave, until the store is closed.
func (s *Store) follow(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.kicked:
			s.safely(ctx, func(context.Context) {
				for _, st := range s.all() {
					st.clear()
				}
			})
		}
	}
}

// syncLog syncs everything that was appended since the last time. It runs in a store that does not
// sync every append.
func (s *Store) syncLog(ctx context.Context) {
	for _, st := range s.all() {
		if err := st.syncNow(); err != nil {
			s.maintenanceFailed(ctx, st.name, err)
		}
	}
}

// syncNow syncs the active segment and moves the mark.
func (st *stream) syncNow() error {
	st.write.Lock()
	defer st.write.Unlock()
	return st.syncLocked()
}

func (st *stream) syncLocked() error {
	w := &st.w
	m := &st.tip.Load().meta
	if w.broken != nil || w.file == nil || w.syncedOff >= w.off {
		return nil
	}
	if err := w.file.Sync(); err != nil {
		return st.failed(err)
	}
	w.syncedOff, w.synced = w.off, m.end.Last
	st.moveMark(m)
	return nil
}

func (s *Store) maintenanceFailed(ctx context.Context, stream string, err error) {
	// A store that is closed, or that refuses writes and has reported that, has not failed at this.
	if ctx.Err() == nil && !persistence.Temporary(err) && !errors.Is(err, persistence.ErrStoreClosed) {
		s.emit(persistence.MaintenanceFailed{Stream: stream, Err: err})
	}
}

func (s *Store) path(name string) string { return filepath.Join(s.dir, name) }

func isTemporary(name string) bool { return strings.HasSuffix(name, disk.TemporarySuffix) }

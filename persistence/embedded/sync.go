package embedded

import (
	"context"
)

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

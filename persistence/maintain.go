package persistence

import (
	"context"
	"errors"
)

// maintain is one round of what the store does by itself.
func (e *Embedded) maintain(ctx context.Context) {
	_ = e.space.check(0) // tells of free space that came back while nobody appended
	e.heads.forget()
	e.maintaining.Lock()
	defer e.maintaining.Unlock()
	for _, s := range e.all() {
		if _, err := s.trim(ctx, *s.retention.Load()); err != nil {
			e.maintenanceFailed(ctx, s.name, err)
			continue
		}
		if err := s.merge(ctx); err != nil {
			e.maintenanceFailed(ctx, s.name, err)
		}
	}
	if e.garbage.Load() < reclaimAt {
		return
	}
	if err := e.reclaim(ctx); err != nil {
		e.maintenanceFailed(ctx, "", err)
	}
}

func (e *Embedded) maintenanceFailed(ctx context.Context, stream string, err error) {
	// A store that closes, or that refuses writes and said so, has not failed at this.
	_, full := errors.AsType[*NoSpaceError](err)
	if ctx.Err() == nil && !full && !errors.Is(err, ErrStoreFailed) {
		e.emit(MaintenanceFailed{Stream: stream, Err: err})
	}
}

// syncLog syncs the log to disk and moves the marks. It runs where appends are not synced one by one.
func (e *Embedded) syncLog(ctx context.Context) {
	tips := make(map[*embeddedStream]EntryID)
	for _, s := range e.all() {
		s.write.Lock()
		if last := s.state().Last; last != s.synced {
			tips[s] = last
		}
		s.write.Unlock()
	}
	if len(tips) == 0 {
		return
	}
	if err := e.db.Sync(); err != nil {
		e.fail(err) // what is on disk now is unknown, and asking again would not tell
		e.maintenanceFailed(ctx, "", err)
		return
	}
	for s, last := range tips {
		s.write.Lock()
		s.synced = last
		s.moveMark(s.state().Last)
		s.write.Unlock()
	}
}

package persistence

import (
	"context"
	"math/bits"
)

// tier is what a block's key tells of its size without reading it: the bits of its number of entries.
func tier(entries int) byte { return byte(bits.Len(uint(entries))) }

// syncLog syncs the log to disk and moves the marks.
func (e *Embedded) syncLog(context.Context) {
	type tip struct {
		s    *embeddedStream
		last EntryID
	}
	var tips []tip
	for _, s := range e.all() {
		s.write.Lock()
		if last := s.state().Last; last != s.synced {
			tips = append(tips, tip{s, last})
		}
		s.write.Unlock()
	}
	if len(tips) == 0 {
		return
	}
	if err := e.db.Sync(); err != nil {
		e.fail(err)
		e.emit(MaintenanceFailed{Err: err})
		return
	}
	for _, t := range tips {
		t.s.write.Lock()
		t.s.synced = t.last
		t.s.committed(&streamMeta{Last: t.s.state().Last})
		t.s.write.Unlock()
	}
}

func (e *Embedded) maintain(context.Context) {}

func (s *embeddedStream) Trim(ctx context.Context, r Retention) (Trimmed, error) {
	return Trimmed{}, nil
}

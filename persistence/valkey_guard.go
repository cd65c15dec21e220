package persistence

import (
	"context"

	"tempestd/internal/beside"
)

// readGuarded is read. A panic in it is an error to those who wait, and the next one to wait starts the reader anew.
func (h *valkeyHub) readGuarded(ctx context.Context, id EntryID) (err error) {
	beside.Do("store.hub", nil, func() { err = h.read(ctx, id) }, func(p *beside.Panic) { err = p.Traced() })
	return err
}

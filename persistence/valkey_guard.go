package persistence

import (
	"context"

	"tempestd/internal/beside"
)

// readGuarded is read with a guard against panics. A panic becomes the error of the waiting tails.
// The next tail that waits starts the reader again.
func (h *valkeyHub) readGuarded(ctx context.Context, id EntryID) (err error) {
	beside.Do("store.hub", nil, func() { err = h.read(ctx, id) }, func(p *beside.Panic) { err = p.Traced() })
	return err
}

package persistence

import "context"

// Maintain runs one round of maintenance now, disk space included, however little there is to gain.
func Maintain(ctx context.Context, e *Embedded) {
	e.garbage.Store(reclaimAt)
	e.maintain(ctx)
}

// SyncLog runs one round of the interval sync now.
func SyncLog(ctx context.Context, e *Embedded) { e.syncLog(ctx) }

// Blocks counts the stream's stored blocks.
func Blocks(ctx context.Context, s Stream) (n int, err error) {
	err = s.(*embeddedStream).eachBlockBackwards(ctx, func([]byte, []byte) bool {
		n++
		return true
	})
	return n, err
}

package embedded

import "context"

// Maintain runs one round of maintenance now.
func Maintain(ctx context.Context, s *Store) { s.maintain(ctx) }

// Pack packs all segments that can be packed, without a bound on its rate.
func Pack(ctx context.Context, s *Store) error {
	p, err := s.newPacker()
	if err != nil {
		return err
	}
	p.pause = func(context.Context, int64) error { return nil }
	for _, st := range s.all() {
		st.w.bytesPerSecond.Store(0)
	}
	return p.all(ctx)
}

// SyncLog runs one round of the interval sync now.
func SyncLog(ctx context.Context, s *Store) { s.syncLog(ctx) }

package jetsim

import "context"

// Accounts lists the DIDs of the network's n busiest accounts, the busiest first.
func (s *Sim) Accounts(n int) []string {
	dids := make([]string, min(n, int(s.net.accounts)))
	for i := range dids {
		dids[i] = string(s.net.did(uint64(i)))
	}
	return dids
}

// Follow calls each with every event that the server has ingested, the oldest first, as a v1 line,
// and then with every one that it ingests, until each fails, ctx ends or the Sim is closed. The line
// is valid during the call only. It is how another part of the simulated network learns what
// happened. It is no subscription, so it begins no fault.
func (s *Sim) Follow(ctx context.Context, each func(line []byte) error) error {
	var buf []byte
	for index := 0; ; {
		s.mu.Lock()
		more, end := s.wake, min(s.log.n, index+batchLen)
		recs := make([]record, 0, end-index)
		for ; index < end; index++ {
			recs = append(recs, *s.log.at(index))
		}
		s.mu.Unlock()
		for i := range recs {
			e := s.net.event(recs[i].num)
			buf = s.net.appendV1(buf[:0], &e, recs[i].seq, recs[i].timeUS)
			if err := each(buf); err != nil {
				return err
			}
		}
		if len(recs) > 0 {
			continue
		}
		select {
		case <-more:
		case <-s.done:
			return ErrClosed
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

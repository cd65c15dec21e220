package embedded

import (
	"sync"
	"time"
)

// underWay knows since when a stream's appends do not end.
type underWay struct {
	mu    sync.Mutex
	n     int
	since time.Time // when one of them ended last, or the first began
}

func (u *underWay) begin(now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.n++; u.n == 1 {
		u.since = now
	}
}

func (u *underWay) end(now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.n, u.since = u.n-1, now
}

// Stuck returns the stream whose appends have been under way for longest without the end of any, and
// for how long; "" if none is under way. An append that fails has ended. One that does not end is in
// a system call that does not return, or waits for a lock that nobody gives back.
func (s *Store) Stuck() (stream string, longest time.Duration) {
	now := s.clock.Now()
	for _, st := range s.all() {
		st.underWay.mu.Lock()
		if d := now.Sub(st.underWay.since); st.underWay.n > 0 && (stream == "" || d > longest) {
			stream, longest = st.name, d
		}
		st.underWay.mu.Unlock()
	}
	return stream, longest
}

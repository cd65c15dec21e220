package messages

import "time"

// UpstreamTime is a moment on one upstream host's clock, Unix µs. Every host has a clock of its own, and ours is another one: two
// moments can be subtracted only where one host's clock showed both.
type UpstreamTime struct {
	Host string // "host:port"; "" where it is not known whose clock it is
	US   int64  // 0 where the moment is not known
}

// IsZero says whether the moment is not known.
func (t UpstreamTime) IsZero() bool { return t.US == 0 }

// Sub is how much later t is than u; ok only where both are of one clock.
func (t UpstreamTime) Sub(u UpstreamTime) (d time.Duration, ok bool) {
	if t.US == 0 || u.US == 0 || t.Host == "" || t.Host != u.Host {
		return 0, false
	}
	return time.Duration(t.US-u.US) * time.Microsecond, true
}

// Add is the moment d later on the same clock.
func (t UpstreamTime) Add(d time.Duration) UpstreamTime {
	if t.US == 0 {
		return t
	}
	return UpstreamTime{Host: t.Host, US: t.US + d.Microseconds()}
}

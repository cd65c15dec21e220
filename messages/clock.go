package messages

import "time"

// UpstreamTime is a moment on the clock of one upstream host, in Unix µs. Every host has its own
// clock, and we have another one. So two moments can be subtracted only if they are of the same
// host's clock.
type UpstreamTime struct {
	Host string // "host:port"; "" if the clock is unknown
	US   int64  // 0 if the moment is unknown
}

// IsZero says whether the moment is unknown.
func (t UpstreamTime) IsZero() bool { return t.US == 0 }

// Sub returns how much later t is than u; ok is false unless both are of the same known clock.
func (t UpstreamTime) Sub(u UpstreamTime) (d time.Duration, ok bool) {
	if t.US == 0 || u.US == 0 || t.Host == "" || t.Host != u.Host {
		return 0, false
	}
	return time.Duration(t.US-u.US) * time.Microsecond, true
}

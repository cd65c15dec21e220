package serve

import "time"

// The limits by which a subscriber counts as too slow, the same as on real servers.
const (
	slowBehind = 100_000 // entries behind the tip
	slowRate   = 5       // entries per second
	slowWindow = 60 * time.Second
)

// pace judges whether a subscriber is too slow to ever reach the tip: far behind, and below
// slowRate for a whole window. The zero pace is ready to use.
type pace struct {
	since time.Time
	moved int64
}

// slow records that the subscriber has advanced by n entries at now and is behind by that many
// entries. It reports whether the subscriber is too slow.
func (p *pace) slow(now time.Time, n, behind int64) bool {
	if p.since.IsZero() || behind <= slowBehind {
		p.since, p.moved = now, 0
		return false
	}
	p.moved += n
	took := now.Sub(p.since) // longer than the window if the last n entries took long
	if took < slowWindow {
		return false
	}
	slow := p.moved < slowRate*int64(took/time.Second)
	p.since, p.moved = now, 0
	return slow
}

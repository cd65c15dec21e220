package serve

import "time"

// What a subscriber that does not keep up is known by, as real servers do.
const (
	slowBehind = 100_000 // entries behind the tip
	slowRate   = 5       // entries a second
	slowWindow = 60 * time.Second
)

// pace judges whether a subscriber is too slow to ever arrive: far behind, and hardly moving for a whole window. The zero pace is ready.
type pace struct {
	since time.Time
	moved int64
}

// slow notes that the subscriber has moved on by n entries, at now, and is behind by so many. It says whether that is too slow.
func (p *pace) slow(now time.Time, n, behind int64) bool {
	if p.since.IsZero() || behind <= slowBehind {
		p.since, p.moved = now, 0
		return false
	}
	p.moved += n
	took := now.Sub(p.since) // longer than the window where the last n took their time
	if took < slowWindow {
		return false
	}
	slow := p.moved < slowRate*int64(took/time.Second)
	p.since, p.moved = now, 0
	return slow
}

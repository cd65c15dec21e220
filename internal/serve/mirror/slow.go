package mirror

import "time"

// The limits by which a subscriber counts as too slow, the same as on real servers.
const (
	slowBehind = 100_000 // entries behind the tip
	slowRate   = 5       // entries per second
	slowWindow = 60 * time.Second
)

// slowDetector judges whether a subscriber is too slow to ever reach the tip: far behind, and below
// slowRate for a whole window. The zero value is ready to use.
type slowDetector struct {
	since time.Time
	moved int64
}

// tooSlow records that the subscriber has advanced by n entries at now and is behind by that many
// entries. It reports whether the subscriber is too slow.
func (d *slowDetector) tooSlow(now time.Time, n, behind int64) bool {
	if d.since.IsZero() || behind <= slowBehind {
		d.since, d.moved = now, 0
		return false
	}
	d.moved += n
	took := now.Sub(d.since) // longer than the window if the last n entries took long
	if took < slowWindow {
		return false
	}
	slow := d.moved < slowRate*int64(took/time.Second)
	d.since, d.moved = now, 0
	return slow
}

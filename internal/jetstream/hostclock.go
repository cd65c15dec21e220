package jetstream

import (
	"slices"
	"time"
)

// HostClock estimates the clock of one upstream host. It relates that clock to our monotonic clock,
// so that a change of our wall clock does not matter. It learns from two sources. The Date of a
// handshake is exact to a second. The time of an event is a lower bound of the host's present,
// because no event is stamped later than it is sent. A single event may have any time, so a lower
// bound counts only if three of the last 16 samples reach it (all of them, while there are fewer
// than three).
//
// The zero HostClock knows nothing. It is not safe for concurrent use.
type HostClock struct {
	dated  bool
	date   int64 // Unix µs of the host at monotonic 0, from the last Date
	events [clockSamples]int64
	seen   int // number of samples ever taken
}

const (
	clockSamples = 16
	clockAgree   = 3 // samples that must reach a value before it counts
	// dateSlack is how much too early a Date can be: it is cut to the second, and it was in
	// transit.
	dateSlack = 3 * time.Second
)

// SawDate takes a Date that the host sent at the monotonic moment at.
func (c *HostClock) SawDate(date time.Time, at time.Duration) {
	c.dated, c.date = true, date.UnixMicro()-at.Microseconds()
	c.seen = 0 // earlier samples may be of another setting of the host's clock
}

// SawEvent takes the time of an event that was received at the monotonic moment at.
func (c *HostClock) SawEvent(us int64, at time.Duration) {
	c.events[c.seen%clockSamples] = us - at.Microseconds()
	c.seen++
}

// agreed returns the least lead of the host's clock over our monotonic clock, Unix µs at monotonic
// 0, as the events tell it.
func (c *HostClock) agreed() (us int64, ok bool) {
	n := min(c.seen, clockSamples)
	if n == 0 {
		return 0, false
	}
	sorted := slices.Sorted(slices.Values(c.events[:n]))
	return sorted[max(n-clockAgree, 0)], true
}

// Earliest returns a moment, Unix µs, that the host's clock has reached at the monotonic moment at.
// ok is false if nothing is known.
func (c *HostClock) Earliest(at time.Duration) (us int64, ok bool) {
	low, ok := c.agreed()
	if c.dated && (!ok || low < c.date || low > c.date+dateSlack.Microseconds()) {
		low, ok = c.date, true
	}
	return low + at.Microseconds(), ok
}

// Latest returns a moment, Unix µs, that the host's clock has not passed at the monotonic moment
// at. ok is true if the host sent a Date or if several samples agree.
func (c *HostClock) Latest(at time.Duration) (us int64, ok bool) {
	high, _ := c.agreed()
	ok = c.seen >= clockAgree
	switch {
	case c.dated && ok:
		high = max(c.date, high)
	case c.dated:
		high, ok = c.date, true // a single event may have a wrong time
	}
	return high + (at + dateSlack).Microseconds(), ok
}

// RefineDate estimates the moment at which a host sent a Date, which is cut to the second. It
// returns our own clock's time if that agrees with the Date, and the middle of the second
// otherwise.
func RefineDate(date, ours time.Time) time.Time {
	if d := ours.Sub(date); d >= 0 && d < 1500*time.Millisecond {
		return ours
	}
	return date.Add(500 * time.Millisecond)
}

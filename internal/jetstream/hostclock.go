package jetstream

import (
	"slices"
	"time"
)

// HostClock is what is known of one upstream host's clock. It is told on our monotonic clock, so that nothing that happens to our
// wall clock matters. Two things teach it: the Date of a handshake, exact to a second, and the times of events: no event is stamped later
// than it is sent, so they bound the host's present from below. One event may be stamped by anything; what three batches of the last few
// agree on is believed.
//
// The zero HostClock knows nothing. It is not safe for concurrent use.
type HostClock struct {
	dated  bool
	date   int64 // Unix µs at monotonic 0, as the last Date has it
	events [clockSamples]int64
	seen   int // samples ever taken
}

const (
	clockSamples = 16
	clockAgree   = 3 // samples that must reach as far as what is believed
	// dateSlack is what a Date can be too early by: it is cut to the second, and was on its way.
	dateSlack = 3 * time.Second
)

// SawDate is told a Date that the host sent at the monotonic moment at.
func (c *HostClock) SawDate(date time.Time, at time.Duration) {
	c.dated, c.date = true, date.UnixMicro()-at.Microseconds()
	c.seen = 0 // samples of before may be of another reading of the clock
}

// SawEvent is told the time of an event that was received at the monotonic moment at.
func (c *HostClock) SawEvent(us int64, at time.Duration) {
	c.events[c.seen%clockSamples] = us - at.Microseconds()
	c.seen++
}

// agreed is how far the host's clock is ahead of our monotonic one at least, as events tell.
func (c *HostClock) agreed() (us int64, ok bool) {
	n := min(c.seen, clockSamples)
	if n == 0 {
		return 0, false
	}
	sorted := slices.Sorted(slices.Values(c.events[:n]))
	return sorted[max(n-clockAgree, 0)], true
}

// Earliest is a moment that the host's clock has reached at the monotonic moment at, Unix µs; ok only where something is known.
func (c *HostClock) Earliest(at time.Duration) (us int64, ok bool) {
	low, ok := c.agreed()
	if c.dated && (!ok || low < c.date || low > c.date+dateSlack.Microseconds()) {
		low, ok = c.date, true
	}
	return low + at.Microseconds(), ok
}

// Latest is a moment that the host's clock has not passed at the monotonic moment at, Unix µs. It is known where the host sent a
// Date, or several batches agree.
func (c *HostClock) Latest(at time.Duration) (us int64, ok bool) {
	high, ok := c.agreed()
	ok = ok && c.seen >= clockAgree
	if c.dated {
		high, ok = max(c.date, high), true
	}
	return high + (at + dateSlack).Microseconds(), ok
}

// RefineDate is the moment at which a host sent a Date, which is cut to the second: our own clock's where that agrees with it, else the middle of the second.
func RefineDate(date, ours time.Time) time.Time {
	if d := ours.Sub(date); d >= 0 && d < 1500*time.Millisecond {
		return ours
	}
	return date.Add(500 * time.Millisecond)
}

package jetstream

import (
	"time"

	"tempestd/messages"
)

// What a Resume knows of moments, which are of several clocks.

// readLate is how long after an upstream had an event it may have been read, where nothing tells that
// time: an upstream, a network or our own store may have held it up.
const readLate = 10 * time.Minute

// coveredThere returns the covered moment on the endpoint's clock, for a gap that begins there. What
// two hosts send at the same time differs by some seconds, so on another host it is earlier.
func (r *Resume) coveredThere(t messages.UpstreamTime) (there messages.UpstreamTime, foreign time.Duration) {
	there, foreign = r.there(t)
	switch {
	case there.Host == t.Host:
	case r.Ahead != 0:
		there.US -= r.Rewind.Microseconds()
	default:
		there.US -= readLate.Microseconds()
		if foreign > 0 {
			foreign += readLate
		}
	}
	return there, foreign
}

// there returns a moment, at which the position was reached or a later one was covered, on the
// endpoint's clock. It is never too late where anything relates the two clocks: both are known, or it
// is known how long ago the position was reached. Otherwise foreign is how long ago the moment was.
func (r *Resume) there(t messages.UpstreamTime) (there messages.UpstreamTime, foreign time.Duration) {
	host := r.Endpoint.Host()
	if t.Host == host {
		return t, 0
	}
	there = messages.UpstreamTime{Host: host, US: t.US + r.Ahead.Microseconds()}
	known := r.Ahead != 0
	if r.HostNow.Host == host && r.HostNow.US > 0 {
		// the same time ago as the position was reached
		there.US = min(there.US, r.HostNow.US-r.Since.Microseconds())
		known = known || r.Since > 0
	}
	if !known {
		foreign = max(r.Since, r.Now.Sub(time.UnixMicro(t.US)), 1)
	}
	return there, foreign
}

// behind returns how long ago the moment was: by its host's clock if that is known, otherwise by
// our wall clock.
func (r *Resume) behind(t messages.UpstreamTime) time.Duration {
	d, ok := r.HostNow.Sub(t)
	if !ok {
		d = r.Now.Sub(time.UnixMicro(t.US))
	}
	return max(d, 0)
}

// tooOld says whether the moment is before the replay window, by every clock that can tell. All of
// them must agree because any of them may be wrong. To ask for something that an upstream has
// dropped costs little; not to ask for something that it has loses events.
func (r *Resume) tooOld(t messages.UpstreamTime) bool {
	w := r.window()
	if w <= 0 || r.Now.Sub(time.UnixMicro(t.US)) <= w {
		return false
	}
	if d, ok := r.HostNow.Sub(t); ok && d <= w {
		return false
	}
	return r.Awake <= 0 || r.Awake > w
}

// showsMore says whether the endpoint's clock is the position's clock and shows a later time,
// according to a Date of the host itself.
func (r *Resume) showsMore(p messages.Position) bool {
	d, ok := r.HostNow.Sub(p.At())
	return ok && r.Dated && d >= 0
}

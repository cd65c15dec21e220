package supervisor

import (
	"time"

	"tempestd/messages"
)

// freshness is what is known about how far a feed's stream is behind its upstream. Its times are on
// our clock. An upstream's time is taken for a time on our clock, but for no later one than its
// arrival here.
type freshness struct {
	// The stream holds all events until covered, as far as the upstream's clock can be believed.
	covered  time.Time
	tip      time.Time     // when the feed last had everything that the upstream had
	storedAt time.Time     // when an event was last stored
	late     time.Duration // how old that event was then, by its upstream's clock
	frames   uint64        // frames of the epoch that are stored or passed over
	epoch    messages.Epoch
	// unstored is the last heartbeat at which events of the present were read and not stored yet.
	unstored struct {
		frames uint64
		at     time.Time
	}
}

const (
	// doubt is the phi from which a silence is not an ordinary quiet one. In a healthy feed one
	// silence in ten is so long.
	doubt = 1
	// tipFresh is how long the news that a feed is at the tip stays valid. It comes with every
	// heartbeat.
	tipFresh = 2 * time.Second
)

// resumed takes over a stored position.
func (l *freshness) resumed(now time.Time, cp messages.Checkpoint) {
	l.cover(now, cp.Covered().US)
}

func (l *freshness) cover(now time.Time, us int64) {
	if at := time.UnixMicro(us); us > 0 && at.After(l.covered) {
		l.covered = at
		if at.After(now) {
			l.covered = now
		}
	}
}

// committed notes a commit.
func (l *freshness) committed(m *messages.Committed) {
	if m.Epoch != l.epoch {
		l.epoch, l.frames, l.unstored.at = m.Epoch, 0, time.Time{}
	}
	l.frames += uint64(m.Frames)
	// Where events come in step with the heartbeats, each of those finds events that are not stored.
	if u := l.unstored; l.frames >= u.frames && u.at.After(l.tip) {
		l.tip = u.at
	}
	l.cover(m.At, m.Checkpoint.TimeUS)
	if m.NewestUS > 0 {
		l.storedAt, l.late = m.At, max(m.At.Sub(time.UnixMicro(m.NewestUS)), 0)
		l.cover(m.At, m.NewestUS)
	}
}

// heartbeat notes a heartbeat of a connection that opened at open. patience is how long the
// connection may give no sign of life.
//
// A connection is at the tip when everything that it has read is stored, and when either its newest
// event is of the present or no more events come. A silence proves nothing if it is unusual for
// this feed or if a ping is overdue. Then the feed is known to have been at the tip only until its
// last sign of life.
func (l *freshness) heartbeat(m *messages.Heartbeat, open time.Time, position messages.Position, phi float64, patience time.Duration) {
	stored := m.Frames == 0 || m.Epoch == l.epoch && l.frames >= m.Frames || m.NewestUS <= position.TimeUS
	life := newest(open, m.LastFrame, m.Pong)
	quiet := m.At.Sub(open) >= tipQuiet && m.At.Sub(m.LastFrame) >= tipQuiet
	fresh := ofThePresent(m, m.At)
	if m.Blocked > 0 || !quiet && !fresh {
		return
	}
	if !stored {
		if fresh && m.Epoch == l.epoch {
			l.unstored.frames, l.unstored.at = m.Frames, m.At
		}
		return
	}
	at := m.At
	if phi >= doubt || m.At.Sub(life) > patience {
		at = life
	}
	if at.After(l.tip) {
		l.tip = at
	}
}

// ofThePresent says whether the event that came last is of what its host's clock showed at a time,
// or of ours where the host's is not known. An event that is later than that is from before the
// host's clock was set back, and shows nothing.
func ofThePresent(m *messages.Heartbeat, at time.Time) bool {
	if m.LatestUS == 0 {
		return false
	}
	if m.PresentUS == 0 {
		return at.Sub(time.UnixMicro(m.LatestUS)) <= tipLag
	}
	away := time.Duration(m.PresentUS-m.LatestUS)*time.Microsecond - m.At.Sub(at)
	return away.Abs() <= tipLag
}

// lag is how far the stream is behind. At the tip it is the delay of the last event, or 0 when no
// events come. Elsewhere it is the time since the newest stored event, or since the feed was last
// known to be at the tip.
func (l *freshness) lag(now time.Time, connected bool) time.Duration {
	if connected && now.Sub(l.tip) <= tipFresh {
		if now.Sub(l.storedAt) < tipQuiet {
			return l.late
		}
		return 0
	}
	since := l.covered
	if l.tip.After(since) {
		since = l.tip
	}
	if since.IsZero() {
		return 0 // nothing is known yet
	}
	return max(now.Sub(since), 0)
}

package supervisor

import (
	"time"

	"tempestd/messages"
)

// freshness is what is known of how far a feed's stream is behind its upstream. Its times are our clock's; an upstream's are taken for that, and for no later than
// the moment they reached us.
type freshness struct {
	covered   time.Time     // the stream holds what there was until then, as far as the upstream's clock can be believed
	tip       time.Time     // when the feed last had everything that there was
	committed time.Time     // when an event was stored last
	late      time.Duration // by its upstream's clock, how old it was then
	frames    uint64        // of the epoch that are stored or passed over
	epoch     messages.Epoch
}

const (
	// doubt is the phi from which a silence is no quiet one: one in ten is so long.
	doubt = 1
	// tipFresh is how long the word that a feed is at the tip holds: it comes with every heartbeat.
	tipFresh = 2 * time.Second
)

// resumes takes over a stored position.
func (l *freshness) resumes(now time.Time, cp messages.Checkpoint) {
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

// commits notes a commit.
func (l *freshness) commits(m *messages.Committed) {
	if m.Epoch != l.epoch {
		l.epoch, l.frames = m.Epoch, 0
	}
	l.frames += uint64(m.Frames)
	l.cover(m.At, m.Checkpoint.TimeUS)
	if m.NewestUS > 0 {
		l.committed, l.late = m.At, max(m.At.Sub(time.UnixMicro(m.NewestUS)), 0)
		l.cover(m.At, m.NewestUS)
	}
}

// beats notes a heartbeat of a connection that opened at open. Patience is how long it may give no sign of life.
//
// A connection is at the tip when everything it read is stored, and what it read is of the present, or nothing more comes. A silence that is unusual for this feed,
// or in which a ping is overdue, proves nothing: then the feed is known to be at the tip until its last sign of life.
func (l *freshness) beats(m *messages.Heartbeat, open time.Time, position messages.Position, phi float64, patience time.Duration) {
	stored := m.Frames == 0 || m.Epoch == l.epoch && l.frames >= m.Frames || m.NewestUS <= position.TimeUS
	life := open
	for _, sign := range []time.Time{m.LastFrame, m.Pong} {
		if sign.After(life) {
			life = sign
		}
	}
	quiet := m.At.Sub(open) >= tipQuiet && m.At.Sub(m.LastFrame) >= tipQuiet
	present := m.At.UnixMicro()
	if m.PresentUS > 0 {
		present = m.PresentUS // by the upstream's own clock
	}
	fresh := m.NewestUS > 0 && time.Duration(present-m.NewestUS)*time.Microsecond <= tipLag
	if m.Blocked > 0 || !stored || !quiet && !fresh {
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

// lag is how far the stream is behind: at the tip what the last event took to get here, 0 when it is quiet there; else the time since the newest that is stored, or
// since the feed was known to be at the tip.
func (l *freshness) lag(now time.Time, connected bool) time.Duration {
	if connected && now.Sub(l.tip) <= tipFresh {
		if now.Sub(l.committed) < tipQuiet {
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

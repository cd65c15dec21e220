package supervisor

import (
	"fmt"
	"time"

	"tempestd/internal/observe"
	"tempestd/messages"
)

// absence is the time from which a feed is not connected until its stream has everything again. One
// log event tells of it at its end, however many connections that took. The zero absence is none.
type absence struct {
	since    time.Time // when the feed was last connected
	reason   string    // why that ended
	attempts int       // connections since then
	back     time.Time // when the newest connection opened, zero while there is none

	// The feed's figures at since.
	stored, duplicates, gaps uint64
	lost                     time.Duration // upstream time in the gaps since then
}

// sinceStart is the reason of the absence that a feed begins with.
const sinceStart = "started"

// away notes that the feed is not connected.
func (s *feedStatus) away(reason string) {
	a := &s.absence
	a.back = time.Time{}
	if a.since.IsZero() {
		*a = absence{since: s.clock.Now(), reason: reason, stored: s.Stored, duplicates: s.Duplicates, gaps: s.Gaps}
	}
}

// moved notes a change of the state.
func (a *absence) moved(s *feedStatus, to messages.FeedState, reason string) {
	switch to {
	case messages.StateConnecting, messages.StateReconnecting:
		s.away(reason)
		a.attempts++
	case messages.StateDisconnected, messages.StateFailed, messages.StatePaused, messages.StateStandby:
		s.away(reason)
	case messages.StateLive:
		if !a.since.IsZero() && a.back.IsZero() {
			a.back = s.clock.Now()
		}
	case messages.StateStopped:
		*a = absence{}
	}
}

// covers notes that the stream has everything until at: another daemon wrote it, or an earlier run
// of this one.
func (a *absence) covers(at time.Time) {
	if !at.IsZero() && (a.reason == sinceStart || at.After(a.since)) {
		a.since = at
	}
}

// told emits the event when the feed was at the tip of its upstream since its connection opened.
func (a *absence) told(s *feedStatus) {
	if a.back.IsZero() || s.State != messages.StateLive || !s.tip.After(a.back) {
		return
	}
	lost := "nothing"
	if n := s.Gaps - a.gaps; n > 0 {
		lost = fmt.Sprintf("%d gaps, %v", n, a.lost.Round(time.Second))
	}
	s.observer.Emit(observe.FeedCaughtUp, s.Feed, "away", max(a.back.Sub(a.since), 0).Round(time.Millisecond).String(), "reason", a.reason, "attempts", a.attempts,
		"took", s.clock.Now().Sub(a.back).Round(time.Millisecond).String(), "replayed", s.Stored-a.stored, "dropped", s.Duplicates-a.duplicates, "lost", lost,
		"endpoint", s.Endpoint, "protocol", s.Protocol, "compression", s.Compression)
	*a = absence{}
}

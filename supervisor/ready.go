package supervisor

import (
	"cmp"
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"tempestd/actors"
	"tempestd/messages"
)

const (
	// tickEvery is how often a feed checks itself.
	tickEvery = time.Second
	// troubleAfter is how long a store may refuse a feed's requests before the daemon is not ready.
	// A failover takes some seconds.
	troubleAfter = 5 * time.Second
	// fruitlessAfter and fruitlessEnds are for how long, and on how many connections, an upstream
	// may send frames without any new event being stored. Beyond both the feed is not ready.
	fruitlessAfter = 5 * time.Minute
	fruitlessEnds  = 3
)

// tick is the feed's message to itself.
type tick struct{}

// progress tells whether the feed makes progress. A feed with an unreachable upstream still counts
// as ready, because the daemon can do nothing about it. A feed that reads and stores nothing new
// does not.
type progress struct {
	furthest int64     // the greatest upstream time of a position, Unix µs
	at       time.Time // when something new was last stored or passed over
	epoch    messages.Epoch
	read     bool // the epoch brought frames
	advanced bool // the epoch brought something new
	ends     int  // epochs in a row that brought frames and nothing new
}

// committed notes a commit.
func (p *progress) committed(m *messages.Committed) {
	if m.Epoch != p.epoch {
		p.epoch, p.read, p.advanced = m.Epoch, false, false
	}
	p.read = p.read || m.Frames > 0
	if to := m.Checkpoint.TimeUS; m.Entries > 0 || to > p.furthest {
		p.furthest, p.at, p.advanced, p.ends = max(to, p.furthest), m.At, true, 0
	}
}

// ended notes the end of an epoch.
func (p *progress) ended(epoch messages.Epoch) {
	if p.epoch == epoch && p.read && !p.advanced {
		p.ends++
	}
	p.read = false // so that a second call counts nothing
}

// fruitless says whether the upstream sends again and again without any progress. A feed that was
// at the tip meanwhile had nothing more to get.
func (p *progress) fruitless(now, tip time.Time) bool {
	return p.ends >= fruitlessEnds && now.Sub(p.at) >= fruitlessAfter && now.Sub(tip) >= fruitlessAfter
}

// readiness is what a feed remembers to tell whether it is ready.
type readiness struct {
	reported string    // as last reported to the root
	since    time.Time // since when the feed cannot store, zero while it can
}

// tick updates the figures and reports that have to change even though no message comes.
func (f *feed) tick(ctx actor.Context) {
	now := f.cfg.Clock.Now()
	f.ticker = f.later(ctx, tickEvery, &tick{})
	f.measure(now)
	if reason := f.notReady(now); reason != f.ready.reported {
		f.ready.reported = reason
		ctx.Send(ctx.Parent(), &actors.FeedTrouble{Feed: ctx.Self(), Reason: reason})
	}
}

// measure updates the figures that change with time alone.
func (f *feed) measure(now time.Time) {
	m, name, lag := f.cfg.Observer.Metrics(), f.cfg.Name, f.lag(now)
	m.Lag.WithLabelValues(name).Set(lag.Seconds())
	m.ReplayLeft.WithLabelValues(name).Set(max(f.cfg.ReplayWindow-lag, 0).Seconds())
	for _, e := range f.endpoints.Status(now) {
		current := 0.0
		if e.Current {
			current = 1
		}
		m.Endpoint.WithLabelValues(name, e.Endpoint).Set(current)
		m.EndpointKO.WithLabelValues(name, e.Endpoint).Set(float64(e.Failures))
	}
}

// lag is how far the feed is behind, 0 for a feed that this daemon does not read.
func (f *feed) lag(now time.Time) time.Duration {
	switch f.status.State {
	case messages.StateStandby, messages.StateStopped:
		return 0
	}
	_, open := f.life.phase.(*connected)
	return f.status.lag(now, open && f.life.stalled == "")
}

// notReady is why the feed is not ready, "" when it is. Its words do not change while it lasts.
func (f *feed) notReady(now time.Time) string {
	reason := cmp.Or(f.life.stalled, f.life.unread, f.away)
	if reason == "" || f.stopping {
		f.ready.since = time.Time{}
	} else if f.ready.since.IsZero() {
		f.ready.since = now
	}
	switch since := f.ready.since; {
	case !since.IsZero() && now.Sub(since) >= troubleAfter:
		return "cannot store: " + reason
	case f.status.State == messages.StateFailed:
		return "is refused by its upstream: " + f.status.Reason
	case f.status.fruitless(now, f.status.tip):
		return fmt.Sprintf("has stored nothing new for more than %v, although its upstream sends", fruitlessAfter)
	}
	return ""
}

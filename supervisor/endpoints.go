package supervisor

import (
	"math/rand/v2"
	"time"

	"tempestd/actors"
	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// Endpoints decides to which of a feed's upstreams it connects next, and when. Each endpoint has
// its own backoff and state. So an endpoint that refuses, drops connections at once or is blind
// costs a short wait for the next endpoint, and not a turn through the whole list. It is not safe
// for concurrent use.
type Endpoints struct {
	list    []endpoint // in order of preference
	at      int        // index of the endpoint that is or was connected last
	ended   int        // index of the endpoint whose connection ended last
	first   time.Duration
	rand    *rand.Rand
	idle    int       // connections in a row that we ended ourselves and that brought nothing
	passing int       // ends in a row that the upstream announced, without progress
	liveAt  time.Time // since when the connection to Current is open, zero while none is
	// comeback is how long a connection to another endpoint must have lived before the preferred
	// endpoint is tried again.
	comeback time.Duration
}

type endpoint struct {
	jetstream.Endpoint
	backoff *Backoff
	readyAt time.Time // no request before this time
	reason  string    // of its last failure, "" after a success
	refused bool      // it said that another request is useless
}

const (
	// blindPenalty is how long an endpoint that showed no commits is left alone, if there is
	// another one.
	blindPenalty = 30 * time.Minute
	// mostPassing is how many times in a row a server that says it will be back soon is believed.
	mostPassing = 4
	// The bounds of the comeback. It doubles with every comeback that fails.
	minComeback = 15 * time.Minute
	maxComeback = 6 * time.Hour
)

// NewEndpoints makes a choice among the endpoints of list, which must not be empty and is in order
// of preference.
func NewEndpoints(list []jetstream.Endpoint, schedule []time.Duration, r *rand.Rand) *Endpoints {
	e := &Endpoints{first: schedule[0], rand: r, comeback: minComeback}
	for _, ep := range list {
		e.list = append(e.list, endpoint{Endpoint: ep, backoff: NewBackoff(schedule, r)})
	}
	return e
}

// Current is the endpoint to connect to.
func (e *Endpoints) Current() jetstream.Endpoint { return e.list[e.at].Endpoint }

// Ended notes that a connection to Current ended at now, how it ended, whether it had moved the
// position, and whether connections are stuck at the position. It chooses the next Current and
// returns the wait before its connection.
//
// An end of our own says nothing about the endpoint. The same one is used again: at once, and with
// growing waits if the connections bring nothing. After a healthy connection the next one goes to
// the same endpoint, or to a preferred one that is ready. After any other end it goes to the
// endpoint that is ready first. A server that announces its end, or that it will be ready soon,
// stays as healthy as before.
func (e *Endpoints) Ended(now time.Time, why *actors.Ended, moved, stuck bool) time.Duration {
	cur := &e.list[e.at]
	e.ended, e.liveAt = e.at, time.Time{}
	if moved {
		e.idle, e.passing = 0, 0
	}
	switch why.Forced {
	case messages.CauseOperator, messages.CauseSleep, messages.CauseFilter, messages.CauseNoOverlap, messages.CauseClock, messages.CausePreferred:
		if why.Forced == messages.CausePreferred {
			e.at = 0
		}
		if e.idle++; e.idle == 1 {
			return 0
		}
		return e.list[e.at].backoff.After(e.idle - 2)
	}
	if (why.Clean || why.Passing) && e.passing < mostPassing && !stuck {
		wait := max(cur.backoff.After(e.passing), why.RetryAfter)
		e.passing++
		return wait
	}
	healthy := why.Lived >= cur.backoff.Healthy() && !stuck
	wait := cur.backoff.Next(why.Lived, why.RetryAfter, why.Permanent)
	cur.reason, cur.refused = why.Reason, why.Permanent
	if why.SeqReset || why.Forced == messages.CauseWriter {
		return wait
	}
	if why.Forced == messages.CauseBlind && len(e.list) > 1 {
		wait, healthy = blindPenalty, false
	}
	cur.readyAt = now.Add(wait)
	if e.at == 0 && len(e.list) > 1 {
		if healthy {
			e.comeback = minComeback
		} else {
			e.comeback = min(2*e.comeback, maxComeback)
		}
	}
	if healthy && why.RetryAfter == 0 {
		for i := range e.list[:e.at+1] {
			if !e.list[i].readyAt.After(cur.readyAt) {
				e.at = i
				break
			}
		}
		return wait
	}
	was := e.at
	for i := range e.list {
		if e.list[i].wait(now) < e.list[e.at].wait(now) {
			e.at = i
		}
	}
	if e.at == was {
		return wait
	}
	// Other clients that lost the same upstream come to the next one as well. The jitter spreads
	// them.
	jitter := time.Duration(e.rand.Int64N(int64(e.first) + 1))
	return max(e.list[e.at].wait(now), jitter)
}

// wait is how long the endpoint must not be asked yet.
func (ep *endpoint) wait(now time.Time) time.Duration { return max(ep.readyAt.Sub(now), 0) }

// Progressed notes that the connection that ended last has moved the position. Call it when
// everything that the connection brought is stored. The next wait is then the schedule's first, however short
// the connection was: on a link that is cut again and again, each connection fetches a part of the
// events.
func (e *Endpoints) Progressed() { e.list[e.ended].backoff.Reset() }

// Live notes that the connection to Current is open at now.
func (e *Endpoints) Live(now time.Time) {
	e.list[e.at].reason, e.list[e.at].refused = "", false
	if e.liveAt.IsZero() {
		e.liveAt = now
	}
}

// WantsBack says whether it is time to try the preferred endpoint again, after a connection to
// Current that has lived for lived.
func (e *Endpoints) WantsBack(now time.Time, lived time.Duration) bool {
	return e.at != 0 && lived >= e.comeback && !e.list[0].readyAt.After(now)
}

// Refused says whether every endpoint has refused us for good.
func (e *Endpoints) Refused() bool {
	for i := range e.list {
		if !e.list[i].refused {
			return false
		}
	}
	return true
}

// Reset forgets every wait. An operator's reconnect does this.
func (e *Endpoints) Reset() {
	for i := range e.list {
		e.list[i].backoff.Reset()
		e.list[i].readyAt = time.Time{}
	}
	e.idle, e.passing = 0, 0
}

// Status is a snapshot for the status page.
func (e *Endpoints) Status(now time.Time) []messages.EndpointStatus {
	all := make([]messages.EndpointStatus, len(e.list))
	for i := range e.list {
		ep := &e.list[i]
		all[i] = messages.EndpointStatus{Endpoint: ep.String(), Current: i == e.at, Failures: ep.backoff.Failures(), Reason: ep.reason}
		if i == e.at && !e.liveAt.IsZero() && now.Sub(e.liveAt) >= ep.backoff.Healthy() {
			all[i].Failures = 0 // the connection is a healthy one already
		}
		if ep.readyAt.After(now) {
			at := ep.readyAt
			all[i].ReadyAt = &at
		}
	}
	return all
}

package supervisor

import (
	"math/rand/v2"
	"time"

	"tempestd/actors"
	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// Endpoints decides which of a feed's upstreams is connected to next, and when. Each has a backoff and a memory of its own: an endpoint that
// refuses, drops us at once or has gone blind costs a short wait for the next one, not a turn of the whole list.
type Endpoints struct {
	list     []endpoint // in order of preference
	at       int        // the one that is or was connected to last
	ended    int        // the one whose connection ended last
	first    time.Duration
	rand     *rand.Rand
	idle     int           // connections in a row that we ended ourselves and that had brought nothing
	passing  int           // … and that the upstream said will be possible again soon
	comeback time.Duration // how long another endpoint must have done well before the preferred one is tried again
}

type endpoint struct {
	jetstream.Endpoint
	backoff *Backoff
	readyAt time.Time // not to be asked before
	reason  string    // of its last failure, "" while it does well
	refused bool      // it said that asking again is useless
}

const (
	// blindPenalty is how long an endpoint that showed us nothing of what we want is left alone, if there is another.
	blindPenalty = 30 * time.Minute
	// mostPassing is how often in a row a server is believed that it will be ready soon.
	mostPassing = 4
	// Bounds of the comeback, which doubles with every one that fails.
	minComeback = 15 * time.Minute
	maxComeback = 6 * time.Hour
)

// NewEndpoints makes a choice among the list, which must not be empty and is in order of preference.
func NewEndpoints(list []jetstream.Endpoint, schedule []time.Duration, r *rand.Rand) *Endpoints {
	e := &Endpoints{first: schedule[0], rand: r, comeback: minComeback}
	for _, ep := range list {
		e.list = append(e.list, endpoint{Endpoint: ep, backoff: NewBackoff(schedule, r)})
	}
	return e
}

// Current is the endpoint to connect to.
func (e *Endpoints) Current() jetstream.Endpoint { return e.list[e.at].Endpoint }

// Ended is told how a connection to Current ended at now, whether it had moved the position, and whether connections are stuck where the position is. It
// chooses the next Current and says how long to wait for it.
//
// What we ended ourselves says nothing about the endpoint: the same one again, at once, unless the one before it had brought nothing either. After a healthy life, too,
// the same one, or one that is preferred to it and ready. Otherwise the one that is ready first. A server that says that it is going, or that it will be ready soon, is
// as healthy as before.
func (e *Endpoints) Ended(now time.Time, why *actors.Ended, moved, stuck bool) time.Duration {
	cur := &e.list[e.at]
	e.ended = e.at
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
	// Whoever lost the same upstream comes to the next one as well: not all at the same moment.
	jitter := time.Duration(e.rand.Int64N(int64(e.first) + 1))
	return max(e.list[e.at].wait(now), jitter)
}

// wait is how long the endpoint is not to be asked yet.
func (ep *endpoint) wait(now time.Time) time.Duration { return max(ep.readyAt.Sub(now), 0) }

// Brought is told, once all is stored that the connection that ended last had brought, that it brought the feed further. However short it was, the next wait is the
// schedule's first: on a link that cuts again and again each connection fetches a part of what is to be fetched.
func (e *Endpoints) Brought() { e.list[e.ended].backoff.Reset() }

// Live is told that the connection to Current stands.
func (e *Endpoints) Live() { e.list[e.at].reason, e.list[e.at].refused = "", false }

// WantsBack says whether it is time, after a connection to Current that has lived for so long, to try the preferred endpoint again.
func (e *Endpoints) WantsBack(now time.Time, lived time.Duration) bool {
	return e.at != 0 && lived >= e.comeback && !e.list[0].readyAt.After(now)
}

// Refused says whether every endpoint refuses us for good.
func (e *Endpoints) Refused() bool {
	for i := range e.list {
		if !e.list[i].refused {
			return false
		}
	}
	return true
}

// Reset forgets every wait, as an operator's reconnect does.
func (e *Endpoints) Reset() {
	for i := range e.list {
		e.list[i].backoff.Reset()
		e.list[i].readyAt = time.Time{}
	}
	e.idle, e.passing = 0, 0
}

// Status is a snapshot for people.
func (e *Endpoints) Status(now time.Time) []messages.EndpointStatus {
	all := make([]messages.EndpointStatus, len(e.list))
	for i := range e.list {
		ep := &e.list[i]
		all[i] = messages.EndpointStatus{Endpoint: ep.String(), Current: i == e.at, Failures: ep.backoff.Failures(), Reason: ep.reason}
		if ep.readyAt.After(now) {
			at := ep.readyAt
			all[i].ReadyAt = &at
		}
	}
	return all
}

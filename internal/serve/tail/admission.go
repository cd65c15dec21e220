package tail

import (
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"tempestd/internal/serve/api"
)

// Defaults of the numbers of requests that may wait at one time.
const (
	defaultPerStream = 16_384 // on one stream
	defaultPerClient = 10_000 // of one client, on all streams
)

// longTail is the time that a tail without an end of its own is assumed to last. Retry-After says
// this value when no other request holds a slot. No tail with an end waits longer.
const longTail = 60 // seconds

// admission bounds the requests that wait, per stream and per client (package peer) over all streams.
type admission struct {
	now func() time.Time

	mu                   sync.Mutex
	perStream, perClient int
	streams              map[string]*slots
	clients              map[netip.Addr]*slots
}

func newAdmission(perStream, perClient int, now func() time.Time) *admission {
	return &admission{perStream: perStream, perClient: perClient, now: now, streams: make(map[string]*slots), clients: make(map[netip.Addr]*slots)}
}

// slots are the used slots of one stream or one client.
type slots struct {
	used int
	// ends counts the slots by the second in which their block budgets end, modulo the length of
	// ends.
	ends [2 * longTail]int32
}

// free returns in how many seconds a slot is likely to become free: when the first budget ends, or
// in 1 s if a budget has ended and its answer is on the way.
func (s *slots) free(now int64) int {
	for in := int64(-longTail + 1); in < longTail; in++ {
		if s.ends[uint64(now+in)%uint64(len(s.ends))] > 0 {
			return int(max(in, 1))
		}
	}
	return longTail
}

// enter takes a slot for a request by client that follows stream and waits for up to budget, 0 for
// no limit. The error is an *api.Error with status 429.
func (a *admission) enter(stream string, client netip.Addr, budget time.Duration) (leave func(), err error) {
	now := a.now()
	a.mu.Lock()
	defer a.mu.Unlock()
	ofStream, ofClient := a.streams[stream], a.clients[client]
	if ofStream != nil && ofStream.used >= a.perStream {
		return nil, tooManyTails(fmt.Sprintf("%d tails, as many as one stream has at one time, are open on this one", a.perStream), ofStream.free(now.Unix()))
	}
	if ofClient != nil && ofClient.used >= a.perClient {
		return nil, tooManyTails(fmt.Sprintf("%d tails, as many as one address has at one time, are open from this one", a.perClient), ofClient.free(now.Unix()))
	}
	if ofStream == nil {
		ofStream = new(slots)
		a.streams[stream] = ofStream
	}
	if ofClient == nil {
		ofClient = new(slots)
		a.clients[client] = ofClient
	}
	end := -1
	if budget > 0 && budget < longTail*time.Second {
		// Rounded up, so that a client that retries after this many seconds finds the budget ended.
		end = int(uint64(now.Add(budget+time.Second-1).Unix()) % (2 * longTail))
	}
	ofStream.take(end, 1)
	ofClient.take(end, 1)
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if ofStream.take(end, -1); ofStream.used == 0 {
			delete(a.streams, stream)
		}
		if ofClient.take(end, -1); ofClient.used == 0 {
			delete(a.clients, client)
		}
	}, nil
}

func (s *slots) take(end, n int) {
	s.used += n
	if end >= 0 {
		s.ends[end] += int32(n)
	}
}

func tooManyTails(message string, seconds int) error {
	return &api.Error{Status: http.StatusTooManyRequests, Name: api.NameTooManyTails, Message: message + "; try again in " + strconv.Itoa(seconds) + " s",
		Header: api.RetryAfter(seconds)}
}

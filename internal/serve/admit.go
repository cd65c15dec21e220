package serve

import (
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"
)

// Bounds of what waits at one time, where the configuration says nothing.
const (
	defaultMaxTails       = 16_384 // on one stream
	defaultMaxClientTails = 10_000 // of one client, on all streams
)

// longTail is how long a tail without an end of its own is taken to go on, and so what Retry-After says when nothing else holds a slot. No tail that has
// an end waits longer.
const longTail = 60 // seconds

// admission bounds the requests that wait: per stream, and per client over all streams. A client is a remote address, of IPv6 the /64 it is in, whatever
// token it sends: a daemon has one token, and so no other name for its clients. Behind a proxy all of its clients are one.
type admission struct {
	perStream, perClient int
	now                  func() time.Time

	mu      sync.Mutex
	streams map[string]*slots
	clients map[netip.Addr]*slots
}

func newAdmission(perStream, perClient int, now func() time.Time) *admission {
	return &admission{perStream: perStream, perClient: perClient, now: now, streams: make(map[string]*slots), clients: make(map[netip.Addr]*slots)}
}

// slots are what one stream, or one client, has in use.
type slots struct {
	used int
	// ends counts the slots by the second, modulo its length, in which their block budgets end.
	ends [2 * longTail]int32
}

// free is in how many seconds the first of the slots is likely to be free: when its budget ends, or now where that is over and its answer on the way.
func (s *slots) free(now int64) int {
	for in := int64(-longTail + 1); in < longTail; in++ {
		if s.ends[uint64(now+in)%uint64(len(s.ends))] > 0 {
			return int(max(in, 1))
		}
	}
	return longTail
}

// enter takes a slot for a request of client on stream that waits for up to budget, 0 for as long as its client likes. The error is a *apiError, 429.
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
		// Rounded up: who comes back after so many seconds finds it over.
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
	return &apiError{status: http.StatusTooManyRequests, name: nameTooManyTails, message: message + "; try again in " + strconv.Itoa(seconds) + " s",
		header: retryAfter(seconds)}
}

// clientOf is whom a request counts for.
func clientOf(r *http.Request) netip.Addr {
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{} // no network's; all of those are one
	}
	addr := remote.Addr().Unmap().WithZone("")
	if addr.Is6() {
		if net, err := addr.Prefix(64); err == nil {
			return net.Addr()
		}
	}
	return addr
}

// admit takes a slot for a request that follows stream, which every request that waits or stays must hold: 429 TooManyTails when there is none, 503
// while the server stops. budget is how long it waits at the most, 0 for as long as its client likes. Release gives the slot back, once.
func (s *Server) admit(r *http.Request, stream string, budget time.Duration) (release func(), err error) {
	if s.draining() {
		return nil, errShuttingDown()
	}
	leave, err := s.tails.enter(stream, clientOf(r), budget)
	if err != nil {
		return nil, err
	}
	gauge := s.observer.Metrics().Tails.WithLabelValues(stream)
	gauge.Inc()
	return func() {
		gauge.Dec()
		leave()
	}, nil
}

package guard

import (
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"tempestd/internal/serve/api"
)

// Bounds of wrong tokens.
const (
	freeAttempts = 5                // of one client, before it has to wait
	firstWait    = time.Second      // after these; each further one doubles it
	mostWait     = time.Minute      // and no more
	forgetAfter  = 10 * time.Minute // without a wrong token
	maxClients   = 4096             // that are remembered
)

// attempts slows down clients that try tokens. It is safe for concurrent use.
type attempts struct {
	mu      sync.Mutex
	clients map[netip.Addr]*tried
}

// tried is what a client has tried.
type tried struct {
	wrong int
	last  time.Time
	until time.Time // no token is looked at before
}

// wait returns how long no token of the client is looked at.
func (a *attempts) wait(client netip.Addr, now time.Time) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.clients[client]
	if t == nil {
		return 0
	}
	return max(t.until.Sub(now), 0)
}

// failed notes a wrong token.
func (a *attempts) failed(client netip.Addr, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.clients[client]
	if t == nil || now.Sub(t.last) > forgetAfter {
		if a.clients == nil {
			a.clients = make(map[netip.Addr]*tried)
		}
		if len(a.clients) >= maxClients {
			a.forgetOldest()
		}
		t = new(tried)
		a.clients[client] = t
	}
	t.wrong++
	t.last = now
	if more := t.wrong - freeAttempts; more >= 0 {
		t.until = now.Add(min(firstWait<<min(more, 10), mostWait))
	}
}

func (a *attempts) forgetOldest() {
	var oldest netip.Addr
	var at time.Time
	for client, t := range a.clients {
		if at.IsZero() || t.last.Before(at) {
			oldest, at = client, t.last
		}
	}
	delete(a.clients, oldest)
}

// passed forgets a client that has sent a right token.
func (a *attempts) passed(client netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.clients, client)
}

func errTooManyAttempts(wait time.Duration) error {
	seconds := int((wait + time.Second - 1) / time.Second)
	return &api.Error{Status: http.StatusTooManyRequests, Name: api.NameTooManyAttempts,
		Message: "too many wrong tokens came from this address; try again in " + strconv.Itoa(seconds) + " s", Header: api.RetryAfter(seconds)}
}

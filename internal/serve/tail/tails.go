package tail

import (
	"cmp"
	"context"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/beside"
	"tempestd/internal/observe"
	"tempestd/internal/serve/api"
	"tempestd/internal/serve/budget"
	"tempestd/internal/serve/peer"
)

// Options configure Tails. Clock and Observer are required.
type Options struct {
	Clock    clockwork.Clock
	Observer *observe.Observer
	// PerStream is how many tails may wait or stay at one time on one stream, 0 for 16384.
	// PerClient is the same for one client address, 0 for 10000.
	PerStream, PerClient int
	// Budget is the memory that all readers may use together.
	Budget *budget.Budget
	Peers  *peer.Peers
	Fault  beside.Fault // nil, except in tests of faults
}

// Tails are the requests of one server that follow streams: how many there may be, and how they
// end together. It is safe for concurrent use.
type Tails struct {
	Buffers  Buffers
	clock    clockwork.Clock
	observer *observe.Observer
	fault    beside.Fault
	slots    *admission
	budget   *budget.Budget
	peers    *peer.Peers

	gate    sync.Mutex     // guards joined: no connection joins once the server is stopping
	joined  sync.WaitGroup // connections that the HTTP server no longer owns
	drained context.Context
	drain   context.CancelFunc
	cutOff  context.Context
	cut     context.CancelFunc
}

// New returns the tails of a server.
func New(o Options) *Tails {
	t := &Tails{clock: o.Clock, observer: o.Observer, fault: o.Fault, budget: o.Budget, peers: o.Peers,
		slots: newAdmission(cmp.Or(o.PerStream, defaultPerStream), cmp.Or(o.PerClient, defaultPerClient), o.Clock.Now)}
	t.drained, t.drain = context.WithCancel(context.Background())
	t.cutOff, t.cut = context.WithCancel(context.Background())
	return t
}

// Configure changes how many tails there may be, as Options have it. Those that are open stay.
func (t *Tails) Configure(perStream, perClient int) {
	t.slots.mu.Lock()
	defer t.slots.mu.Unlock()
	t.slots.perStream, t.slots.perClient = cmp.Or(perStream, defaultPerStream), cmp.Or(perClient, defaultPerClient)
}

// Admit takes a slot for a request that follows stream. Every request that waits or stays must hold
// one. The error is 429 TooManyTails when no slot is free, and 503 while the server stops. longest
// is the longest time that the request waits, 0 for no limit. The caller must call release exactly
// once.
func (t *Tails) Admit(r *http.Request, stream string, longest time.Duration) (release func(), err error) {
	if t.Draining() {
		return nil, api.ShuttingDown()
	}
	leave, err := t.slots.enter(stream, t.peers.Of(r), longest)
	if err != nil {
		return nil, err
	}
	gauge := t.observer.Metrics().Tails.WithLabelValues(stream)
	gauge.Inc()
	return func() {
		gauge.Dec()
		leave()
	}, nil
}

// Client returns the client of a request.
func (t *Tails) Client(r *http.Request) netip.Addr { return t.peers.Of(r) }

// Join counts a connection that the HTTP server no longer owns; Wait waits until leave is called.
// While the server is stopping, Join returns an error.
func (t *Tails) Join() (leave func(), err error) {
	t.gate.Lock()
	defer t.gate.Unlock()
	if t.Draining() {
		return nil, api.ShuttingDown()
	}
	t.joined.Add(1)
	return t.joined.Done, nil
}

// Drain ends all tails: each answers at once with the entries that it has.
func (t *Tails) Drain() {
	t.gate.Lock()
	defer t.gate.Unlock()
	t.drain()
}

// Draining reports whether the server is stopping.
func (t *Tails) Draining() bool { return t.drained.Err() != nil }

// Drained is closed once the server is stopping.
func (t *Tails) Drained() <-chan struct{} { return t.drained.Done() }

// UntilDrained returns a context that also ends when the server begins to stop.
func (t *Tails) UntilDrained(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(t.drained, cancel)
	return ctx, func() { stop(); cancel() }
}

// Cut cuts the connections that have joined: their time to end is over.
func (t *Tails) Cut() { t.cut() }

// AfterCut arranges that a connection's context is ended when the connections must be cut.
func (t *Tails) AfterCut(end context.CancelCauseFunc) (stop func() bool) {
	return context.AfterFunc(t.cutOff, func() { end(context.Canceled) })
}

// Wait waits for the connections that have joined.
func (t *Tails) Wait() { t.joined.Wait() }

const (
	// writeTimeout is the time for a client to take its response, in addition to the time for its
	// size.
	writeTimeout = 10 * time.Second
	minReadRate  = 128 << 10 // bytes per second at which a client must take a response
	maxResponse  = 8 << 20   // bytes of entries in one response; one entry is always allowed
)

// Allow sets the deadline of a response: a fixed time plus more from now. A client that is slower
// loses its connection. Errors are ignored: a ResponseWriter without deadlines has no connection to
// hold open.
func Allow(w http.ResponseWriter, more time.Duration) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(more + writeTimeout))
}

// WriteTime returns how long a client may take for a page of this size.
func (p *Page) WriteTime() time.Duration { return time.Duration(p.Size) * time.Second / minReadRate }

package jetsim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/atproto"
)

const defaultAccounts = 20_000

// Sim is a simulated Jetstream server and the network behind it. Its methods are safe for
// concurrent use.
type Sim struct {
	opt    Options
	clock  clockwork.Clock // with the skew
	skew   atomic.Int64    // ns
	net    *network
	seed   uint64
	dicts  dictionaries
	store  *segmentStore // nil without an archive
	mux    *http.ServeMux
	done   chan struct{}  // closed by Close
	always chan struct{}  // always closed, so always ready
	served chan struct{}  // closed when this Sim sends its first frame
	leave  chan struct{}  // closed by Shutdown: subscribers send a close frame
	wg     sync.WaitGroup // production, faults, listeners, subscribers

	mu       sync.Mutex
	log      ingestLog
	file     *logFile
	err      error     // why production ended
	durable  int       // the lowest rank that a crash forgets
	undue    int64     // Unix µs of the oldest record that is not durable
	next     int64     // the next content to take from the network
	pending  []int64   // contents taken but not in the log: forgotten, or missed while blind
	lastTime int64     // Unix µs of the newest record
	leased   int64     // the first sequence number that is not leased
	unused   int64     // the least number above those given up
	lastNum  int64     // the content of the newest record
	origin   time.Time // when Rate began to count
	base     int64     // the content at which Rate began to count
	extra    int64     // contents produced by Produce, in addition to Rate
	owed     int64     // contents asked for by Produce while the server was down
	upTo     int64     // contents that a fleet's network has produced
	blind    int       // the number of active blind faults
	strikes  map[string]*strike
	quota    quota
	stopped  bool          // StopProducing was called
	wake     chan struct{} // closed and replaced when there is more to send

	turn      int // the request counter that chooses the reader
	migrated  int
	staleTill []time.Time // by reader

	ready      bool
	down       bool // crashed and not yet back
	leaving    bool // Shutdown was called
	closed     bool
	refuseTill time.Time
	subs       map[*subscriber]struct{}
	servers    []*http.Server
	addr       net.Addr
	stats      Stats
}

// New makes a simulator: it opens the history, adds the backlog and starts production. It serves
// when its Handler is mounted or Listen is called. The caller must end it with Close or Shutdown.
func New(opt Options) (*Sim, error) {
	opt, err := opt.withDefaults()
	if err != nil {
		return nil, err
	}
	clock := opt.Clock
	want := fileHeader{seed: opt.Seed, accounts: uint64(opt.Accounts), legacy: opt.Legacy, syncs: opt.Syncs, archived: opt.Archive != nil}
	if !opt.Began.IsZero() {
		want.began, want.step = opt.Began.UnixMicro(), int64(opt.spacing())
	}
	line := opt.made
	if line == nil {
		line = want.made()
	}
	s := &Sim{
		opt: opt, file: &logFile{}, log: newIngestLog(), lastNum: -1, ready: !opt.NotReady,
		done: make(chan struct{}), always: make(chan struct{}), served: make(chan struct{}), leave: make(chan struct{}),
		wake: make(chan struct{}), subs: map[*subscriber]struct{}{}, stats: Stats{Faults: map[string]int64{}, Wires: map[string]int64{}, Archive: map[string]int64{}}, strikes: map[string]*strike{},
		dicts: dictionaries{given: opt.V1Dictionary, v2ID: v2DictionaryID},
	}
	s.skew.Store(int64(opt.Skew))
	s.clock = skewedClock{clock, &s.skew}
	s.staleTill = make([]time.Time, opt.Readers)
	close(s.always)
	if opt.Path == "" {
		setDefault(&want.seed, 1)
		setDefault(&want.accounts, defaultAccounts)
	} else if s.file, want, s.log, err = openLogFile(opt.Path, want, line); err != nil {
		return nil, err
	}
	s.seed = want.seed
	s.net = newNetwork(want.seed, int(want.accounts), want.syncs, want.archived, line)
	s.net.largeEvery, s.net.largeBytes = opt.LargeEvery, opt.LargeBytes
	if err := s.begin(); err != nil {
		s.file.close()
		return nil, err
	}
	if opt.Archive != nil {
		if s.store, err = newSegmentStore(s); err != nil {
			s.file.close()
			return nil, err
		}
	}
	s.routes()
	if opt.Rate > 0 {
		s.wg.Go(s.produceAtRate)
	}
	for _, f := range opt.Faults {
		s.wg.Go(func() { s.schedule(f) })
	}
	return s, nil
}

// begin ingests the events between the end of the history and now.
func (s *Sim) begin() error {
	s.origin = s.clock.Now()
	now := s.origin.UnixMicro()
	if s.log.n > 0 {
		last := s.log.at(s.log.n - 1) // it may be a forgotten record
		s.lastTime, s.lastNum = last.timeUS, last.num
		if s.does(NewerLease) {
			for i := range s.log.n {
				s.unused = max(s.unused, s.log.at(i).seq+1)
			}
		}
		s.durable = s.log.served() // a server that ended in good order has everything on disk
	}
	s.next = s.log.contents
	s.pending = s.log.missing()
	s.ingestPending(now)
	if s.next == 0 {
		spacing := s.opt.spacing()
		s.take(s.opt.Backlog, func(n int64) int64 { return now - int64(float64(s.opt.Backlog-n)*spacing) })
		s.durable = s.log.served()
	}
	s.base = s.next
	return s.file.flush()
}

// Handler serves the endpoints of both protocols and, for loopback clients, the control endpoint
// /_sim/.
func (s *Sim) Handler() http.Handler { return s.mux }

// Listen serves the Handler on a TCP address, such as "127.0.0.1:0", until Close.
func (s *Sim) Listen(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("jetsim: %w", err)
	}
	return s.Serve(l)
}

// Serve serves the Handler on a listener until Close, and takes ownership of the listener. It
// returns at once.
func (s *Sim) Serve(l net.Listener) error {
	server := &http.Server{Handler: s.mux, ReadHeaderTimeout: 10 * time.Second}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		l.Close()
		return ErrClosed
	}
	s.servers = append(s.servers, server)
	s.addr = l.Addr()
	s.wg.Go(func() { _ = server.Serve(l) }) // the closed listener makes it return an error
	return nil
}

// ErrClosed is the error of calls on a closed simulator.
var ErrClosed = errors.New("jetsim: the simulator is closed")

// Addr is the address of the newest listener, or "" without one.
func (s *Sim) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.addr == nil {
		return ""
	}
	return s.addr.String()
}

// URL is the v1 endpoint of the newest listener, or "" without one. Clients that choose their
// protocol need only Addr.
func (s *Sim) URL() string { return s.url(atproto.SubscribePath) }

// URLv2 is the v2 endpoint of the newest listener, or "" without one.
func (s *Sim) URLv2() string { return s.url(atproto.EventsPath) }

func (s *Sim) url(path string) string {
	if addr := s.Addr(); addr != "" {
		return "ws://" + addr + path
	}
	return ""
}

// SetReady sets whether the server has left bootstrap. A server in bootstrap answers 503.
func (s *Sim) SetReady(ready bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready = ready
}

// Shutdown ends the server as SIGTERM does: every subscriber gets close 1001 "server shutting
// down". It returns when all subscribers have left or ctx is done. In both cases the simulator is
// closed.
func (s *Sim) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	if !s.leaving {
		s.leaving = true
		close(s.leave)
	}
	s.mu.Unlock()
	for ctx.Err() == nil {
		s.mu.Lock()
		left := len(s.subs) == 0
		changed := s.wake
		s.mu.Unlock()
		if left {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
	return s.Close()
}

// Close ends the server as SIGKILL does, and everything that it started. It returns the error that
// ended production early, if there is one. The history is still readable afterwards.
func (s *Sim) Close() error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.done)
		s.killAll()
	}
	servers := s.servers
	s.mu.Unlock()
	for _, server := range servers {
		_ = server.Close()
	}
	s.wg.Wait()
	var err error
	if s.store != nil {
		err = s.store.close() // its lock comes before the simulator's
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = errors.Join(s.err, s.file.close(), err)
	s.file = &logFile{}
	return s.err
}

// History returns a snapshot of everything that the server has ingested so far.
func (s *Sim) History() *History {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := &History{net: s.net, log: s.log.snapshot(), legacy: s.opt.Legacy}
	if s.addr != nil {
		h.host = s.addr.String()
	}
	h.log.kept = s.archive().floor(s.clock.Now().UnixMicro()) // what is older is no longer served
	return h
}

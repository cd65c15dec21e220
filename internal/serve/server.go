package serve

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/beside"
	"tempestd/internal/observe"
	"tempestd/internal/serve/api"
	"tempestd/internal/serve/budget"
	"tempestd/internal/serve/conns"
	"tempestd/internal/serve/consumer"
	"tempestd/internal/serve/durable"
	"tempestd/internal/serve/encode"
	"tempestd/internal/serve/guard"
	"tempestd/internal/serve/mirror"
	"tempestd/internal/serve/peer"
	"tempestd/internal/serve/tail"
	"tempestd/messages"
	"tempestd/persistence"
)

// Bounds of one connection.
const (
	idleTimeout = 2 * time.Minute
	// maxHeaderBytes has room for a request line with a filter of 10 000 DIDs, percent-encoded.
	maxHeaderBytes = 448 << 10
	defaultMemory  = 128 << 20

	defaultConnections       = 20_000
	defaultClientConnections = 12_000
)

// Control is the set of calls that HTTP makes to the actors. The supervisor implements it with
// messages. Methods that take the name of a feed return an error that matches messages.ErrNoFeed
// when no feed has that name. All methods are safe for concurrent use and end when ctx ends.
type Control interface {
	Feeds(ctx context.Context) ([]messages.FeedStatus, error)
	Feed(ctx context.Context, name string) (messages.FeedStatus, error)
	// HasFeed says whether a feed has that name. It does not wait.
	HasFeed(name string) bool
	History(ctx context.Context, feed string, q messages.HistoryQuery) (messages.FeedHistory, error)
	Reconnect(ctx context.Context, feed string) error
	Pause(ctx context.Context, feed string) error
	Resume(ctx context.Context, feed string) error
	// RepairGap and DismissGap return an error that matches messages.ErrNoGap when the feed has no
	// such gap.
	RepairGap(ctx context.Context, feed string, c messages.RepairGap) (messages.GapAnswer, error)
	DismissGap(ctx context.Context, feed string, c messages.DismissGap) (messages.GapAnswer, error)
	// DeleteStream removes a stream for good. The error matches persistence.ErrNoStream when no
	// stream has that name, and messages.ErrNotNow when a feed fills it.
	DeleteStream(ctx context.Context, stream string) error
	// Close closes a stream for good. The error matches persistence.ErrNoStream when no stream has
	// that name.
	Close(ctx context.Context, stream, reason string) (persistence.StreamInfo, error)
	Ready(ctx context.Context) messages.Readiness
}

// Reloader reads the daemon's configuration again. It returns when that is in force or rejected; the
// error is then a *messages.RejectedError.
type Reloader interface {
	Reload(ctx context.Context) (messages.Reloaded, error)
}

// Limits are the part of the options that can change while the server runs.
type Limits struct {
	// MaxTails is how many tails may wait or stay at one time on one stream, 0 for 16384.
	// MaxClientTails is the same for one client address, 0 for 10000.
	MaxTails, MaxClientTails int
	// MaxConnections is how many connections may be open at one time, 0 for 20000.
	// MaxClientConnections is the same for one client address, 0 for 12000.
	MaxConnections, MaxClientConnections int
	// Memory is how many bytes all readers may use together for their pages, filters and buffers, 0
	// for 128 MiB.
	Memory int64
	// DefaultStream is the stream of websocket subscribers that name none. "" stands for the
	// daemon's stream if it has only one.
	DefaultStream string
}

// Options configure a Server. All fields are required, except those whose comment says what zero or
// nil means.
type Options struct {
	Store    persistence.Store
	Control  Control
	Reloader Reloader // nil: the configuration cannot be read again
	Diagnostics
	Observer *observe.Observer
	Token    string // bearer token for everything; "" for none
	// ReadToken is a bearer token that only reads, "" for none. Without either there is no
	// authentication.
	ReadToken string
	Clock     clockwork.Clock
	TLS       *tls.Config // of listeners of TCP, nil for plain HTTP
	// AllowedOrigins are the web origins of other servers whose pages may use the API, in the form
	// of config.HTTP. nil allows none.
	AllowedOrigins []string
	// AllowedHosts are the host names under which a loopback listener answers, besides its own, in the
	// form of config.HTTP. nil allows none.
	AllowedHosts []string
	// TrustedProxies are the addresses of proxies that say for whom they forward. nil trusts none.
	TrustedProxies []netip.Prefix
	Limits
	// Dictionaries returns the zstd dictionaries for compressing the messages of a stream's
	// websocket subscribers, nil where there is none. The function may be nil: then no stream has
	// one.
	Dictionaries func(stream string) (v1, v2 []byte)
	// Measure updates more metrics before a scrape, outside of it. It may be nil.
	Measure func()
	// Fault injects faults in tests. It is nil in production.
	Fault beside.Fault
}

// Server serves the HTTP API. It is safe for concurrent use.
type Server struct {
	store    persistence.Store
	control  Control
	reloader Reloader

	diagnostics Diagnostics

	observer *observe.Observer
	clock    clockwork.Clock
	fault    beside.Fault
	crew     beside.Crew // runs the functions that are called when a context ends

	budget    *budget.Budget
	peers     *peer.Peers
	gate      *conns.Gate
	turns     api.Turns
	encoders  encode.Encoders
	guard     *guard.Guard
	tails     *tail.Tails
	consumers *consumer.Consumers
	mirror    *mirror.Mirror
	durable   *durable.Handler

	measurement measurement
	measureMore func()
	ending      context.Context // ends with Shutdown
	end         context.CancelFunc

	http      *http.Server
	scrapes   *http.Server // of listeners for metrics alone
	tls       *tls.Config
	based     sync.Once
	verifying sync.Mutex // held while a verification runs
}

// New returns a server that does not listen yet.
func New(opt Options) *Server {
	s := &Server{
		budget: budget.New(cmp.Or(opt.Memory, defaultMemory), func(used int64) { opt.Observer.Metrics().Memory.Set(float64(used)) }),
		peers:  peer.New(opt.TrustedProxies),
		turns:  api.NewTurns(),
		store:  opt.Store, control: opt.Control, reloader: opt.Reloader, diagnostics: opt.Diagnostics, observer: opt.Observer, clock: opt.Clock, fault: opt.Fault,
		crew: beside.Crew{Tell: opt.Observer.TaskPanicked, Fault: opt.Fault},
	}
	s.guard = guard.New(guard.Options{Token: opt.Token, ReadToken: opt.ReadToken, AllowedOrigins: opt.AllowedOrigins, AllowedHosts: opt.AllowedHosts,
		Peers: s.peers, Now: s.clock.Now, Failed: s.authFailed})
	s.gate = conns.New(cmp.Or(opt.MaxConnections, defaultConnections), cmp.Or(opt.MaxClientConnections, defaultClientConnections), api.ReadTimeout, s.peers, s.observer)
	s.tails = tail.New(tail.Options{Clock: opt.Clock, Observer: opt.Observer, PerStream: opt.MaxTails, PerClient: opt.MaxClientTails,
		Budget: s.budget, Peers: s.peers, Fault: opt.Fault})
	s.consumers = consumer.New(consumer.Options{Store: s.store, Tails: s.tails, Guard: s.guard, Clock: s.clock, Observer: s.observer})
	s.mirror = mirror.New(mirror.Options{Store: s.store, Tails: s.tails, Guard: s.guard, Clock: s.clock, Observer: s.observer,
		DefaultStream: opt.DefaultStream, Dictionaries: opt.Dictionaries, Fault: opt.Fault})
	s.durable = durable.New(durable.Options{Store: s.store, Tails: s.tails, Clock: s.clock, Observer: s.observer, Private: s.guard.NeedsToken()})
	s.ending, s.end = context.WithCancel(context.Background())
	s.measureMore, s.tls = opt.Measure, opt.TLS
	s.http, s.scrapes = s.newHTTP(s.mux()), s.newHTTP(s.scrapeMux())
	return s
}

// Configure takes over other limits. Requests that are being served keep their slots.
func (s *Server) Configure(l Limits) {
	s.tails.Configure(l.MaxTails, l.MaxClientTails)
	s.budget.Resize(cmp.Or(l.Memory, defaultMemory))
	s.gate.Configure(cmp.Or(l.MaxConnections, defaultConnections), cmp.Or(l.MaxClientConnections, defaultClientConnections))
	s.mirror.Configure(l.DefaultStream)
}

// Handler returns the whole API, for use in another HTTP server.
func (s *Server) Handler() http.Handler { return s.http.Handler }

// Shutdown stops the server. Waiting tails are answered at once with the entries that they have,
// further requests on open connections get a 503, and the listener is closed. Websocket subscribers
// get a close frame, and Shutdown waits for them. It returns when the last response is written.
// When ctx ends before that, the connections are cut and Shutdown returns ctx's error.
func (s *Server) Shutdown(ctx context.Context) error {
	s.endMeasurements()
	defer s.crew.Wait()
	s.tails.Drain()
	defer context.AfterFunc(ctx, s.tails.Cut)()
	err := errors.Join(s.http.Shutdown(ctx), s.scrapes.Shutdown(ctx))
	if err != nil {
		s.http.Close()
		s.scrapes.Close()
		s.tails.Cut()
	}
	s.tails.Wait()
	if err == nil {
		err = ctx.Err() // ctx ended during the wait
	}
	if err != nil {
		return fmt.Errorf("http shutdown: connections were cut: %w", err)
	}
	return nil
}

// barrier is the outermost layer. It measures every request and sets its write deadline, and it
// limits a panic to its own request.
func (s *Server) barrier(next http.Handler) http.Handler {
	return http.HandlerFunc(func(writer http.ResponseWriter, r *http.Request) {
		began := s.clock.Now()
		w := &recorder{ResponseWriter: writer}
		if len(r.RequestURI) >= conns.LongHead {
			w.Header().Set("Connection", "close") // net/http keeps the line as long as the connection
		}
		tail.Allow(w, 0)
		defer func() {
			fault := recover()
			if fault != nil && fault != http.ErrAbortHandler {
				failure := api.Failed()
				s.observer.Emit(observe.HTTPPanic, "", "route", api.RouteOf(r), "id", failure.ID, "error", fmt.Sprint(fault), "stack", string(debug.Stack()))
				switch {
				case w.hijacked: // the code that took the connection has ended it
					fault = nil
				case w.status == 0:
					w.Header().Set("Connection", "close")
					api.WriteJSON(w, failure.Status, failure.Body())
					fault = nil
				default:
					// Half of the response is sent: only a cut connection tells the client.
					fault = http.ErrAbortHandler
				}
			}
			s.observer.Metrics().HTTP.WithLabelValues(api.RouteOf(r), strconv.Itoa(cmp.Or(w.status, http.StatusOK))).
				Observe(s.clock.Since(began).Seconds())
			if fault != nil {
				panic(fault)
			}
		}()
		s.fault.At("http.request")
		next.ServeHTTP(w, r)
	})
}

// guarded makes the checks that come before the search for a route.
func (s *Server) guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		if r.ContentLength != 0 {
			// net/http waits for the rest of an unread body without a bound. This deadline holds
			// until api.TakeBody has read the body.
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(api.ReadTimeout))
		}
		preflight := guard.IsPreflight(r)
		if !preflight {
			s.guard.CORS(w, r) // before any refusal, so that the page may read the reason
		}
		err := s.check(r)
		if err == nil && preflight {
			err = s.guard.CheckPreflight(r)
		}
		switch {
		case err != nil:
			api.Fail(s.observer, w, r, err)
		case preflight:
			s.guard.CORS(w, r)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func (s *Server) check(r *http.Request) error {
	if s.tails.Draining() {
		return api.ShuttingDown()
	}
	if r.URL.Path == "" { // a CONNECT request; the mux would answer it in another form
		return api.MethodNotAllowed(r.Method, http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete)
	}
	return s.guard.CheckBrowser(r)
}

// recorder remembers the status of a response.
type recorder struct {
	http.ResponseWriter
	status   int
	hijacked bool
}

// Hijack implements http.Hijacker.
func (w *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	w.hijacked = err == nil
	return conn, rw, err
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// authFailed tells of a wrong token.
func (s *Server) authFailed(client netip.Addr, r *http.Request) {
	s.observer.Metrics().Refused.WithLabelValues("auth").Inc()
	s.observer.Emit(observe.AuthFailed, "", "client", client, "route", api.RouteOf(r))
}

package serve

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/rs/cors"

	"tempestd/internal/beside"
	"tempestd/internal/observe"
	"tempestd/messages"
	"tempestd/persistence"
)

// Bounds of one connection and one request.
const (
	readTimeout    = 5 * time.Second // for the headers, and for a body
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 448 << 10        // a filter of 10 000 DIDs, percent-encoded, fits the request line
	writeTimeout   = 10 * time.Second // for a client to take its response, beside what its size allows (frames.go)
	briefTimeout   = 5 * time.Second  // for the actors or the store to answer what needs no waiting
)

// Control is what HTTP asks of the actors. The supervisor implements it with messages. Methods that take a feed's name return an error that
// matches messages.ErrNoFeed when there is none. All are safe for concurrent use and honour ctx.
type Control interface {
	Feeds(ctx context.Context) ([]messages.FeedStatus, error)
	Feed(ctx context.Context, name string) (messages.FeedStatus, error)
	History(ctx context.Context, feed string, q messages.HistoryQuery) (messages.FeedHistory, error)
	Reconnect(ctx context.Context, feed string) error
	Pause(ctx context.Context, feed string) error
	Resume(ctx context.Context, feed string) error
	// Close ends a stream for good; the error matches persistence.ErrNoStream when there is none of that name.
	Close(ctx context.Context, stream, reason string) (persistence.StreamInfo, error)
	Ready(ctx context.Context) messages.Readiness
}

// Options are what a Server needs. Only Token, AllowedOrigins and the bounds may be zero.
type Options struct {
	Store    persistence.Store
	Control  Control
	Observer *observe.Observer
	Token    string // bearer token; "" asks for none
	Clock    clockwork.Clock
	// AllowedOrigins are those of web pages of other servers that may use the API, in the form that config.HTTP has them.
	AllowedOrigins []string
	// Tails that wait, or stay, at one time: on one stream, 0 for 16384; of one client address, 0 for 10000.
	MaxTails, MaxClientTails int
	// DefaultStream is the stream of websocket subscribers that name none, "" for the only one there is.
	DefaultStream string
	// Dictionaries are the zstd dictionaries that a stream's websocket subscribers may be packed with, nil where there is none.
	Dictionaries func(stream string) (v1, v2 []byte)
	// Fault is nil, but in tests of what a fault does.
	Fault beside.Fault
}

// Server serves the HTTP API. It is safe for concurrent use.
type Server struct {
	store    persistence.Store
	control  Control
	observer *observe.Observer
	clock    clockwork.Clock
	fault    beside.Fault
	crew     beside.Crew // what is called when something ends

	needsToken  bool
	tokenSum    [sha256.Size]byte
	crossOrigin *http.CrossOriginProtection
	origins     origins
	cors        *cors.Cors // nil where no page of another origin may do anything

	http   *http.Server
	tails  *admission
	turns  turns          // those who wait for a consumer's batch
	series consumerSeries // consumers that have metrics
	bufs   sync.Pool      // *[]byte of chunkSize

	verifying     sync.Mutex // by the verification that is under way
	defaultStream string
	packers       packers
	gate          sync.Mutex     // nobody joins once the server is stopping
	subscribers   sync.WaitGroup // connections that are no longer the HTTP server's
	seeks, large  chan struct{}  // a slot for every search for a cursor, and for every large message that is read
	deflating     chan struct{}  // and for every connection that is compressed by permessage-deflate

	drained context.Context // done once the server is stopping
	drain   context.CancelFunc
	cutOff  context.Context // done once the websocket subscribers are to be gone
	cut     context.CancelFunc
}

// New gives a server that is not listening yet.
func New(opt Options) *Server {
	s := &Server{
		store: opt.Store, control: opt.Control, observer: opt.Observer, clock: opt.Clock, fault: opt.Fault,
		crew:       beside.Crew{Tell: opt.Observer.TaskPanicked, Fault: opt.Fault},
		needsToken: opt.Token != "", tokenSum: sha256.Sum256([]byte(opt.Token)),
		crossOrigin: http.NewCrossOriginProtection(),
		tails:       newAdmission(cmp.Or(opt.MaxTails, defaultMaxTails), cmp.Or(opt.MaxClientTails, defaultMaxClientTails), opt.Clock.Now),
	}
	s.origins = newOrigins(opt.AllowedOrigins, s.needsToken)
	if len(opt.AllowedOrigins) > 0 {
		s.cors = newCORS(&s.origins)
	}
	s.defaultStream, s.packers = opt.DefaultStream, packers{of: opt.Dictionaries, made: make(map[uint32]*dictionaryPacker)}
	s.seeks, s.large, s.deflating = make(chan struct{}, maxSeeks), make(chan struct{}, maxLarge), make(chan struct{}, maxDeflate)
	s.cutOff, s.cut = context.WithCancel(context.Background())
	s.bufs.New = func() any { b := make([]byte, 0, chunkSize); return &b }
	s.drained, s.drain = context.WithCancel(context.Background())
	s.http = &http.Server{
		Handler:           s.barrier(s.guarded(s.mux())),
		ReadHeaderTimeout: readTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(opt.Observer.Logger().Handler(), slog.LevelWarn),
	}
	return s
}

// Handler is the whole API, for a server of the caller's.
func (s *Server) Handler() http.Handler { return s.http.Handler }

// Serve answers the listener's connections until Shutdown, after which it returns nil, at once: it is Shutdown that waits. When ctx ends,
// every connection is cut. The listener is closed when Serve returns.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	s.http.BaseContext = func(net.Listener) context.Context { return ctx }
	defer s.crew.After(ctx, "http.close", func() { s.http.Close() })()

	s.observer.Emit(observe.HTTPListening, "", "addr", ln.Addr().String())
	err := s.http.Serve(ln)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	s.observer.Emit(observe.HTTPFailed, "", "error", err)
	return fmt.Errorf("http server on %s: %w", ln.Addr(), err)
}

// Shutdown stops the server: waiting tails are answered at once with what they have, connections that are still open get a 503 for further
// requests, and the listener is closed. It returns when the last response is written. When ctx ends before that, the connections are
// cut and ctx's error is returned. Websocket subscribers are told goodbye and waited for.
func (s *Server) Shutdown(ctx context.Context) error {
	s.gate.Lock()
	s.drain()
	s.gate.Unlock()
	defer context.AfterFunc(ctx, s.cut)()
	err := s.http.Shutdown(ctx)
	if err != nil {
		s.http.Close()
		s.cut()
	}
	s.subscribers.Wait()
	if err == nil {
		err = ctx.Err() // it ended while they were waited for
	}
	if err != nil {
		return fmt.Errorf("http shutdown: connections were cut: %w", err)
	}
	return nil
}

// join counts a websocket subscriber, whom Shutdown waits for until it leaves. While the server is stopping there are none.
func (s *Server) join() (leave func(), err error) {
	s.gate.Lock()
	defer s.gate.Unlock()
	if s.draining() {
		return nil, errShuttingDown()
	}
	s.subscribers.Add(1)
	return s.subscribers.Done, nil
}

// draining says whether the server is stopping.
func (s *Server) draining() bool { return s.drained.Err() != nil }

// barrier is the outermost layer: it measures every request, bounds what it may take to read and write, and keeps a panic from
// ending more than its own request.
func (s *Server) barrier(next http.Handler) http.Handler {
	return http.HandlerFunc(func(writer http.ResponseWriter, r *http.Request) {
		began := s.clock.Now()
		w := &recorder{ResponseWriter: writer}
		s.allow(w, 0)
		defer func() {
			fault := recover()
			if fault != nil && fault != http.ErrAbortHandler {
				api := failed()
				s.observer.Emit(observe.HTTPPanic, "", "route", route(r), "id", api.id, "error", fmt.Sprint(fault), "stack", string(debug.Stack()))
				switch {
				case w.hijacked: // what took the connection has ended it
					fault = nil
				case w.status == 0:
					w.Header().Set("Connection", "close")
					writeJSON(w, api.status, errorBody{Error: api.name, Message: api.message})
					fault = nil
				default:
					fault = http.ErrAbortHandler // half a response is out: cutting the connection is what tells the client
				}
			}
			s.observer.Metrics().HTTP.WithLabelValues(route(r), strconv.Itoa(cmp.Or(w.status, http.StatusOK))).
				Observe(s.clock.Since(began).Seconds())
			if fault != nil {
				panic(fault)
			}
		}()
		s.fault.At("http.request")
		next.ServeHTTP(w, r)
	})
}

// guarded is what is checked before a route is looked for.
func (s *Server) guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		if r.ContentLength != 0 {
			// Until somebody takes the body (body.go) it may not come for ever: net/http waits for what is left of it.
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(readTimeout))
		}
		preflight := isPreflight(r)
		if s.cors != nil && !preflight {
			s.cors.HandlerFunc(w, r) // before anything is refused: the page may read why
		}
		err := s.check(r)
		if err == nil && preflight {
			err = s.checkPreflight(r)
		}
		switch {
		case err != nil:
			s.fail(w, r, err)
		case preflight:
			s.cors.HandlerFunc(w, r)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func (s *Server) check(r *http.Request) error {
	if s.draining() {
		return errShuttingDown()
	}
	if r.URL.Path == "" { // of CONNECT, for which the mux has its own words
		return errMethod(r.Method, http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete)
	}
	return s.checkBrowser(r)
}

// allow gives the client writeTimeout and more to take the response: a slow one loses its connection. Errors are ignored, for a
// ResponseWriter without deadlines has no connection to hold either.
func (s *Server) allow(w http.ResponseWriter, more time.Duration) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(more + writeTimeout))
}

// route is the request's route as metrics and events name it: the pattern, never the path, which anyone can vary.
func route(r *http.Request) string { return cmp.Or(r.Pattern, "none") }

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

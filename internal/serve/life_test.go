package serve_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"tempestd/persistence"
)

func TestShutdownReleasesWaitingTails(t *testing.T) {
	store := openStore(t)
	openStream(t, store, "bluesky", numbered(0, 1)...)
	d := start(t, store)
	path := fmt.Sprintf("/v1/streams/bluesky/tail?block_ms=30000&after=%d-0", firstUS/1000)
	got := make(chan response)
	for range 5 {
		go func() { got <- d.get(path) }()
	}
	d.tailing("bluesky", 5)
	if err := d.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	for range 5 {
		if f := d.frames(<-got); f.Count != 0 || f.ClosedAt != nil {
			t.Errorf("a released tail was given %v, want nothing, and open: the daemon stops, the stream does not end", f)
		}
	}
	if _, err := d.try("GET", "/healthz"); err == nil {
		t.Error("the listener is open after the shutdown")
	}
}

func TestRequestsDuringTheShutdownAreRefused(t *testing.T) {
	d := newDaemon(t, openStore(t))
	if err := d.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	rec := httptest.NewRecorder()
	d.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/v1/feeds", nil))
	r := response{rec.Code, rec.Header(), rec.Body.String()}
	d.want(r, http.StatusServiceUnavailable, "ShuttingDown")
	if r.header.Get("Retry-After") == "" || r.header.Get("Connection") != "close" {
		t.Errorf("header %v, want Retry-After and Connection: close", r.header)
	}
}

// A second signal ends the daemon at once, without waiting for its requests.
func TestTheEndOfServesContextCutsConnections(t *testing.T) {
	store := openStore(t)
	openStream(t, store, "bluesky")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := newDaemon(t, store)
	d.addr, d.http = ln.Addr().String(), http.DefaultClient
	ctx, cancel := context.WithCancel(t.Context())
	go func() { d.ended <- d.Serve(ctx, ln) }()
	got := make(chan int)
	go func() {
		r, _ := d.try("GET", "/v1/streams/bluesky/tail?after=0-0&block_ms=30000")
		got <- r.status // 0 if the connection was cut before the handler answered
	}()
	d.tailing("bluesky", 1)
	cancel()
	if status := <-got; status == http.StatusOK {
		t.Error("the tail was answered as if nothing had happened")
	}
	if err := <-d.ended; err != nil {
		t.Errorf("Serve gave %v, want nil", err)
	}
	d.tailing("bluesky", 0)
	if s := d.log.String(); strings.Contains(s, `"event":"http.error"`) {
		t.Errorf("the end of a request passes for a fault: %s", s)
	}
}

// A client that leaves while it waits is not a fault of the daemon. It has its own status in the
// metrics.
func TestAClientThatLeaves(t *testing.T) {
	store := openStore(t)
	openStream(t, store, "bluesky")
	d := start(t, store)
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan error)
	go func() {
		req, err := d.request("GET", "/v1/streams/bluesky/tail?after=0-0&block_ms=30000")
		if err == nil {
			_, err = d.http.Do(req.WithContext(ctx))
		}
		got <- err
	}()
	d.tailing("bluesky", 1)
	cancel()
	<-got
	d.tailing("bluesky", 0)
	if err := d.Shutdown(context.Background()); err != nil { // waits for the handler's end
		t.Error(err)
	}
	if n := testutil.CollectAndCount(d.observer.Metrics().HTTP); n != 1 {
		t.Errorf("%d series of requests, want one", n)
	}
	d.observer.Metrics().HTTP.DeleteLabelValues("/v1/streams/{stream}/tail", "499")
	if n := testutil.CollectAndCount(d.observer.Metrics().HTTP); n != 0 {
		t.Error("the request does not count as one whose client left")
	}
	if s := d.log.String(); strings.Contains(s, `"event":"http.error"`) {
		t.Errorf("a client that left passes for a fault: %s", s)
	}
}

func TestI9_AnAcceptFailureEndsServe(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	d := newDaemon(t, openStore(t))
	if err := d.Serve(context.Background(), ln); err == nil || !strings.Contains(err.Error(), ln.Addr().String()) {
		t.Errorf("Serve gave %v, want an error that names the listener", err)
	}
	if !strings.Contains(d.log.String(), `"event":"http.failed"`) {
		t.Errorf("no event in the log: %s", d.log)
	}
}

func TestI9_APanicIsOneEventAndOneAnswer(t *testing.T) {
	d := start(t, openStore(t))
	d.control.panics = true
	d.want(d.get("/v1/feeds"), http.StatusInternalServerError, "InternalError")
	if s := d.log.String(); strings.Count(s, `"event":"http.panic"`) != 1 || !strings.Contains(s, `"route":"/v1/feeds"`) ||
		!strings.Contains(s, "the feeds are a fault") || !strings.Contains(s, "harness_test.go") {
		t.Errorf("log %s", s)
	}
	if r := d.get("/metrics"); !strings.Contains(r.body, `http_request_seconds_count{code="500",route="/v1/feeds"} 1`) {
		t.Error("the request is not counted as a 500")
	}
}

// pipes is a listener in memory. Its connections have deadlines in virtual time and no buffer.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 7077} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.conns <- there:
		return here, nil
	case <-p.closed:
		return nil, errors.New("connection refused")
	}
}

// startVirtual starts a server in a bubble of virtual time.
func startVirtual(t *testing.T, stream persistence.Stream) (*daemon, *pipes) {
	p := newPipes()
	d := newDaemon(t, only{stream: stream})
	d.listen(p, &http.Transport{DialContext: p.dial, DisableCompression: true})
	return d, p
}

// only is a store with one stream.
type only struct {
	persistence.Store
	stream persistence.Stream
}

func (o only) Stream(context.Context, string) (persistence.Stream, error) { return o.stream, nil }

// quiet is a stream that never grows and returns the given entries. It waits as the contract of
// Stream says.
type quiet struct {
	persistence.Stream
	read persistence.Page
}

func (quiet) Name() string { return "bluesky" }

func (q quiet) Read(context.Context, persistence.StreamCursor, persistence.StreamCursor, int) (persistence.Page, error) {
	return q.read, nil
}

func (quiet) Tail(ctx context.Context, _ persistence.StreamCursor, block time.Duration, _ int) (persistence.Page, error) {
	select {
	case <-clockwork.NewRealClock().After(block):
		return persistence.Page{}, nil
	case <-ctx.Done():
		return persistence.Page{}, ctx.Err()
	}
}

func TestI8_ConcurrentTailsKeepTheirFullBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := startVirtual(t, quiet{})
		var tails sync.WaitGroup
		for i := range 50 {
			tails.Go(func() {
				block := time.Duration(i%31) * time.Second
				began := time.Now()
				f := d.frames(d.get(fmt.Sprintf("/v1/streams/bluesky/tail?after=0-0&block_ms=%d", block.Milliseconds())))
				if took := time.Since(began); took != block || f.Count != 0 || f.ClosedAt != nil {
					t.Errorf("a tail of %v took %v and gave %v", block, took, f)
				}
			})
		}
		tails.Wait()
	})
}

func TestASlowReaderLosesItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var read persistence.Page
		for i := range 100 {
			read.Entries = append(read.Entries, persistence.Entry{ID: persistence.EntryID{MS: uint64(i + 1)}, Event: []byte(`"` + strings.Repeat("x", 20_000) + `"`)})
		}
		d, p := startVirtual(t, quiet{read: read})
		conn, err := p.dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprint(conn, "GET /v1/streams/bluesky/frames HTTP/1.1\r\nHost: tempestd\r\n\r\n")
		r := bufio.NewReader(conn)
		if line, err := r.ReadString('\n'); err != nil || line != "HTTP/1.1 200 OK\r\n" {
			t.Fatalf("%q, %v", line, err)
		}
		<-time.After(time.Minute) // the client reads nothing
		if rest, err := io.ReadAll(r); err != nil || len(rest) > 1<<20 {
			t.Errorf("%d bytes and %v, want the connection closed early", len(rest), err)
		}
		if f := d.frames(d.get("/v1/streams/bluesky/frames")); f.Count != 100 {
			t.Errorf("another reader was given %d frames, want 100", f.Count)
		}
	})
}

func TestAShutdownThatTakesTooLongCutsConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		d := newDaemon(t, only{})
		d.control.hang = true
		d.listen(p, &http.Transport{DialContext: p.dial, DisableCompression: true})
		got := make(chan error)
		go func() {
			_, err := d.try("GET", "/v1/feeds")
			got <- err
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := d.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown gave %v, want the deadline's error", err)
		}
		if err := <-got; err == nil {
			t.Error("a request was answered after its connection was to be cut")
		}
	})
}

func TestIdleAndStallingClientsLoseTheirConnections(t *testing.T) {
	for name, sends := range map[string]string{
		"nothing":                                 "",
		"half a header":                           "GET /healthz HTTP/1.1\r\nHost: tem",
		"half a body":                             "POST /v1/feeds/bluesky/pause HTTP/1.1\r\nHost: tempestd\r\nContent-Length: 100\r\n\r\nx",
		"half a body to what is refused":          "POST /v1/feeds/bluesky/pause HTTP/1.1\r\nHost: tempestd\r\nSec-Fetch-Site: cross-site\r\nContent-Length: 100\r\n\r\nx",
		"half a body to what is not there":        "POST /nowhere HTTP/1.1\r\nHost: tempestd\r\nContent-Length: 100\r\n\r\nx",
		"half a body to a path that is not clean": "POST //v1//feeds HTTP/1.1\r\nHost: tempestd\r\nContent-Length: 100\r\n\r\nx",
		"half a body to a wrong method":           "DELETE /v1/feeds HTTP/1.1\r\nHost: tempestd\r\nContent-Length: 100\r\n\r\nx",
		"half a JSON body":                        "PUT /v1/streams/bluesky/consumers/c HTTP/1.1\r\nHost: tempestd\r\nContent-Length: 100\r\n\r\n{",
		"a chunk and no end":                      "PUT /v1/streams/bluesky/consumers/c HTTP/1.1\r\nHost: tempestd\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
		"a promise of a body":                     "POST /v1/feeds/bluesky/pause HTTP/1.1\r\nHost: tempestd\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n",
		"nothing any more":                        "GET /healthz HTTP/1.1\r\nHost: tempestd\r\n\r\n",
	} {
		synctest.Test(t, func(t *testing.T) {
			_, p := startVirtual(t, quiet{})
			conn, err := p.dial(t.Context(), "", "")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			go io.WriteString(conn, sends)
			began := time.Now()
			_, _ = io.Copy(io.Discard, conn) // to the end of the connection
			if took := time.Since(began); took > 3*time.Minute {
				t.Errorf("a client that sends %s was kept for %v", name, took)
			}
		})
	}
}

// brittle is a response writer that panics from the second write on.
type brittle struct {
	*httptest.ResponseRecorder
	writes int
}

func (b *brittle) Write(p []byte) (int, error) {
	if b.writes++; b.writes > 1 {
		panic("one write is enough")
	}
	return b.ResponseRecorder.Write(p)
}

func TestAPanicInTheMiddleOfAResponseCutsTheConnection(t *testing.T) {
	long := persistence.Entry{Event: []byte(`"` + strings.Repeat("x", 200_000) + `"`)}
	d := newDaemon(t, only{stream: quiet{read: persistence.Page{Entries: []persistence.Entry{long}}}})
	defer func() {
		if fault := recover(); fault != http.ErrAbortHandler {
			t.Errorf("the handler ended with %v, want what makes net/http cut the connection", fault)
		}
		if !strings.Contains(d.log.String(), "one write is enough") {
			t.Errorf("no event in the log: %s", d.log)
		}
	}()
	d.Handler().ServeHTTP(&brittle{ResponseRecorder: httptest.NewRecorder()}, httptest.NewRequest("GET", "/v1/streams/bluesky/frames", nil))
}

package serve_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"tempestd/internal/observe"
	"tempestd/internal/serve"
	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/embedded"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// openStore opens an embedded store in its own directory.
func openStore(t testing.TB) persistence.Store {
	t.Helper()
	store, err := embedded.Open(context.Background(), t.TempDir(), embedded.Options{SyncInterval: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

// openStream opens the store's stream of that name and appends the events.
func openStream(t testing.TB, store persistence.Store, name string, events ...string) persistence.Stream {
	t.Helper()
	stream, err := store.OpenStream(context.Background(), name, persistence.StreamOptions{})
	if err != nil {
		t.Fatal(err)
	}
	add(t, stream, events...)
	return stream
}

// firstUS is the upstream time of a stream's first event, in Unix microseconds. Each following
// event is a millisecond later.
const firstUS = 1_795_000_000_000_000

// add appends the events in one batch.
func add(t testing.TB, stream persistence.Stream, events ...string) {
	t.Helper()
	if len(events) == 0 {
		return
	}
	info, err := stream.Info(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var batch messages.Batch
	for i, e := range events {
		n := info.Entries + int64(i)
		batch.Events = append(batch.Events, messages.Event{Off: uint32(len(batch.Buf)), Len: uint32(len(e)), Kind: messages.KindCommit,
			TimeUS: firstUS + n*1000, Fingerprint: uint64(n)})
		batch.Buf = append(batch.Buf, e...)
	}
	if _, err := stream.Append(context.Background(), &batch, messages.Checkpoint{}); err != nil {
		t.Fatal(err)
	}
}

// control is an actor tree with one feed. It records the commands that it gets.
type control struct {
	mu       sync.Mutex
	commands []string
	notReady []string
	refuses  error // the answer to every command about a gap
	hang     bool  // answers only when the caller's context has ended
	panics   bool
	status   messages.FeedStatus // of the feed; zero for a live one
	store    persistence.Store
}

func (c *control) Feeds(ctx context.Context) ([]messages.FeedStatus, error) {
	if c.panics {
		panic("the feeds are a fault")
	}
	if c.hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	status := messages.FeedStatus{Feed: "bluesky", State: messages.StateLive}
	if c.status.State != "" {
		status.State, status.Reason = c.status.State, c.status.Reason
	}
	return []messages.FeedStatus{status}, nil
}

func (c *control) Feed(ctx context.Context, name string) (messages.FeedStatus, error) {
	if name != "bluesky" {
		return messages.FeedStatus{}, messages.ErrNoFeed
	}
	return messages.FeedStatus{Feed: name, State: messages.StateLive}, nil
}

func (c *control) History(_ context.Context, name string, q messages.HistoryQuery) (messages.FeedHistory, error) {
	if name != "bluesky" {
		return messages.FeedHistory{}, messages.ErrNoFeed
	}
	return messages.FeedHistory{Feed: name, Started: q.Since, StepSeconds: int(q.Step / time.Second)}, nil
}

func (c *control) note(verb, feed string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if feed != "bluesky" {
		return messages.ErrNoFeed
	}
	c.commands = append(c.commands, verb)
	return nil
}

func (c *control) Reconnect(_ context.Context, feed string) error { return c.note("reconnect", feed) }
func (c *control) Pause(_ context.Context, feed string) error     { return c.note("pause", feed) }
func (c *control) Resume(_ context.Context, feed string) error    { return c.note("resume", feed) }

func (c *control) RepairGap(_ context.Context, feed string, m messages.RepairGap) (messages.GapAnswer, error) {
	answer := messages.GapAnswer{Row: messages.GapRow{ID: m.ID, Feed: feed, State: messages.GapRepairing}}
	if m.DryRun {
		answer.Offers = []messages.GapOffer{{Source: messages.SourceSocket, Bytes: 1000, Requests: 1, Events: 5}, {Source: messages.SourceArchive, Why: "it has no key"}}
	}
	return answer, cmp.Or(c.refuses, c.note(fmt.Sprintf("repair %s %t", m.ID, m.DryRun), feed))
}

func (c *control) DismissGap(_ context.Context, feed string, m messages.DismissGap) (messages.GapAnswer, error) {
	return messages.GapAnswer{Row: messages.GapRow{ID: m.ID, Feed: feed, State: messages.GapUnrepairable, Why: m.Why}}, cmp.Or(c.refuses, c.note(fmt.Sprintf("dismiss %s: %s", m.ID, m.Why), feed))
}

func (c *control) Close(ctx context.Context, name, reason string) (persistence.StreamInfo, error) {
	stream, err := c.store.Stream(ctx, name)
	if err == nil {
		err = stream.Close(ctx, reason)
	}
	if err != nil {
		return persistence.StreamInfo{}, err
	}
	return stream.Info(ctx)
}

func (c *control) HasFeed(name string) bool { return name == "bluesky" }

func (c *control) DeleteStream(ctx context.Context, name string) error {
	if c.HasFeed(name) {
		return fmt.Errorf("%w: the feed %s fills it", messages.ErrNotNow, name)
	}
	return c.store.DeleteStream(ctx, name)
}

func (c *control) Ready(context.Context) messages.Readiness {
	return messages.Readiness{Ready: len(c.notReady) == 0, Reasons: c.notReady}
}

// daemon is a running server and a client of it.
type daemon struct {
	*serve.Server
	t        testing.TB
	addr     string
	http     *http.Client
	observer *observe.Observer
	log      *lockedBuffer
	control  *control
	ended    chan error // Serve's result
}

type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

// newDaemon returns a server that does not listen yet.
func newDaemon(t testing.TB, store persistence.Store, change ...func(*serve.Options)) *daemon {
	d := &daemon{t: t, log: &lockedBuffer{}, control: &control{store: store}, ended: make(chan error, 1)}
	d.observer = observe.New(slog.New(slog.NewJSONHandler(d.log, nil)), observe.NewMetrics(), observe.Strict())
	opt := serve.Options{Store: store, Control: d.control, Observer: d.observer, Clock: clockwork.NewRealClock()}
	for _, c := range change {
		c(&opt)
	}
	d.Server = serve.New(opt)
	return d
}

// start starts a server on loopback. It is shut down with the test.
func start(t testing.TB, store persistence.Store, change ...func(*serve.Options)) *daemon {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := newDaemon(t, store, change...)
	d.listen(ln, &http.Transport{DisableCompression: true})
	return d
}

func (d *daemon) listen(ln net.Listener, transport *http.Transport) {
	d.addr = ln.Addr().String()
	d.http = &http.Client{Transport: transport}
	go func() { d.ended <- d.Serve(context.Background(), ln) }()
	d.t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := d.Shutdown(context.Background()); err != nil {
			d.t.Error(err)
		}
		if err := <-d.ended; err != nil {
			d.t.Error(err)
		}
	})
}

// response is a response, read to its end.
type response struct {
	status int
	header http.Header
	body   string
}

// name returns the error's name, "" for a response that is not an error.
func (r response) name() string {
	var e struct{ Error string }
	_ = json.Unmarshal([]byte(r.body), &e)
	return e.Error
}

func (d *daemon) request(method, path string, header ...string) (*http.Request, error) {
	req, err := http.NewRequest(method, "http://"+d.addr+path, nil)
	for i := 0; i+1 < len(header) && err == nil; i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Set(header[i], header[i+1])
	}
	return req, err
}

// try makes a request. header is names and values in turn.
func (d *daemon) try(method, path string, header ...string) (response, error) {
	req, err := d.request(method, path, header...)
	if err != nil {
		return response{}, err
	}
	resp, err := d.http.Do(req)
	if err != nil {
		return response{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return response{resp.StatusCode, resp.Header, string(body)}, err
}

// do is try for a request that must be answered. It is safe for concurrent use.
func (d *daemon) do(method, path string, header ...string) response {
	d.t.Helper()
	r, err := d.try(method, path, header...)
	if err != nil {
		d.t.Errorf("%s %s: %v", method, path, err)
	}
	return r
}

// send makes a request with a body.
func (d *daemon) send(method, path, body string, header ...string) response {
	d.t.Helper()
	req, err := d.request(method, path, header...)
	if err != nil {
		d.t.Fatal(err)
	}
	req.Body, req.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	if body == "" {
		req.Body = nil
	}
	resp, err := d.http.Do(req)
	if err != nil {
		d.t.Errorf("%s %s: %v", method, path, err)
		return response{}
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		d.t.Errorf("%s %s: %v", method, path, err)
	}
	return response{resp.StatusCode, resp.Header, string(answer)}
}

func (d *daemon) get(path string) response { d.t.Helper(); return d.do("GET", path) }

// want checks a response's status and error name.
func (d *daemon) want(r response, status int, name string) {
	d.t.Helper()
	if r.status != status || r.name() != name {
		d.t.Errorf("answered %d %q, want %d %q; body %.200s", r.status, r.name(), status, name, r.body)
	}
}

// patience bounds every wait in real time. Longer means broken, even on a very busy machine.
const patience = 2 * time.Minute

// tailing waits until n tails of the stream are being served.
func (d *daemon) tailing(stream string, n int) {
	d.t.Helper()
	gauge := d.observer.Metrics().Tails.WithLabelValues(stream)
	for end := time.Now().Add(patience); testutil.ToFloat64(gauge) != float64(n); {
		if time.Now().After(end) {
			d.t.Fatalf("%v tails of %s are served, want %d", testutil.ToFloat64(gauge), stream, n)
		}
		<-time.After(time.Millisecond)
	}
}

// frames decodes the response to a read or a tail.
type frames struct {
	Frames []struct {
		ID    string
		Event json.RawMessage
	}
	Count        int
	Cursor       string
	Oldest       string
	Newest       string
	LagEntries   int64      `json:"lag_entries"`
	LagMS        int64      `json:"lag_ms"`
	UpToDate     bool       `json:"up_to_date"`
	ClosedAt     *time.Time `json:"closed_at"`
	ClosedReason string     `json:"closed_reason"`
}

func (d *daemon) frames(r response) frames {
	d.t.Helper()
	var f frames
	dec := json.NewDecoder(strings.NewReader(r.body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil || r.status != http.StatusOK {
		d.t.Errorf("status %d, %v: %.300s", r.status, err, r.body)
	}
	if f.Count != len(f.Frames) {
		d.t.Errorf("count is %d of %d frames", f.Count, len(f.Frames))
	}
	return f
}

package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"go.uber.org/goleak"

	"tempestd/internal/client"
	"tempestd/internal/observe"
	"tempestd/internal/serve"
	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/embedded"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// actors is an actor tree with one feed.
type actors struct {
	ready messages.Readiness
	told  []string
}

func (a *actors) Feeds(context.Context) ([]messages.FeedStatus, error) {
	return []messages.FeedStatus{{Feed: "bluesky", State: messages.StateLive, EventsPerSec: 480.5}}, nil
}

func (a *actors) Feed(_ context.Context, name string) (messages.FeedStatus, error) {
	if name != "bluesky" {
		return messages.FeedStatus{}, messages.ErrNoFeed
	}
	return messages.FeedStatus{Feed: name, State: messages.StatePaused, Reason: "an operator said so"}, nil
}

func (a *actors) History(context.Context, string, messages.HistoryQuery) (messages.FeedHistory, error) {
	return messages.FeedHistory{}, nil
}

func (a *actors) tell(verb, feed string) error {
	if feed != "bluesky" {
		return messages.ErrNoFeed
	}
	a.told = append(a.told, verb)
	return nil
}

func (a *actors) Reconnect(_ context.Context, feed string) error { return a.tell("reconnect", feed) }
func (a *actors) Pause(_ context.Context, feed string) error     { return a.tell("pause", feed) }
func (a *actors) Resume(_ context.Context, feed string) error    { return a.tell("resume", feed) }
func (a *actors) Ready(context.Context) messages.Readiness       { return a.ready }

func (a *actors) RepairGap(_ context.Context, feed string, m messages.RepairGap) (messages.GapAnswer, error) {
	answer := messages.GapAnswer{Row: messages.GapRow{ID: m.ID, Feed: feed}}
	if m.DryRun {
		answer.Offers = []messages.GapOffer{{Source: messages.SourceSocket, Bytes: 3 << 20, Requests: 1}, {Source: messages.SourceArchive, Why: "it has no key"}}
	}
	return answer, a.tell(fmt.Sprintf("repair %s %t", m.ID, m.DryRun), feed)
}

func (a *actors) DismissGap(_ context.Context, feed string, m messages.DismissGap) (messages.GapAnswer, error) {
	return messages.GapAnswer{Row: messages.GapRow{ID: m.ID, Feed: feed}}, a.tell("dismiss "+m.ID+" "+m.Why, feed)
}

func (a *actors) Close(_ context.Context, stream, reason string) (persistence.StreamInfo, error) {
	if stream != "bluesky" {
		return persistence.StreamInfo{}, persistence.ErrNoStream
	}
	at := time.Unix(1_795_000_000, 0).UTC()
	return persistence.StreamInfo{Name: stream, ClosedAt: &at, ClosedReason: reason}, a.tell("close", stream)
}

func (a *actors) HasFeed(name string) bool { return name == "bluesky" }

func (a *actors) DeleteStream(_ context.Context, stream string) error {
	if stream != "old" {
		return fmt.Errorf("%w: the feed %s fills it", messages.ErrNotNow, stream)
	}
	return a.tell("delete", stream)
}

func (a *actors) Reload(context.Context) (messages.Reloaded, error) {
	return messages.Reloaded{Added: []string{"new"}, Restart: []string{"http.listen"}}, a.tell("reload", "")
}

const token = "hunter2"

// daemon starts the API over a store that has one stream of two events, and returns a client of it.
func daemon(t *testing.T) (*client.Client, *actors, persistence.Stream, *serve.Server) {
	t.Helper()
	ctx := context.Background()
	store, err := embedded.Open(ctx, t.TempDir(), embedded.Options{SyncInterval: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	stream, err := store.OpenStream(ctx, "bluesky", persistence.StreamOptions{})
	if err != nil {
		t.Fatal(err)
	}
	const first, second = `{"n":1, "odd":"\u003c"}`, `{"n":2}`
	_, err = stream.Append(ctx, &messages.Batch{Buf: []byte(first + second), Events: []messages.Event{
		{Len: uint32(len(first)), TimeUS: 5_000, Fingerprint: 1},
		{Off: uint32(len(first)), Len: uint32(len(second)), TimeUS: 6_000, Fingerprint: 2},
	}}, messages.Checkpoint{})
	if err != nil {
		t.Fatal(err)
	}

	a := &actors{ready: messages.Readiness{Ready: true}}
	server := serve.New(serve.Options{Store: store, Control: a, Observer: observe.Discard(), Token: token, Clock: clockwork.NewRealClock()})
	ts := httptest.NewServer(server.Handler())
	t.Cleanup(ts.Close)
	return connect(t, ts.URL, token), a, stream, server
}

func connect(t *testing.T, addr, token string) *client.Client {
	t.Helper()
	c, err := client.New(addr, token)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestFeeds(t *testing.T) {
	c, a, _, _ := daemon(t)
	ctx := t.Context()
	if feeds, err := c.Feeds(ctx); err != nil || len(feeds) != 1 || feeds[0].Feed != "bluesky" || feeds[0].EventsPerSec != 480.5 {
		t.Errorf("Feeds: %+v, %v", feeds, err)
	}
	if feed, err := c.Feed(ctx, "bluesky"); err != nil || feed.State != messages.StatePaused || feed.Reason != "an operator said so" {
		t.Errorf("Feed: %+v, %v", feed, err)
	}
	for _, command := range []func(context.Context, string) error{c.Reconnect, c.Pause, c.Resume} {
		if err := command(ctx, "bluesky"); err != nil {
			t.Error(err)
		}
		if err := command(ctx, "a/b c?"); !errors.Is(err, messages.ErrNoFeed) {
			t.Errorf("a command to no feed gave %v", err)
		}
	}
	if got := strings.Join(a.told, " "); got != "reconnect pause resume" {
		t.Errorf("the feed was told %q", got)
	}
}

func TestCloseStream(t *testing.T) {
	c, _, _, _ := daemon(t)
	if info, err := c.CloseStream(t.Context(), "bluesky", "moved & gone?"); err != nil || info.ClosedReason != "moved & gone?" || info.ClosedAt == nil {
		t.Errorf("%+v, %v", info, err)
	}
	if _, err := c.CloseStream(t.Context(), "a/b c?", "moved"); !errors.Is(err, persistence.ErrNoStream) {
		t.Errorf("closing no stream gave %v", err)
	}
}

func TestReady(t *testing.T) {
	c, a, _, server := daemon(t)
	if ready, err := c.Ready(t.Context()); err != nil || !ready.Ready {
		t.Errorf("%+v, %v; want it ready", ready, err)
	}
	a.ready = messages.Readiness{Reasons: []string{"feed bluesky: not supervised"}}
	if ready, err := c.Ready(t.Context()); err != nil || ready.Ready || len(ready.Reasons) != 1 {
		t.Errorf("%+v, %v; want it not ready for one reason", ready, err)
	}
	if err := server.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err := c.Ready(t.Context())
	if refusal, ok := errors.AsType[*client.APIError](err); !ok || refusal.Name != "ShuttingDown" || refusal.Status != http.StatusServiceUnavailable {
		t.Errorf("while stopping: %v", err)
	}
}

func TestStreams(t *testing.T) {
	c, _, stream, _ := daemon(t)
	ctx := t.Context()
	if streams, err := c.Streams(ctx); err != nil || len(streams) != 1 || streams[0].Name != "bluesky" || streams[0].Entries != 2 {
		t.Errorf("Streams: %+v, %v", streams, err)
	}
	if info, err := c.Stream(ctx, "bluesky"); err != nil || info.Newest == nil || info.Newest.String() != "6-0" {
		t.Errorf("Stream: %+v, %v", info, err)
	}
	if _, err := c.Stream(ctx, "other"); !errors.Is(err, persistence.ErrNoStream) {
		t.Errorf("no stream: %v", err)
	}

	read, err := c.Frames(ctx, "bluesky", "start", "5", 10)
	if err != nil || len(read.Entries) != 1 || string(read.Entries[0].Event) != `{"n":1, "odd":"\u003c"}` || read.Entries[0].ID.String() != "5-0" || read.IsClosed() {
		t.Errorf("Frames: %s, %v", read.Entries, err)
	}
	read, err = c.Tail(ctx, "bluesky", "5-0", 30*time.Second, 10, messages.ConsumerFilter{})
	if err != nil || len(read.Entries) != 1 || string(read.Entries[0].Event) != `{"n":2}` {
		t.Errorf("Tail: %s, %v", read.Entries, err)
	}
	if read, err = c.Tail(ctx, "bluesky", "6-0", 0, 10, messages.ConsumerFilter{}); err != nil || len(read.Entries) != 0 {
		t.Errorf("Tail at the tip: %s, %v", read.Entries, err)
	}
	if err := stream.Close(ctx, "finished"); err != nil {
		t.Fatal(err)
	}
	if read, err = c.Tail(ctx, "bluesky", "6-0", 30*time.Second, 10, messages.ConsumerFilter{}); err != nil || !read.IsClosed() || read.ClosedReason != "finished" {
		t.Errorf("Tail of a closed stream: %+v, %v", read, err)
	}
	_, err = c.Tail(ctx, "bluesky", "start", 0, 10, messages.ConsumerFilter{})
	if refusal, ok := errors.AsType[*client.APIError](err); !ok || refusal.Status != http.StatusBadRequest || !strings.Contains(refusal.Error(), "after: got \"start\"") {
		t.Errorf("Tail after start: %v", err)
	}
}

func TestATailsFilterAndItsEnd(t *testing.T) {
	c, _, stream, _ := daemon(t)
	ctx := t.Context()
	filter := messages.ConsumerFilter{Kinds: []string{"commit", "gap"}, DIDs: []string{"did:plc:a", "did:plc:b"}}
	read, err := c.Tail(ctx, "bluesky", "0-0", 0, 10, filter)
	if err != nil || len(read.Entries) != 0 || read.Cursor.String() != "6-0" || read.Newest.String() != "6-0" || read.Behind != 0 {
		t.Errorf("a filter that nothing passes: %+v, %v", read, err)
	}
	const event = `{"n":3}`
	if _, err := stream.Append(ctx, &messages.Batch{Buf: []byte(event), Events: []messages.Event{{Len: uint32(len(event)), TimeUS: 7_000}}}, messages.Checkpoint{}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Trim(ctx, persistence.Retention{Entries: 1}); err != nil {
		t.Fatal(err)
	}
	_, err = c.Tail(ctx, "bluesky", "5-0", 0, 10, filter)
	if expired, ok := errors.AsType[*persistence.CursorExpiredError](err); !ok || expired.Oldest.String() != "6-0" {
		t.Errorf("a cursor that retention has overtaken: %v", err)
	}
}

func TestAWaitingTailEndsWithItsContext(t *testing.T) {
	c, _, _, _ := daemon(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Tail(ctx, "bluesky", "6-0", 30*time.Second, 1, messages.ConsumerFilter{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want the context's error", err)
	}
}

func TestI10_ErrorsDoNotShowTheToken(t *testing.T) {
	ts := httptest.NewServer(http.NotFoundHandler())
	addr := ts.Listener.Addr().String()
	c := connect(t, addr, token)
	_, err := c.Feeds(t.Context())
	if refusal, ok := errors.AsType[*client.APIError](err); !ok || refusal.Name != "" || !strings.Contains(err.Error(), "404") {
		t.Errorf("a server of another kind: %v", err)
	}
	c.Close()
	ts.Close()
	_, gone := c.Feeds(t.Context())
	if !errors.Is(gone, client.ErrNoDaemon) || gone.Error() != "no daemon at "+addr+": connection refused; is `tempestd run` running there?" {
		t.Errorf("nothing listens: %v", gone)
	}
	for _, e := range []error{err, gone} {
		if strings.Contains(fmt.Sprintf("%+v", e), token) {
			t.Errorf("%+v", e)
		}
	}
}

func TestAWrongTokenIsRefused(t *testing.T) {
	c, _, _, _ := daemon(t)
	_, err := connect(t, c.Addr(), "wrong").Feeds(t.Context())
	if refusal, ok := errors.AsType[*client.APIError](err); !ok || refusal.Name != "Unauthorized" {
		t.Errorf("%v", err)
	}
}

func TestAnswersThatAreNotADaemons(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"not JSON": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
		"half of it": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "9")
			fmt.Fprint(w, "{")
		},
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
		},
		"without end":  func(w http.ResponseWriter, _ *http.Request) { endless(w) },
		"another type": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"feeds":7}`) },
	} {
		ts := httptest.NewServer(h)
		c := connect(t, ts.URL, token)
		if feeds, err := c.Feeds(t.Context()); err == nil {
			t.Errorf("%s passed for %v", name, feeds)
		}
		c.Close()
		ts.Close()
	}
}

// endless writes until the client stops reading.
func endless(w http.ResponseWriter) {
	chunk := []byte(strings.Repeat(" ", 1<<20))
	for {
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
}

func TestAddresses(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1:7077":                   "http://127.0.0.1:7077",
		"localhost:7077":                   "http://localhost:7077",
		"[::1]:7077":                       "http://[::1]:7077",
		":7077":                            "http://127.0.0.1:7077",
		"0.0.0.0:7077":                     "http://127.0.0.1:7077",
		"[::]:7077":                        "http://127.0.0.1:7077",
		"http://tempest.example":           "http://tempest.example",
		"https://tempest.example/api/":     "https://tempest.example/api/",
		"":                                 "",
		":":                                "",
		"http://":                          "",
		"ftp://tempest.example":            "",
		"http://me:secret@tempest.example": "",
		"http://tempest.example?x=1":       "",
		"a b":                              "",
		"http://[::1":                      "",
	} {
		c, err := client.New(addr, "")
		if want == "" {
			if err == nil {
				t.Errorf("%q is accepted, as %s", addr, c.Addr())
			} else if strings.Contains(err.Error(), "secret") { // I10
				t.Error(err)
			}
			continue
		}
		if err != nil || c.Addr() != want {
			t.Errorf("%q: %v, %v; want %s", addr, c, err, want)
		}
	}
}

func TestACallEndsWhenNothingAnswers(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close() // the kernel makes connections, but the test never accepts them
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := connect(t, ln.Addr().String(), "").Feeds(ctx)
		done <- err
	}()
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want the context's error", err)
	}
}

func TestTheDaemonSeesTheUserAgent(t *testing.T) {
	agents := make(chan string, 1)
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		agents <- r.UserAgent()
		_, _ = w.Write([]byte(`{"feeds":[]}`))
	}))
	defer ts.Close()
	if _, err := connect(t, ts.URL, "").Feeds(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := <-agents; !strings.HasPrefix(got, "tempestd/") {
		t.Errorf("the client is %q", got)
	}
}

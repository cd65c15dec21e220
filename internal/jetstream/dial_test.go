package jetstream_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/jonboulle/clockwork"

	"tempestd/internal/jetstream"
)

func tryDial(t *testing.T, req jetstream.Request, opt jetstream.DialOptions) error {
	t.Helper()
	if opt.Clock == nil {
		opt.Clock = clockwork.NewRealClock()
	}
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	conn, err := jetstream.Dial(ctx, req, opt)
	if err == nil {
		conn.CloseNow()
	}
	return err
}

func TestDialAsksForWhatIsWanted(t *testing.T) {
	asked := make(chan *http.Request, 1)
	req := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- r
		if ws, err := websocket.Accept(w, r, nil); err == nil {
			ws.CloseNow()
		}
	})
	host := req.Endpoint.Host()
	req.Endpoint = endpoint(t, "ws://user:pass@"+host)
	req.Filter = jetstream.Filter{Collections: []string{"app.bsky.feed.post", "app.bsky.graph.*"}, DIDs: []string{"did:web:a%3A80"}}
	req.Cursor = jetstream.SequenceCursor(host, 4711)
	if err := tryDial(t, req, jetstream.DialOptions{UserAgent: "tempestd/1"}); err != nil {
		t.Fatal(err)
	}
	got := <-asked
	const want = "/subscribe?maxMessageSizeBytes=4194304&cursor=4711&wantedCollections=app.bsky.feed.post&wantedCollections=app.bsky.graph.%2A&wantedDids=did%3Aweb%3Aa%253A80"
	if got.RequestURI != want {
		t.Errorf("asked for %s, want %s", got.RequestURI, want)
	}
	if user, pass, _ := got.BasicAuth(); user != "user" || pass != "pass" {
		t.Errorf("authorized as %q, %q", user, pass)
	}
	if got.UserAgent() != "tempestd/1" || got.Header.Get("Sec-WebSocket-Extensions") != "" {
		t.Errorf("the headers are %v", got.Header)
	}
}

func TestDialRefused(t *testing.T) {
	now := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		status int
		header [2]string
		body   string
		want   jetstream.RefusedError
	}{
		"bad request": {status: 400, body: "subscribe: invalid options: invalid collection: garbage\n",
			want: jetstream.RefusedError{Status: 400, Permanent: true, Message: "subscribe: invalid options: invalid collection: garbage"}},
		"unauthorized": {status: 401, want: jetstream.RefusedError{Status: 401, Permanent: true}},
		"forbidden":    {status: 403, want: jetstream.RefusedError{Status: 403, Permanent: true}},
		"not found":    {status: 404, want: jetstream.RefusedError{Status: 404, Permanent: true}},
		"a page":       {status: 200, body: "<html>\n<b>hello</b>", want: jetstream.RefusedError{Status: 200, Permanent: true, Message: "<html> <b>hello</b>"}},
		"moved": {status: 301, header: [2]string{"Location", "http://127.0.0.1:1/?secret"},
			want: jetstream.RefusedError{Status: 301, Permanent: true, Message: "redirections are not followed; configure the server's own address"}},
		"too many, in seconds": {status: 429, header: [2]string{"Retry-After", "17"}, want: jetstream.RefusedError{Status: 429, RetryAfter: 17 * time.Second}},
		"too many, by date":    {status: 429, header: [2]string{"Retry-After", "Sat, 01 Aug 2026 12:01:30 GMT"}, want: jetstream.RefusedError{Status: 429, RetryAfter: 90 * time.Second}},
		"too many, in the past": {status: 429, header: [2]string{"Retry-After", "Sat, 01 Aug 2026 11:01:30 GMT"},
			want: jetstream.RefusedError{Status: 429}},
		"too many, for ever":     {status: 429, header: [2]string{"Retry-After", "4000000000"}, want: jetstream.RefusedError{Status: 429, RetryAfter: time.Hour}},
		"too many, nobody knows": {status: 429, header: [2]string{"Retry-After", "-1 soon"}, want: jetstream.RefusedError{Status: 429}},
		"not ready":              {status: 503, body: "service not ready: bootstrap in progress\n", want: jetstream.RefusedError{Status: 503, Passing: true, Message: "service not ready: bootstrap in progress"}},
		"not ready, of v2": {status: 503, body: `{"error":"ServiceUnavailable","message":"stale"}`,
			want: jetstream.RefusedError{Status: 503, Passing: true, Name: "ServiceUnavailable", Message: "stale"}},
		"not now":            {status: 503, header: [2]string{"Retry-After", "3"}, want: jetstream.RefusedError{Status: 503, Passing: true, RetryAfter: 3 * time.Second}},
		"out of order":       {status: 503, body: "<html>", want: jetstream.RefusedError{Status: 503, Message: "<html>"}},
		"too many, and v2's": {status: 429, body: `{"error":"ServiceUnavailable"}`, want: jetstream.RefusedError{Status: 429, Name: "ServiceUnavailable"}},
		"broken":             {status: 500, body: "a\x00b\xff\u2028c\x1b[31m" + strings.Repeat("é", 2000), want: jetstream.RefusedError{Status: 500, Message: "a b\uFFFD c [31m" + strings.Repeat("é", 92) + "…"}},
	} {
		t.Run(name, func(t *testing.T) {
			req := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
				if c.header[0] != "" {
					w.Header().Set(c.header[0], c.header[1])
				}
				w.Header().Set("Date", now.Format(http.TimeFormat))
				w.WriteHeader(c.status)
				fmt.Fprint(w, c.body)
			})
			err := tryDial(t, req, jetstream.DialOptions{Clock: clockwork.NewFakeClockAt(now)})
			var got *jetstream.RefusedError
			if !errors.As(err, &got) || *got != c.want {
				t.Fatalf("got %+v, want %+v", err, c.want)
			}
			if len(got.Message) > 200 {
				t.Errorf("the message has %d bytes", len(got.Message))
			}
			if end := jetstream.Classify(err); end.Cause != jetstream.CauseRefused || end.Code != c.status {
				t.Errorf("the ending is %+v", end)
			}
		})
	}
}

// A date in a server's answer is on the server's clock, which may be hours apart from ours.
func TestADateInARefusalIsTheServersOwn(t *testing.T) {
	server := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	req := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", server.Format(http.TimeFormat))
		w.Header().Set("Retry-After", server.Add(20*time.Second).Format(http.TimeFormat))
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	for _, skew := range []time.Duration{-time.Hour, 0, time.Hour} {
		err := tryDial(t, req, jetstream.DialOptions{Clock: clockwork.NewFakeClockAt(server.Add(skew))})
		if got := refusal(t, err).RetryAfter; got != 20*time.Second {
			t.Errorf("with a clock %v ahead of the server's it is to stay away for %v", skew, got)
		}
	}
}

func TestTheHandshakeTellsTheServersClock(t *testing.T) {
	want := time.Date(2019, 8, 1, 12, 0, 7, 0, time.UTC)
	for date, told := range map[string]bool{want.Format(http.TimeFormat): true, "": false, "yesterday": false, "Thu, 01 Jan 1970 00:00:00 GMT": false} {
		req := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				panic(err)
			}
			defer c.Close()
			answer(c, r, "Date: "+date)
		})
		conn := dial(t, req, jetstream.DialOptions{})
		got, ok := conn.ServerDate()
		if ok != told || ok && !got.Equal(want) {
			t.Errorf("of the date %q it makes %v, %v", date, got, ok)
		}
	}
}

func TestDialIsBoundedByItsContext(t *testing.T) {
	asked := make(chan struct{})
	req := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	_, err := jetstream.Dial(ctx, req, jetstream.DialOptions{Clock: clockwork.NewRealClock()})
	if !errors.Is(err, context.Canceled) || jetstream.Classify(err).Cause != jetstream.CauseClosed {
		t.Errorf("got %v", err)
	}
}

func TestI10_DialErrorsHideUserinfoAndQuery(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	listener.Close()
	notWebsocket := serveRaw(t, func(net.Conn) {}).Endpoint.Host()
	for _, target := range []string{"ws://hunter:two@" + addr, "wss://hunter:two@" + notWebsocket} {
		ep := endpoint(t, target)
		req := jetstream.Request{Endpoint: ep, Cursor: jetstream.TimeCursor(1795327636563030)}
		err := tryDial(t, req, jetstream.DialOptions{})
		if err == nil {
			t.Fatal("it connected")
		}
		if text := err.Error(); strings.Contains(text, "hunter") || strings.Contains(text, "1795327636563030") || !strings.Contains(text, ep.Host()) {
			t.Errorf("the error is %q", text)
		}
		if end := jetstream.Classify(err); end.Cause != jetstream.CauseNetwork || end.Reason == "" {
			t.Errorf("the ending is %+v", end)
		}
	}
}

func TestDialRefusesAForeignSequence(t *testing.T) {
	req := jetstream.Request{Endpoint: endpoint(t, "ws://127.0.0.1:1"), Cursor: jetstream.SequenceCursor("127.0.0.1:2", 17)}
	if err := tryDial(t, req, jetstream.DialOptions{}); !errors.Is(err, jetstream.ErrForeignSeq) {
		t.Errorf("got %v", err)
	}
	if err := tryDial(t, jetstream.Request{}, jetstream.DialOptions{}); !errors.Is(err, jetstream.ErrBadEndpoint) {
		t.Errorf("got %v", err)
	}
}

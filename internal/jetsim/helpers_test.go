package jetsim_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"tempestd/internal/jetsim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newSim makes a simulator and closes it at the end of the test.
func newSim(t testing.TB, opt jetsim.Options) *jetsim.Sim {
	t.Helper()
	s, err := jetsim.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// start makes a simulator that listens on a loopback port.
func start(t testing.TB, opt jetsim.Options) *jetsim.Sim {
	t.Helper()
	s := newSim(t, opt)
	if err := s.Listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	return s
}

// startPiped makes a simulator that is reachable only through pipes, so that it works in a synctest
// bubble. All dials must use the options dial. end closes the simulator and the client; the bubble
// waits for their goroutines.
func startPiped(t testing.TB, opt jetsim.Options) (s *jetsim.Sim, dial *websocket.DialOptions, end func()) {
	t.Helper()
	s, err := jetsim.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	l := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
	if err := s.Serve(l); err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{DialContext: l.dial}
	return s, &websocket.DialOptions{HTTPClient: &http.Client{Transport: tr}}, func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		tr.CloseIdleConnections()
	}
}

// pipeListener accepts the far ends of net.Pipe.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
}

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case l.conns <- far:
		return near, nil
	case <-l.done:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	close(l.done)
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

// client is a subscriber of a test.
type client struct {
	t    testing.TB
	ctx  context.Context
	conn *websocket.Conn
}

// subscribe connects with a raw query.
func subscribe(t testing.TB, s *jetsim.Sim, query string) *client {
	t.Helper()
	return subscribeWith(t, s.URL()+"?"+query, nil)
}

func subscribeWith(t testing.TB, url string, opt *websocket.DialOptions) *client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	conn, _, err := websocket.Dial(ctx, url, opt)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadLimit(1 << 20)
	t.Cleanup(func() { _ = conn.CloseNow() })
	return &client{t, t.Context(), conn}
}

// read reads n frames.
func (c *client) read(n int) [][]byte {
	c.t.Helper()
	var frames [][]byte
	for range n {
		kind, b, err := c.conn.Read(c.ctx)
		if err != nil {
			c.t.Fatalf("after %d of %d frames: %v", len(frames), n, err)
		}
		if kind != websocket.MessageText {
			c.t.Fatalf("frame %d is of type %v", len(frames), kind)
		}
		frames = append(frames, b)
	}
	return frames
}

// rest reads until the connection ends.
func (c *client) rest() (frames [][]byte, err error) {
	for {
		_, b, err := c.conn.Read(c.ctx)
		if err != nil {
			return frames, err
		}
		frames = append(frames, b)
	}
}

// frame is the content of a frame, decoded by encoding/json.
type frame struct {
	DID    string `json:"did"`
	TimeUS int64  `json:"time_us"`
	Cursor *int64 `json:"cursor"`
	Kind   string `json:"kind"`
	Commit struct {
		Rev        string          `json:"rev"`
		Operation  string          `json:"operation"`
		Collection string          `json:"collection"`
		Rkey       string          `json:"rkey"`
		Record     json.RawMessage `json:"record"`
		CID        string          `json:"cid"`
	} `json:"commit"`
	Identity *struct {
		DID    string  `json:"did"`
		Seq    int64   `json:"seq"`
		Handle *string `json:"handle"`
	} `json:"identity"`
	Account *struct {
		Active *bool `json:"active"`
		Seq    int64 `json:"seq"`
	} `json:"account"`
}

// seq returns the frame's sequence number, or 0 if it has none.
func (f frame) seq() int64 {
	if f.Cursor == nil {
		return 0
	}
	return *f.Cursor
}

// identity identifies the event in all its versions.
func (f frame) identity() string {
	switch {
	case f.Identity != nil:
		return fmt.Sprint("identity ", f.Identity.Seq)
	case f.Account != nil:
		return fmt.Sprint("account ", f.Account.Seq)
	}
	c := f.Commit
	return strings.Join([]string{f.DID, c.Rev, c.Collection, c.Rkey, c.Operation}, " ")
}

func decode(t testing.TB, frames [][]byte) []frame {
	t.Helper()
	out := make([]frame, len(frames))
	for i, b := range frames {
		if err := json.Unmarshal(b, &out[i]); err != nil {
			t.Fatalf("frame %d: %v: %s", i, err, b)
		}
	}
	return out
}

func stream(frames [][]byte) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for _, f := range frames {
			if !yield(f, nil) {
				return
			}
		}
	}
}

func verify(t testing.TB, s *jetsim.Sim, frames [][]byte, opt jetsim.VerifyOptions) jetsim.Report {
	t.Helper()
	r, err := s.Verify(stream(frames), opt)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// get sends a request without a websocket to the handler.
func get(t testing.TB, s *jetsim.Sim, method, target string, headers ...string) (*http.Response, string) {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	r.RemoteAddr = "127.0.0.1:9"
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	resp := w.Result()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// answer returns the status of a GET with any raw query.
func answer(s *jetsim.Sim, query string) int { return answerAt(s, "/subscribe", query).Code }

func answerAt(s *jetsim.Sim, path, query string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.URL.RawQuery = query
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	return w
}

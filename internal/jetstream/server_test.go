package jetstream_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/jonboulle/clockwork"

	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// serve starts a server that does with each websocket what handle says, and returns the request that leads to it.
func serve(t testing.TB, handle func(ctx context.Context, ws *websocket.Conn)) jetstream.Request {
	t.Helper()
	return serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer ws.CloseNow()
		handle(r.Context(), ws)
	})
}

func serveHTTP(t testing.TB, handle http.HandlerFunc) jetstream.Request {
	t.Helper()
	server := httptest.NewServer(handle)
	t.Cleanup(server.Close)
	return jetstream.Request{Endpoint: endpoint(t, "ws"+strings.TrimPrefix(server.URL, "http"))}
}

func endpoint(t testing.TB, s string) jetstream.Endpoint {
	t.Helper()
	ep, err := jetstream.ParseEndpoint(s)
	if err != nil {
		t.Fatal(err)
	}
	return ep
}

// within is how long anything on loopback may take before a test gives up on it.
const within = 10 * time.Second

func dial(t testing.TB, req jetstream.Request, opt jetstream.DialOptions) *jetstream.Conn {
	t.Helper()
	opt.Clock = clockwork.NewRealClock()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	conn, err := jetstream.Dial(ctx, req, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.CloseNow)
	return conn
}

// collector is a sink that keeps what it is given. A batch comes back at once unless hold is set.
type collector struct {
	mu     sync.Mutex
	events []string
	sizes  []int // events in each batch
	bad    []string
	hold   chan struct{}          // when not nil: no batch is free until it is closed
	done   func() <-chan struct{} // ends a wait
	taken  func()                 // called after each hand-over
}

func (c *collector) TryHand(b *messages.Batch) (*messages.Batch, bool) {
	if c.hold != nil {
		select {
		case <-c.hold:
		default:
			return b, false
		}
	}
	c.take(b)
	b.Reset()
	return b, true
}

func (c *collector) Hand(b *messages.Batch) *messages.Batch {
	c.take(b)
	select {
	case <-c.hold:
		return &messages.Batch{}
	case <-c.done():
		return nil
	}
}

func (c *collector) Bad(frame []byte, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bad = append(c.bad, fmt.Sprintf("%.20s: %v", frame, err))
}

func (c *collector) take(b *messages.Batch) {
	c.mu.Lock()
	if b != nil {
		c.sizes = append(c.sizes, len(b.Events))
		for i := range b.Events {
			c.events = append(c.events, string(b.Bytes(i)))
		}
	}
	c.mu.Unlock()
	if c.taken != nil {
		c.taken()
	}
}

// eventJSON is a like with the sequence number n.
func eventJSON(n int) string {
	return fmt.Sprintf(`{"did":"did:plc:333libf5czqkykcsyqbqtcvs","time_us":%d,"cursor":%d,"kind":"commit","commit":{"rev":"3ke6kg3wxps22","operation":"create",`+
		`"collection":"app.bsky.feed.like","rkey":"r%d","record":{"$type":"app.bsky.feed.like","createdAt":"2026-08-01T10:08:18Z",`+
		`"subject":{"cid":"bafyreidqpc7si3dbimffi64lz3xsx2qt45ip7rpna2qpslcddp23itjjzm","uri":"at://did:plc:p5lw/app.bsky.feed.post/22anpxljoatlp"}},`+
		`"cid":"bafyreidqpc7si3dbimffi64lz3xsx2qt45ip7rpna2qpslcddp23itjjzm"}}`, 1795327636563030+n, n, n)
}

func write(ctx context.Context, t testing.TB, ws *websocket.Conn, text string) {
	if err := ws.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		t.Errorf("server: %v", err)
	}
}

// corpus is the frames of the files in the folder that TEMPEST_CORPUS names; none without it.
func corpus(t testing.TB, files ...string) [][]byte {
	t.Helper()
	dir := os.Getenv("TEMPEST_CORPUS")
	if dir == "" {
		return nil
	}
	var frames [][]byte
	for _, name := range files {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		frames = append(frames, bytes.Split(bytes.TrimSpace(data), []byte("\n"))...)
	}
	return frames
}

var _ net.Error = (*net.OpError)(nil)

package jetstream_test

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/jonboulle/clockwork"

	"tempestd/internal/jetstream"
)

// serve starts a server that calls handle for each websocket, and returns the request for it.
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

// serveRaw starts a server that answers the handshake and then calls handle with the connection.
func serveRaw(t testing.TB, handle func(c net.Conn)) jetstream.Request {
	t.Helper()
	return serveHTTP(t, rawHandler(handle))
}

func rawHandler(handle func(c net.Conn)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer c.Close()
		answer(c, r)
		handle(c)
	}
}

// answer completes a websocket handshake (RFC 6455, 1.3).
func answer(w io.Writer, r *http.Request, headers ...string) {
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	fmt.Fprintf(w, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n%s\r\n",
		base64.StdEncoding.EncodeToString(sum[:]), strings.Join(append(headers, ""), "\r\n"))
}

// rawText returns an unfragmented text message as a server puts it on the wire.
func rawText(text string) string {
	return string(binary.BigEndian.AppendUint16([]byte{0x81, 126}, uint16(len(text)))) + text
}

// virtual is a server without a network, for testing/synctest bubbles.
type virtual struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (v *virtual) Accept() (net.Conn, error) {
	select {
	case c := <-v.conns:
		return c, nil
	case <-v.closed:
		return nil, net.ErrClosed
	}
}
func (v *virtual) Close() error   { close(v.closed); return nil }
func (v *virtual) Addr() net.Addr { return &net.UnixAddr{Name: "virtual", Net: "unix"} }

// serveVirtual does the same as serve in a bubble, over pipes.
func serveVirtual(t testing.TB, handle func(ctx context.Context, ws *websocket.Conn)) (jetstream.Request, jetstream.DialOptions) {
	t.Helper()
	v := &virtual{conns: make(chan net.Conn), closed: make(chan struct{})}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer ws.CloseNow()
		handle(r.Context(), ws)
	})}
	go server.Serve(v)
	t.Cleanup(func() { server.Close() })
	opt := jetstream.DialOptions{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		client, remote := net.Pipe()
		select {
		case v.conns <- remote:
			return client, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}}
	return jetstream.Request{Endpoint: endpoint(t, "ws://virtual")}, opt
}

// within is how long anything on loopback may take before a test fails.
const within = 2 * time.Minute

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

// eventJSON returns a like with the sequence number n.
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

// corpus returns the frames of the files in the folder that TEMPEST_CORPUS names; none without it.
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

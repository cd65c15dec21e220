package jetsim_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"testing"

	"github.com/coder/websocket"

	"tempestd/internal/jetsim"
)

// BenchmarkVerify measures the speed of Verify, and with it that of rendering: it renders and
// compares every entry.
func BenchmarkVerify(b *testing.B) {
	const n = 50_000
	s := start(b, jetsim.Options{Backlog: n})
	frames := subscribe(b, s, "cursor=0").read(n)
	h := s.History()
	b.ReportAllocs()
	for b.Loop() {
		if r, err := h.Verify(stream(frames), jetsim.VerifyOptions{}); err != nil || !r.OK() {
			b.Fatal(r, err)
		}
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkServe measures a flood to one client that only reads, and a replay of existing events.
func BenchmarkServe(b *testing.B) {
	for _, run := range []struct {
		name, path, query string
		opt               jetsim.Options
	}{
		{"v1/flood", "/subscribe", "", jetsim.Options{Flood: true}},
		{"v1/replay", "/subscribe", "", jetsim.Options{Backlog: 200_000}},
		{"v1/zstd", "/subscribe", "&compress=true", jetsim.Options{Backlog: 200_000}},
		{"v2/flood", pathV2, "", jetsim.Options{Flood: true}},
		{"v2/replay", pathV2, "", jetsim.Options{Backlog: 200_000}},
		{"v2/zstd", pathV2, "&zstdDictionary=", jetsim.Options{Backlog: 200_000}},
	} {
		b.Run(run.name, func(b *testing.B) {
			s := start(b, run.opt)
			if run.name == "v2/zstd" {
				run.query += fmt.Sprint(s.DictionaryID())
			}
			reader := newBenchReader(b, s, run.path+"?cursor=0"+run.query)
			b.ReportAllocs()
			bytes := 0
			for b.Loop() {
				bytes += reader.next()
			}
			b.SetBytes(int64(bytes / b.N))
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "frames/s")
		})
	}
}

// benchReader reads one frame after another into one buffer. It has a large buffer before the
// socket, so that it reads as fast as the library can.
type benchReader struct {
	b      *testing.B
	s      *jetsim.Sim
	target string
	conn   *websocket.Conn
	buf    []byte
	left   int64 // frames until the end of the archive; 0 if there is no end
}

type bufferedConn struct {
	net.Conn
	r *bufio.Reader
}

func (c *bufferedConn) Read(p []byte) (int, error) { return c.r.Read(p) }

func newBenchReader(b *testing.B, s *jetsim.Sim, target string) *benchReader {
	r := &benchReader{b: b, s: s, target: target, buf: make([]byte, 64<<10)}
	r.dial()
	b.Cleanup(func() { _ = r.conn.CloseNow() })
	return r
}

func (r *benchReader) dial() {
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		return &bufferedConn{conn, bufio.NewReaderSize(conn, 256<<10)}, err
	}}}
	conn, _, err := websocket.Dial(r.b.Context(), "ws://"+r.s.Addr()+r.target, &websocket.DialOptions{HTTPClient: client})
	if err != nil {
		r.b.Fatal(err)
	}
	if r.conn != nil {
		_ = r.conn.CloseNow()
	}
	r.conn, r.left = conn, r.s.Stats().Contents
}

// next reads one frame and returns its length. At the end of an archive it connects again.
func (r *benchReader) next() (n int) {
	_, reader, err := r.conn.Reader(context.Background())
	if err != nil {
		r.b.Fatal(err)
	}
	for {
		k, err := reader.Read(r.buf)
		n += k
		if err != nil {
			break // the end of the message, or an error that the next Reader returns
		}
	}
	if r.left--; r.left == 0 {
		r.dial()
	}
	return n
}

package mirror

import (
	"bufio"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"tempestd/internal/serve/tail"
)

// frameTimeout is how long a subscriber may take for one write. A real server gives one frame the
// same time; here a write holds as many frames as fit into tail.ChunkSize.
const frameTimeout = 5 * time.Second

// gatherer is a connection that can gather small writes and send them as one: the websocket library
// writes, and so sends, every frame separately. A write that the client does not take in
// time fails, at any byte. It is safe for concurrent use.
type gatherer struct {
	net.Conn
	buffers *tail.Buffers

	taken atomic.Int64 // bytes that the connection has taken

	// turn is full while somebody writes, which takes as long as the client does. It is a channel, as
	// the library's own, so that virtual time passes while a ping waits for its turn.
	turn chan struct{}
	held *[]byte // gathered bytes; nil when writes are sent at once
}

func (g *gatherer) lock()   { g.turn <- struct{}{} }
func (g *gatherer) unlock() { <-g.turn }

// gather holds back the writes from now on. About that many bytes will come.
func (g *gatherer) gather(bytes int) {
	g.lock()
	defer g.unlock()
	if g.held == nil {
		g.held = g.buffers.Get(bytes)
	}
}

// release sends the gathered bytes, and later writes at once.
func (g *gatherer) release() error {
	g.lock()
	defer g.unlock()
	if g.held == nil {
		return nil
	}
	err := g.flush()
	g.buffers.Put(g.held)
	g.held = nil
	return err
}

func (g *gatherer) Write(p []byte) (int, error) {
	g.lock()
	defer g.unlock()
	if g.held == nil {
		return g.send(p)
	}
	if len(*g.held)+len(p) > cap(*g.held) {
		if err := g.flush(); err != nil {
			return 0, err
		}
		if len(p) >= cap(*g.held) {
			return g.send(p)
		}
	}
	*g.held = append(*g.held, p...)
	return len(p), nil
}

func (g *gatherer) flush() error {
	if len(*g.held) == 0 {
		return nil
	}
	_, err := g.send(*g.held)
	*g.held = (*g.held)[:0]
	return err
}

func (g *gatherer) send(p []byte) (int, error) {
	// Network deadlines are in real time: the server's clock cannot be used.
	_ = g.Conn.SetWriteDeadline(time.Now().Add(frameTimeout))
	n, err := g.Conn.Write(p)
	g.taken.Add(int64(n))
	return n, err
}

// hijack gives the websocket library the gatherer of a request's connection.
type hijack struct {
	http.ResponseWriter
	buffers *tail.Buffers
	conn    *gatherer
}

// frameHeader is the length of the longest header of a frame from a server. With a buffer of
// exactly this size, the library writes the payload separately and does not copy it.
const frameHeader = 16

// Hijack implements http.Hijacker.
func (h *hijack) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	_ = conn.SetDeadline(time.Time{}) // deadlines of the HTTP request
	h.conn = &gatherer{Conn: conn, buffers: h.buffers, turn: make(chan struct{}, 1)}
	return h.conn, bufio.NewReadWriter(rw.Reader, bufio.NewWriterSize(h.conn, frameHeader)), nil
}

package serve

import (
	"bufio"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// frameTimeout is how long a subscriber may take to let one write go out. A real server gives one frame as long; here a write has as many as fit into chunkSize.
const frameTimeout = 5 * time.Second

// corked is a connection whose small writes can be held back and go out as one: the websocket library writes, and would send, every frame by itself. A write that is
// not taken in time fails, wherever it stands. It is safe for concurrent use.
type corked struct {
	net.Conn
	bufs *sync.Pool // *[]byte of chunkSize

	taken atomic.Int64 // bytes that were written and taken

	mu   sync.Mutex
	held *[]byte // what is held back; nil while nothing is to be
}

// cork holds back what is written from now on.
func (c *corked) cork() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held == nil {
		c.held = c.bufs.Get().(*[]byte)
		*c.held = (*c.held)[:0]
	}
}

// uncork sends what was held back.
func (c *corked) uncork() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held == nil {
		return nil
	}
	err := c.flush()
	c.bufs.Put(c.held)
	c.held = nil
	return err
}

func (c *corked) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held == nil {
		return c.send(p)
	}
	if len(*c.held)+len(p) > cap(*c.held) {
		if err := c.flush(); err != nil {
			return 0, err
		}
		if len(p) >= cap(*c.held) {
			return c.send(p)
		}
	}
	*c.held = append(*c.held, p...)
	return len(p), nil
}

func (c *corked) flush() error {
	if len(*c.held) == 0 {
		return nil
	}
	_, err := c.send(*c.held)
	*c.held = (*c.held)[:0]
	return err
}

func (c *corked) send(p []byte) (int, error) {
	_ = c.Conn.SetWriteDeadline(time.Now().Add(frameTimeout)) // the network's own clock
	n, err := c.Conn.Write(p)
	c.taken.Add(int64(n))
	return n, err
}

// hijack gives the websocket library the corked connection of a request.
type hijack struct {
	http.ResponseWriter
	bufs *sync.Pool
	conn *corked
}

// frameHeader is the longest header of a frame that a server sends. A buffer of just that leaves the payload to be written by itself, without a copy.
const frameHeader = 16

// Hijack implements http.Hijacker.
func (h *hijack) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	_ = conn.SetDeadline(time.Time{}) // those of a request
	h.conn = &corked{Conn: conn, bufs: h.bufs}
	return h.conn, bufio.NewReadWriter(rw.Reader, bufio.NewWriterSize(h.conn, frameHeader)), nil
}

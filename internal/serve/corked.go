package serve

import (
	"bufio"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// frameTimeout is how long a subscriber may take for one write. A real server gives one frame the
// same time; here a write holds as many frames as fit into chunkSize.
const frameTimeout = 5 * time.Second

// corked is a connection that can hold back small writes and send them as one: the websocket
// library writes, and so sends, every frame separately. A write that the client does not take in
// time fails, at any byte. It is safe for concurrent use.
type corked struct {
	net.Conn
	bufs *sync.Pool // *[]byte of chunkSize

	taken atomic.Int64 // bytes that the connection has taken

	mu   sync.Mutex
	held *[]byte // bytes held back; nil when not corked
}

// cork holds back the writes from now on.
func (c *corked) cork() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held == nil {
		c.held = c.bufs.Get().(*[]byte)
		*c.held = (*c.held)[:0]
	}
}

// uncork sends the bytes held back.
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
	// Network deadlines are in real time: the server's clock cannot be used.
	_ = c.Conn.SetWriteDeadline(time.Now().Add(frameTimeout))
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
	h.conn = &corked{Conn: conn, bufs: h.bufs}
	return h.conn, bufio.NewReadWriter(rw.Reader, bufio.NewWriterSize(h.conn, frameHeader)), nil
}

package tail

import (
	"net/http"
	"strconv"
	"sync"

	"tempestd/persistence"
)

const (
	// ChunkSize is the size of a buffer, and so of most writes to a client.
	ChunkSize     = 64 << 10
	frameOverhead = 64 // upper bound of the bytes around one event
)

// Buffers are reused buffers of ChunkSize, and small ones for what is short: thousands of tails that
// an event wakes write at the same time. The zero Buffers is ready to use and safe for concurrent
// use.
type Buffers struct{ small, large sync.Pool }

const smallBuffer = 4 << 10

// bufferSize returns the size of the buffer that a body is written through.
func bufferSize(body int) int {
	if body <= smallBuffer-2*frameOverhead {
		return smallBuffer
	}
	return ChunkSize
}

// Get returns an empty buffer for a body of that many bytes. Put takes it back.
func (b *Buffers) Get(body int) *[]byte {
	size := bufferSize(body)
	if buf, ok := b.of(size).Get().(*[]byte); ok {
		*buf = (*buf)[:0]
		return buf
	}
	buf := make([]byte, 0, size)
	return &buf
}

// Put takes back a buffer of Get that is no longer used.
func (b *Buffers) Put(buf *[]byte) {
	if size := cap(*buf); size == smallBuffer || size == ChunkSize {
		b.of(size).Put(buf)
	}
}

func (b *Buffers) of(size int) *sync.Pool {
	if size == smallBuffer {
		return &b.small
	}
	return &b.large
}

// Chunks writes a body through a buffer of fixed size. After a failed write it discards the rest:
// the client is gone or was too slow, and the HTTP server closes the connection.
type Chunks struct {
	w   http.ResponseWriter
	buf []byte
	// before is called before every write, to set a new deadline. It is nil if one deadline covers
	// all writes.
	before func()
	Err    error // of the first write that failed
}

// SizedJSON begins a JSON body of size bytes, written through buf. A known length saves both sides
// a second system call for every write.
func SizedJSON(w http.ResponseWriter, buf []byte, size int) Chunks {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(size))
	return Chunks{w: w, buf: buf[:0]}
}

// Text adds a text.
func (c *Chunks) Text(s string) {
	if len(c.buf)+len(s) > cap(c.buf) {
		c.Flush()
	}
	c.buf = append(c.buf, s...)
}

// ID adds the text of an ID.
func (c *Chunks) ID(id persistence.EntryID) {
	if len(c.buf)+frameOverhead > cap(c.buf) {
		c.Flush()
	}
	c.buf, _ = id.AppendText(c.buf) // cannot fail
}

// Bytes adds bytes. It writes long ones without a copy.
func (c *Chunks) Bytes(p []byte) {
	if len(c.buf)+len(p) > cap(c.buf) {
		c.Flush()
		if len(p) > cap(c.buf) {
			c.write(p)
			return
		}
	}
	c.buf = append(c.buf, p...)
}

// Flush writes the buffered bytes.
func (c *Chunks) Flush() {
	c.write(c.buf)
	c.buf = c.buf[:0]
}

func (c *Chunks) write(p []byte) {
	if c.before != nil {
		c.before()
	}
	if c.Err == nil {
		_, c.Err = c.w.Write(p)
	}
}

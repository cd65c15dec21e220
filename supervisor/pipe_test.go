package supervisor_test

import (
	"net"
	"sync"
	"time"
)

// buffered is an end of a net.Pipe whose writes do not wait for the reader, as those of a socket. A
// bubble's time stands still while somebody holds a lock and waits for a reader.
type buffered struct {
	net.Conn
	mu     sync.Mutex
	out    []byte
	closed bool
	more   chan struct{}
}

// bufferedPipe returns the two ends of a connection.
func bufferedPipe() (near, far net.Conn) {
	a, b := net.Pipe()
	return newBuffered(a), newBuffered(b)
}

func newBuffered(c net.Conn) *buffered {
	b := &buffered{Conn: c, more: make(chan struct{}, 1)}
	go b.pump()
	return b
}

// pump writes what is buffered, and closes the pipe behind it.
func (b *buffered) pump() {
	defer b.Conn.Close()
	for range b.more {
		b.mu.Lock()
		out, closed := b.out, b.closed
		b.out = nil
		b.mu.Unlock()
		if len(out) > 0 {
			if _, err := b.Conn.Write(out); err != nil {
				return
			}
		}
		if closed {
			return
		}
	}
}

// change changes the buffer and has it looked at.
func (b *buffered) change(do func()) {
	b.mu.Lock()
	do()
	b.mu.Unlock()
	select {
	case b.more <- struct{}{}:
	default:
	}
}

func (b *buffered) Write(p []byte) (n int, err error) {
	b.change(func() {
		if n = len(p); b.closed {
			n, err = 0, net.ErrClosed
			return
		}
		b.out = append(b.out, p...)
	})
	return n, err
}

func (b *buffered) Close() error {
	b.change(func() { b.closed = true })
	if err := b.Conn.SetWriteDeadline(time.Now().Add(time.Second)); err != nil { // if nobody reads what is left
		return err
	}
	return b.Conn.SetReadDeadline(time.Unix(1, 0))
}

// SetDeadline and SetWriteDeadline leave writes alone, which never wait.
func (b *buffered) SetDeadline(t time.Time) error    { return b.SetReadDeadline(t) }
func (b *buffered) SetWriteDeadline(time.Time) error { return nil }

package jetstream

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/jonboulle/clockwork"
)

// wireBuffer is how much one system call may read. At this size system calls vanish from the
// profile.
const wireBuffer = 256 << 10

// wire is the connection below the websocket. It reads ahead, and only the wire knows when the
// socket has nothing more to give. Before each real read it calls the read loop (idle), which may
// hand its batch over and says when it must be called again. The wire keeps that deadline: its
// expiry is never visible to the reader of the wire.
//
// The websocket's own lock permits one reader at a time.
type wire struct {
	net.Conn
	clock clockwork.Clock

	buf      []byte
	from, to int         // the part of buf that is not read yet
	deadline time.Time   // the socket's current read deadline
	failed   atomic.Bool // the socket gave an error: nothing comes after what is buffered

	// Used by the read loop's goroutine only.
	loop   *readLoop // called before each real read; nil before Run
	readAt time.Time // when the socket last gave something
	cameAt time.Time // the earliest time at which that can have arrived

	poller *poller // nil if the socket cannot be read without waiting
	sparse bool    // the last read gave little: more may gather before the next one
	steady bool    // something arrived during the last pause

	detached atomic.Bool // the current reader may not be the read loop
}

func newWire(c net.Conn, clock clockwork.Clock) *wire {
	return &wire{Conn: c, clock: clock, buf: make([]byte, wireBuffer), poller: newPoller(c)}
}

const (
	// sparseRead is a size below which a read counts as small. A replaying server gives more at
	// once to a reader that has waited.
	sparseRead = 32 << 10
	// longestPause bounds how long the socket is not read. Everything else, such as a ping, waits
	// that long.
	longestPause = 10 * time.Millisecond
)

// Read returns what is buffered, or else reads from the socket.
func (w *wire) Read(p []byte) (int, error) {
	for w.from == w.to {
		if err := w.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, w.buf[w.from:w.to])
	w.from += n
	return n, nil
}

// fill reads from the socket.
func (w *wire) fill() error {
	for {
		var n int
		var err error
		var due time.Time
		live := !w.detached.Load() && w.loop != nil
		if live {
			due = w.loop.idle()
			n, err = w.gather(due)
			if n == 0 && err == nil && !due.IsZero() && !w.clock.Now().Before(due) {
				continue
			}
		}
		if n == 0 && err == nil {
			if live {
				_ = w.setDeadline(due) // if the connection has ended, the read returns the error
			}
			n, err = w.Conn.Read(w.buf)
			if !w.detached.Load() {
				w.cameAt = w.clock.Now()
			}
		}
		if n > 0 {
			w.from, w.to = 0, n
			w.sparse = n < sparseRead
			if !w.detached.Load() {
				w.readAt = w.clock.Now()
			}
			return nil
		}
		expired := errors.Is(err, os.ErrDeadlineExceeded) && !w.deadline.IsZero()
		if expired {
			err = w.setDeadline(time.Time{})
		}
		if err != nil {
			w.failed.Store(true)
			return err
		}
	}
}

// gather waits before it reads a socket that gives little at a time: until the current batch is
// due. Then it takes what has come. Waking up for each event costs more than all the work on the
// event. As long as something has come each time, it does not wait for the first event of the next
// batch either, but pauses at once. No event waits longer than it would in a batch. gather returns
// no bytes and no error if nothing has come or if it does not apply.
func (w *wire) gather(due time.Time) (int, error) {
	if w.poller == nil || !w.sparse || due.IsZero() && !w.steady {
		return 0, nil
	}
	from := w.clock.Now()
	pause := w.loop.lim.Delay
	if !due.IsZero() {
		pause = due.Sub(from)
	}
	if pause = min(pause, longestPause); pause <= 0 || w.setDeadline(time.Time{}) != nil {
		return 0, nil
	}
	w.clock.Sleep(pause)
	n, err := w.poller.poll(w.buf)
	if w.steady = n > 0; w.steady {
		w.cameAt = from
	}
	return n, err
}

// setDeadline calls the socket only if the deadline has changed.
func (w *wire) setDeadline(t time.Time) error {
	if t.Equal(w.deadline) {
		return nil
	}
	w.deadline = t
	return w.SetReadDeadline(t)
}

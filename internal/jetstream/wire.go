package jetstream

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/jonboulle/clockwork"
)

// wireBuffer is how much one system call may read. At this size they vanish from the profile (LIBRARIES.md, C).
const wireBuffer = 256 << 10

// wire is the connection below the websocket. It reads ahead, and it alone knows when the socket has nothing more to give: before each real read it
// tells the read loop, which may hand its batch over, and which says when it wants to be told again. That deadline is kept here: whoever reads from the
// wire never sees it pass.
//
// Reads have one caller at a time, by the websocket's own lock.
type wire struct {
	net.Conn
	clock clockwork.Clock

	buf      []byte
	from, to int         // what is buffered
	deadline time.Time   // what the socket's read deadline is set to
	failed   atomic.Bool // the socket gave an error: nothing comes after what is buffered

	// The read loop's own.
	loop   *readLoop // told before each real read; nil before Run
	readAt time.Time // when the socket last gave something

	detached atomic.Bool // whoever reads now may not be the read loop
}

func newWire(c net.Conn, clock clockwork.Clock) *wire {
	return &wire{Conn: c, clock: clock, buf: make([]byte, wireBuffer)}
}

// Read gives what is buffered, or else what the socket has.
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
		if !w.detached.Load() && w.loop != nil {
			if err := w.setDeadline(w.loop.idle()); err != nil {
				return err
			}
		}
		n, err := w.Conn.Read(w.buf)
		if n > 0 {
			w.from, w.to = 0, n
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

// setDeadline touches the socket only when the deadline is a new one.
func (w *wire) setDeadline(t time.Time) error {
	if t.Equal(w.deadline) {
		return nil
	}
	w.deadline = t
	return w.SetReadDeadline(t)
}

package jetstream

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/jonboulle/clockwork"
)

// wireBuffer is how much one system call may read. At this size they vanish from the profile.
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
	cameAt time.Time // when that can have come at the earliest

	poller *poller // nil where the socket cannot be asked without waiting for it
	sparse bool    // the socket last gave little: it may gather some more before it is read
	steady bool    // … and something came while it did

	detached atomic.Bool // whoever reads now may not be the read loop
}

func newWire(c net.Conn, clock clockwork.Clock) *wire {
	return &wire{Conn: c, clock: clock, buf: make([]byte, wireBuffer), poller: newPoller(c)}
}

const (
	// sparseRead is less than a socket gives at once that has been waited for: a server that replays.
	sparseRead = 32 << 10
	// longestPause bounds how long a socket is left alone: what else comes, such as a ping, waits for that long.
	longestPause = 10 * time.Millisecond
)

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
				_ = w.setDeadline(due) // of a connection that has ended the read tells how
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

// gather leaves a socket alone that gives little at a time, until the batch in hand is due, and then
// takes what has come: to be woken for each event costs more than all that is done with it. While
// something comes each time, the first event of the next batch is not waited for either. No event
// waits longer than it would have in a batch. It gives no bytes and no error where nothing has come.
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

// setDeadline touches the socket only when the deadline is a new one.
func (w *wire) setDeadline(t time.Time) error {
	if t.Equal(w.deadline) {
		return nil
	}
	w.deadline = t
	return w.SetReadDeadline(t)
}

package oracle

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// windowBytes is how many bytes may be under way in one direction to a server.
const windowBytes = 64 << 10

// pipe is one connection: two directions and their ends.
type pipe struct {
	ends   [2]*end // of the dialler, of the host
	closed func()

	mu   sync.Mutex
	gone int // ends that are closed
}

func newPipe(latency time.Duration, window int) *pipe {
	p := &pipe{}
	there, back := newDirection(latency, window), newDirection(latency, window)
	p.ends[0] = &end{pipe: p, in: back, out: there}
	p.ends[1] = &end{pipe: p, in: there, out: back}
	return p
}

// lose makes everything vanish that is under way or will be sent.
func (p *pipe) lose() {
	for _, e := range p.ends {
		e.in.do(func(d *direction) { d.lost, d.chunks, d.bytes = true, nil, 0 })
	}
}

// direction is the bytes on their way from one end to the other.
type direction struct {
	latency time.Duration
	window  int // bytes that may be under way

	mu       sync.Mutex
	chunks   []chunk
	bytes    int
	err      error // what the reader gets after the chunks
	errAt    time.Time
	lost     bool // everything vanishes
	held     bool // nothing arrives for now
	shut     bool // the writing end is closed
	unread   bool // the reading end is closed
	changed  chan struct{}
	deadline [2]time.Time // of the reader and of the writer
}

type chunk struct {
	at time.Time // when it arrives
	b  []byte
}

func newDirection(latency time.Duration, window int) *direction {
	return &direction{latency: latency, window: window, changed: make(chan struct{})}
}

// do changes the direction and wakes both ends.
func (d *direction) do(change func(*direction)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(d)
	close(d.changed)
	d.changed = make(chan struct{})
}

// await calls try under the lock until it says that it is done. who is 0 for the reader and 1 for the
// writer. try returns the time at which to try again without a change, zero for none.
func (d *direction) await(who int, try func() (done bool, again time.Time)) error {
	for {
		d.mu.Lock()
		done, again := try()
		deadline, changed := d.deadline[who], d.changed
		d.mu.Unlock()
		if done {
			return nil
		}
		if !deadline.IsZero() {
			if !time.Now().Before(deadline) {
				return os.ErrDeadlineExceeded
			}
			if again.IsZero() || deadline.Before(again) {
				again = deadline
			}
		}
		var due <-chan time.Time
		var timer *time.Timer
		if !again.IsZero() {
			timer = time.NewTimer(time.Until(again))
			due = timer.C
		}
		select {
		case <-changed:
		case <-due:
		}
		if timer != nil {
			timer.Stop()
		}
	}
}

// end is one end of a connection.
type end struct {
	pipe    *pipe
	in, out *direction
	once    sync.Once
	mu      sync.Mutex
	abrupt  bool
}

func (e *end) Read(b []byte) (n int, err error) {
	late := e.in.await(0, func() (bool, time.Time) {
		d, now := e.in, time.Now()
		switch {
		case d.unread:
			err = net.ErrClosed
			return true, time.Time{}
		case d.err == syscall.ECONNRESET && !now.Before(d.errAt):
			err = &net.OpError{Op: "read", Net: "tcp", Err: d.err}
			return true, time.Time{}
		case len(b) == 0:
			return true, time.Time{}
		case d.held:
			return false, time.Time{}
		}
		for len(d.chunks) > 0 && n < len(b) && !now.Before(d.chunks[0].at) {
			took := copy(b[n:], d.chunks[0].b)
			n += took
			d.bytes -= took
			if d.chunks[0].b = d.chunks[0].b[took:]; len(d.chunks[0].b) == 0 {
				d.chunks = d.chunks[1:]
			}
		}
		switch {
		case n > 0:
			close(d.changed) // there is room
			d.changed = make(chan struct{})
			return true, time.Time{}
		case len(d.chunks) > 0:
			return false, d.chunks[0].at
		case d.err != nil && now.Before(d.errAt):
			return false, d.errAt
		case d.err != nil:
			err = d.err
			return true, time.Time{}
		}
		return false, time.Time{}
	})
	if late != nil {
		err = late
	}
	return n, err
}

func (e *end) Write(b []byte) (n int, err error) {
	for n < len(b) {
		late := e.out.await(1, func() (bool, time.Time) {
			d := e.out
			room := d.window - d.bytes
			switch {
			case d.shut:
				err = net.ErrClosed
				return true, time.Time{}
			case d.unread:
				err = &net.OpError{Op: "write", Net: "tcp", Err: syscall.EPIPE}
				return true, time.Time{}
			case d.lost:
				// The sender's buffer takes it, until that is full.
				if room <= 0 {
					return false, time.Time{}
				}
				took := min(room, len(b)-n)
				d.bytes += took
				n += took
				return true, time.Time{}
			case room <= 0:
				return false, time.Time{}
			}
			took := min(room, len(b)-n)
			d.chunks = append(d.chunks, chunk{time.Now().Add(d.latency), append([]byte(nil), b[n:n+took]...)})
			d.bytes += took
			n += took
			close(d.changed)
			d.changed = make(chan struct{})
			return true, time.Time{}
		})
		if late != nil {
			err = late
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// SetLinger makes Close reset the connection, with 0.
func (e *end) SetLinger(seconds int) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.abrupt = seconds == 0
	return nil
}

func (e *end) Close() error {
	e.once.Do(func() {
		e.mu.Lock()
		abrupt := e.abrupt
		e.mu.Unlock()
		e.in.do(func(d *direction) {
			// What is closed with unread bytes is reset, as TCP does.
			abrupt = abrupt || len(d.chunks) > 0
			d.unread, d.chunks, d.bytes = true, nil, 0
		})
		e.out.do(func(d *direction) {
			d.shut = true
			if d.lost || d.err != nil {
				return
			}
			d.err, d.errAt = io.EOF, time.Now().Add(d.latency)
			if abrupt {
				d.err = syscall.ECONNRESET
			}
		})
		e.pipe.mu.Lock()
		e.pipe.gone++
		last := e.pipe.gone == 2
		e.pipe.mu.Unlock()
		if last && e.pipe.closed != nil {
			e.pipe.closed()
		}
	})
	return nil
}

func (e *end) LocalAddr() net.Addr  { return address("127.0.0.1:1") }
func (e *end) RemoteAddr() net.Addr { return address("127.0.0.1:2") }

func (e *end) SetDeadline(t time.Time) error {
	return errors.Join(e.SetReadDeadline(t), e.SetWriteDeadline(t))
}

func (e *end) SetReadDeadline(t time.Time) error {
	e.in.do(func(d *direction) { d.deadline[0] = t })
	return nil
}

func (e *end) SetWriteDeadline(t time.Time) error {
	e.out.do(func(d *direction) { d.deadline[1] = t })
	return nil
}

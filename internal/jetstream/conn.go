package jetstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"github.com/jonboulle/clockwork"
)

// Codes for Close.
const (
	CloseNormal    = int(websocket.StatusNormalClosure)
	CloseGoingAway = int(websocket.StatusGoingAway)
)

// closeTimeout bounds the close frame's way out.
const closeTimeout = time.Second

// Conn is one subscription's websocket. Run has one caller, once; everything else is safe for concurrent use.
type Conn struct {
	ws       *websocket.Conn
	wire     *wire
	link     *link
	endpoint Endpoint
	clock    clockwork.Clock
	maxSize  int64
	start    time.Time

	spoken   Wire
	date     time.Time // of the server's answer to the handshake, zero where it had none
	memory   *Negotiator
	raw      bool
	inflater *inflater               // nil when messages are not packed
	filter   atomic.Pointer[Matcher] // what of the filter is left to do here

	done     chan struct{} // closed by Close and CloseNow
	doneOnce sync.Once

	// Written by the read loop, once a socket read, and by nobody else. Times are nanoseconds since start, 0 for none.
	frames    atomic.Uint64
	lastFrame atomic.Int64
	newest    atomic.Int64 // Unix µs
	blocked   atomic.Int64
	partial   atomic.Bool
}

// Wire is what was agreed on with the upstream.
type Wire struct {
	Protocol    Protocol
	Compression Compression // CompressOff, CompressZstd or CompressDeflate
	Fallback    string      // why it is not what was preferred: one line, printable; "" when it is
	Local       bool        // events are filtered here as well
}

// Wire tells what was agreed on with the upstream when the connection was made.
func (c *Conn) Wire() Wire { return c.spoken }

// Endpoint is where the connection leads.
func (c *Conn) Endpoint() Endpoint { return c.endpoint }

// ServerDate is when the connection was made by the server's own clock, as the "Date" of its answer tells, to the second. ok is false where it told none.
func (c *Conn) ServerDate() (t time.Time, ok bool) { return c.date, !c.date.IsZero() }

// Done is closed once Close or CloseNow was called. A Sink selects on it while it blocks.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Activity is what a watchdog wants to know of a connection. Frames are data messages of any kind, wanted or not, parsed or not; pings and pongs are
// none. The figures are renewed at socket reads, so they may trail by what is buffered.
type Activity struct {
	Frames       uint64
	LastFrame    time.Time // when the newest of them was read from the socket; zero before the first
	NewestUS     int64     // greatest upstream time of their events, Unix µs, as the upstream says it; 0 before the first
	Partial      bool      // a message has begun to arrive and has not ended
	Blocked      bool      // the sink does not take the batch in hand: the socket is not read, and its silence is our own
	BlockedSince time.Time
}

// Activity is a snapshot. It is cheap.
func (c *Conn) Activity() Activity {
	a := Activity{Frames: c.frames.Load(), NewestUS: c.newest.Load(), Partial: c.partial.Load()}
	if t := c.lastFrame.Load(); t != 0 {
		a.LastFrame = c.start.Add(time.Duration(t))
	}
	if t := c.blocked.Load(); t != 0 {
		a.Blocked, a.BlockedSince = true, c.start.Add(time.Duration(t))
	}
	return a
}

// since is t as the atomics hold it. It is never 0, which means none.
func (c *Conn) since(t time.Time) int64 { return max(int64(t.Sub(c.start)), 1) }

// Ping sends a ping and waits for its pong, which only a running Run can read: during backpressure none comes, and that says nothing about
// the server. A ping that fails leaves the connection as it is, and a reader waiting: call CloseNow.
func (c *Conn) Ping(ctx context.Context) error {
	if err := c.ws.Ping(ctx); err != nil {
		return fmt.Errorf("ping %s: %w", c.endpoint, err)
	}
	return nil
}

// Close ends the connection in good order: it sends the code and the reason (123 bytes at most), for which it takes a second at most, and hangs up. Nothing that comes
// is read any more, be it the server's answer: behind a flood that would take seconds of a processor. Run returns an error that matches ErrClosed.
func (c *Conn) Close(code int, reason string) error {
	c.detach()
	c.link.parting.Store(true)
	late := c.clock.AfterFunc(closeTimeout, c.link.hangUp)
	defer late.Stop()
	err := c.ws.Close(websocket.StatusCode(code), reason)
	if err == nil || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return fmt.Errorf("close the connection to %s: %w", c.endpoint, err)
}

// CloseNow ends the connection at once. Run returns an error that matches ErrClosed, promptly unless its sink blocks.
func (c *Conn) CloseNow() {
	c.detach()
	c.hangUp()
}

// detach makes whatever ends the connection from now on our own doing, and keeps a reader that is not Run from its batch.
func (c *Conn) detach() {
	c.doneOnce.Do(func() {
		c.wire.detached.Store(true)
		close(c.done)
	})
}

// hangUp frees everything. The socket is closed first, because the library waits for a Close that is under way.
func (c *Conn) hangUp() {
	_ = c.wire.Close()
	_ = c.ws.CloseNow()
}

func (c *Conn) isClosing() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

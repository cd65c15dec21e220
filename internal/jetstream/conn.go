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

// closeTimeout bounds the time that sending the close frame may take.
const closeTimeout = time.Second

// Conn is the websocket of one subscription. Run may be called once. All other methods are safe for
// concurrent use.
type Conn struct {
	ws       *websocket.Conn
	wire     *wire
	link     *link
	endpoint Endpoint
	clock    clockwork.Clock
	maxSize  int64
	start    time.Time

	spoken   Wire
	date     time.Time // the Date of the server's answer to the handshake, zero if it had none
	memory   *Negotiator
	raw      bool
	inflater *inflater               // nil if messages are not compressed
	filter   atomic.Pointer[Matcher] // the part of the filter that is applied here

	done     chan struct{} // closed by Close and CloseNow
	doneOnce sync.Once

	// Written by the read loop alone, once per socket read. Times are nanoseconds since start, 0
	// for none.
	frames    atomic.Uint64
	lastFrame atomic.Int64
	newest    atomic.Int64 // Unix µs
	latest    atomic.Int64 // Unix µs
	blocked   atomic.Int64
	partial   atomic.Bool
}

// Wire is the result of the negotiation with the upstream.
type Wire struct {
	Protocol    Protocol
	Compression Compression // CompressOff, CompressZstd or CompressDeflate
	Fallback    string      // why it is not the preferred one: one line, printable; "" if it is
	Local       bool        // the filter, or a part of it, is applied here
}

// Wire returns what was negotiated with the upstream when the connection was made.
func (c *Conn) Wire() Wire { return c.spoken }

// Endpoint returns the endpoint that the connection was made to.
func (c *Conn) Endpoint() Endpoint { return c.endpoint }

// ServerDate returns the moment at which the connection was made, by the server's own clock: the
// "Date" of its answer, exact to a second. ok is false if the answer had none.
func (c *Conn) ServerDate() (t time.Time, ok bool) { return c.date, !c.date.IsZero() }

// Done is closed after a call of Close or CloseNow. A Sink selects on it while it blocks.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Activity is what a watchdog needs to know about a connection. Frames are data messages of any
// kind, wanted or not, parsed or not; pings and pongs do not count. The values are updated at
// socket reads, so they may be behind by what is buffered.
type Activity struct {
	Frames uint64
	// LastFrame is when the newest frame was read from the socket; zero before the first.
	LastFrame time.Time
	// NewestUS is the greatest upstream time of the frames' events, Unix µs, as the upstream says
	// it; 0 before the first.
	NewestUS int64
	// LatestUS is the upstream time of the event that came last. It is less than NewestUS where the
	// upstream's clock was set back.
	LatestUS int64
	Partial  bool // a message has begun to arrive and has not ended
	// Blocked says that the sink does not take the current batch. Then the socket is not read, and
	// the silence does not come from the server.
	Blocked      bool
	BlockedSince time.Time
}

// Activity returns a snapshot. It is cheap: a few atomic loads.
func (c *Conn) Activity() Activity {
	a := Activity{Frames: c.frames.Load(), NewestUS: c.newest.Load(), LatestUS: c.latest.Load(), Partial: c.partial.Load()}
	if t := c.lastFrame.Load(); t != 0 {
		a.LastFrame = c.start.Add(time.Duration(t))
	}
	if t := c.blocked.Load(); t != 0 {
		a.Blocked, a.BlockedSince = true, c.start.Add(time.Duration(t))
	}
	return a
}

// since returns t as the atomics hold it. It is never 0, because 0 means none.
func (c *Conn) since(t time.Time) int64 { return max(int64(t.Sub(c.start)), 1) }

// Ping sends a ping and waits for its pong. Only a running Run can read the pong: during
// backpressure none arrives, and that says nothing about the server. A failed ping does not end the
// connection, and a reader keeps waiting: call CloseNow.
func (c *Conn) Ping(ctx context.Context) error {
	if err := c.ws.Ping(ctx); err != nil {
		return fmt.Errorf("ping %s: %w", c.endpoint, err)
	}
	return nil
}

// Close ends the connection in good order: it sends the code and the reason (at most 123 bytes),
// which takes at most one second, and closes the socket. Nothing is read any more, not even the
// server's answer: to read past a flood of frames would take seconds of processor time. Run returns
// an error that matches ErrClosed.
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

// CloseNow ends the connection at once. Run returns an error that matches ErrClosed, promptly
// unless its sink blocks.
func (c *Conn) CloseNow() {
	c.detach()
	c.hangUp()
}

// detach marks the end of the connection as our own doing, whatever ends it from now on. It also
// keeps a reader other than Run away from Run's batch.
func (c *Conn) detach() {
	c.doneOnce.Do(func() {
		c.wire.detached.Store(true)
		close(c.done)
	})
}

// hangUp closes the socket and the websocket. The socket comes first, because the library's
// CloseNow waits for a Close that is still running.
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

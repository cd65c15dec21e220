package mirror

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"tempestd/internal/atproto"
	"tempestd/internal/beside"
	"tempestd/internal/jetstream"
	"tempestd/internal/observe"
	"tempestd/internal/serve/budget"
	"tempestd/internal/serve/tail"
	"tempestd/internal/subscribe"
	"tempestd/persistence"
)

// Limits of one subscriber's connection.
const (
	pingInterval = 30 * time.Second
	pongTimeout  = 5 * time.Second
	// leastTaken is how many bytes a client takes at least in pongTimeout if it takes every write
	// in time. It is less than a chunk: a chunk is sent as soon as the next frame does not fit, so
	// it may be partly empty.
	leastTaken = tail.ChunkSize / 2
	// smallMessage is how many bytes of a subscriber's message are read without a slot. Larger
	// messages, up to atproto.MaxSubscriberMessage, are read maxLarge at a time.
	smallMessage = 64 << 10
	maxLarge     = 4
	// messageTimeout is how long the rest of a message may take once the message has begun.
	messageTimeout = 10 * time.Second
)

// subscription is the connection of one subscriber, until it ends. Three goroutines serve it: the
// first sends and owns every field that is not marked as shared, the second reads, the third pings.
type subscription struct {
	mirror     *Mirror
	stream     persistence.Stream
	start      start
	version    subscribe.Version
	compressor compressor // nil for text

	conn   *websocket.Conn
	wire   *gatherer
	share  *budget.Share                    // shared with the reading goroutine, which keeps its filter in it
	filter atomic.Pointer[subscribe.Filter] // shared with the reading goroutine
	// unrepaired leaves out the events that were fetched to close gaps.
	unrepaired bool
	// hello is closed by the reading goroutine when an options_update arrives.
	hello     chan struct{}
	helloOnce sync.Once
	end       context.CancelCauseFunc

	entry      jetstream.Entry
	number     int64  // of the last entry that was looked at
	buf        []byte // holds the message made from an entry
	compressed []byte
	detector   slowDetector
	served     int64 // frames written since the metric was last updated
}

// Reasons why the server ends a subscription.
var (
	errNoPong  = errors.New("no pong within 5 s")
	errTooSlow = errors.New("fell behind, and below the least rate")
)

// serve serves the subscription until either side ends it.
func (c *subscription) serve(request context.Context, conn *websocket.Conn, wire *gatherer, req *subscribe.Request) {
	ctx, end := context.WithCancelCause(request)
	defer end(nil)
	crew := beside.Crew{Tell: c.mirror.observer.TaskPanicked, Fault: c.mirror.fault}
	defer c.mirror.tails.AfterCut(end)()
	// Every end of the subscription also ends a write that is stuck.
	defer crew.After(ctx, "subscription.close", func() { _ = conn.CloseNow() })()
	// Every end of this goroutine, a panic too, ends the others. They have ended before the server
	// forgets the subscriber.
	defer crew.Wait()
	defer func() { end(errGone); _ = conn.CloseNow() }()
	c.conn, c.wire, c.version, c.end, c.hello = conn, wire, req.Version, end, make(chan struct{})
	if !req.Hello {
		c.helloOnce.Do(func() { close(c.hello) })
	}
	crew.Start("subscription.read", func() { end(c.read()) }, end)
	crew.Start("subscription.ping", func() { c.ping(ctx) }, end)
	err := c.send(ctx, req)
	if cause := context.Cause(ctx); cause != nil {
		err = cause // the cause made the write fail
	}
	_ = conn.CloseNow()
	end(err)
	crew.Wait()
	c.report(err)
}

// report logs an end that was not the client's choice: a timeout, no pong, or too slow.
func (c *subscription) report(err error) {
	var slow net.Error
	if errors.As(err, &slow) && slow.Timeout() || errors.Is(err, errNoPong) || errors.Is(err, errTooSlow) {
		c.mirror.observer.Emit(observe.SubscriberCut, c.stream.Name(), "protocol", c.version.String(), "reason", err)
	}
}

// ping checks every pingInterval whether the client still answers.
func (c *subscription) ping(ctx context.Context) {
	ticker := c.mirror.clock.NewTicker(pingInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.Chan():
		case <-ctx.Done():
			return
		}
		if err := c.checkAlive(ctx); err != nil {
			c.end(err)
			return
		}
	}
}

// checkAlive pings the client and waits for the pong. The ping is queued behind bytes that the
// client has not read yet. So a client that still takes bytes counts as alive, however late its
// pong is. A client that has stopped taking bytes is found by the write timeout.
func (c *subscription) checkAlive(ctx context.Context) error {
	wait, cancel := context.WithTimeout(ctx, pongTimeout)
	defer cancel()
	taken := c.wire.taken.Load()
	err := c.conn.Ping(wait)
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, context.DeadlineExceeded):
		return errGone
	case c.wire.taken.Load()-taken >= leastTaken:
		return nil
	}
	return errNoPong
}

// errGone says that the connection ended on the client's side.
var errGone = errors.New("the client is gone")

// read reads the client's messages until the connection ends. The library answers pings while it
// reads.
func (c *subscription) read() error {
	c.conn.SetReadLimit(atproto.MaxSubscriberMessage)
	for {
		kind, message, err := c.conn.Reader(context.Background())
		if err != nil {
			return errGone
		}
		if c.version == subscribe.V2 {
			return c.refuse(websocket.StatusPolicyViolation, subscribe.UnexpectedReason)
		}
		if err := c.handle(kind, message); err != nil {
			return err
		}
	}
}

// handle handles one message of a v1 client.
func (c *subscription) handle(kind websocket.MessageType, message io.Reader) error {
	_ = c.wire.SetReadDeadline(time.Now().Add(messageTimeout))
	defer c.wire.SetReadDeadline(time.Time{})
	c.mirror.fault.At("subscription.listen")
	text, err := io.ReadAll(io.LimitReader(message, smallMessage))
	if err == nil && len(text) == smallMessage {
		if !c.share.Keep(atproto.MaxSubscriberMessage) {
			return c.refuse(websocket.StatusTryAgainLater, noRoom)
		}
		defer c.share.Keep(-atproto.MaxSubscriberMessage)
		c.mirror.large <- struct{}{}
		defer func() { <-c.mirror.large }()
		var rest []byte
		rest, err = io.ReadAll(message)
		text = append(text, rest...)
	}
	if err != nil {
		return errGone
	}
	if kind != websocket.MessageText {
		return nil
	}
	filter, update, err := subscribe.ParseUpdate(text)
	switch {
	case errors.Is(err, subscribe.ErrBadEnvelope), errors.Is(err, subscribe.ErrBadPayload):
		return c.refuse(websocket.StatusInvalidFramePayloadData, err.Error())
	case err != nil:
		return c.refuse(websocket.StatusPolicyViolation, err.Error())
	case update:
		if !c.keepFilter(filter) {
			return c.refuse(websocket.StatusTryAgainLater, noRoom)
		}
		c.helloOnce.Do(func() { close(c.hello) })
	}
	return nil
}

// noRoom is the reason of a close frame to a client whose filter has no room in the memory that
// readers share.
const noRoom = "the memory that readers share is in use; try again later"

// keepFilter makes a filter a part of the subscription's share, in place of the one that it had, and
// puts it into use. It returns false when there is no room.
func (c *subscription) keepFilter(f subscribe.Filter) bool {
	dids, ok := tail.KeepDIDs(c.share, f.DIDs())
	if !ok {
		return false
	}
	f = f.WithDIDs(dids)
	was := c.filter.Swap(&f)
	if was != nil && was.DIDs() != nil {
		c.share.Leave(was.DIDs().Digest())
	}
	return true
}

// refuse closes the connection because the client broke a rule.
func (c *subscription) refuse(code websocket.StatusCode, reason string) error {
	_ = c.close(code, reason)
	return errGone
}

// close sends a close frame and waits a short time for the client's. The read deadline is for a
// message whose rest never comes: the library would wait for it.
func (c *subscription) close(code websocket.StatusCode, reason string) error {
	_ = c.wire.SetReadDeadline(time.Now().Add(frameTimeout))
	return c.conn.Close(code, subscribe.CloseReason(reason))
}

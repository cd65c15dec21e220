package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
	"tempestd/internal/subscribe"
	"tempestd/messages"
	"tempestd/persistence"
)

// Limits of one subscriber's connection.
const (
	pingInterval = 30 * time.Second
	pongTimeout  = 5 * time.Second
	// leastTaken is how many bytes a client takes at least in pongTimeout if it takes every write
	// in time. It is less than a chunk: a chunk is sent as soon as the next frame does not fit, so
	// it may be partly empty.
	leastTaken    = chunkSize / 2
	subscribePage = 1000 // entries of one read
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
	server  *Server
	stream  persistence.Stream
	place   place
	version subscribe.Version
	packer  packer // nil for text

	conn   *websocket.Conn
	wire   *corked
	filter atomic.Pointer[subscribe.Filter] // shared with the reading goroutine
	// hello is closed by the reading goroutine when an options_update arrives.
	hello chan struct{}
	greet sync.Once
	end   context.CancelCauseFunc

	entry  jetstream.Entry
	number int64  // of the last entry that was looked at
	buf    []byte // holds the message made from an entry
	packed []byte
	pace   pace
	served int64 // frames written since the metric was last updated
}

// Reasons why the server ends a subscription.
var (
	errNoPong  = errors.New("no pong within 5 s")
	errTooSlow = errors.New("fell behind, and below the least rate")
)

// serve serves the subscription until either side ends it.
func (c *subscription) serve(request context.Context, conn *websocket.Conn, wire *corked, req *subscribe.Request) {
	ctx, end := context.WithCancelCause(request)
	defer end(nil)
	crew := beside.Crew{Tell: c.server.observer.TaskPanicked, Fault: c.server.fault}
	defer context.AfterFunc(c.server.cutOff, func() { end(context.Canceled) })()
	// Every end of the subscription also ends a write that is stuck.
	defer crew.After(ctx, "subscription.close", func() { _ = conn.CloseNow() })()
	// Every end of this goroutine, a panic too, ends the others. They have ended before the server
	// forgets the subscriber.
	defer crew.Wait()
	defer func() { end(errGone); _ = conn.CloseNow() }()
	c.conn, c.wire, c.version, c.end, c.hello = conn, wire, req.Version, end, make(chan struct{})
	c.filter.Store(&req.Filter)
	if !req.Hello {
		c.greet.Do(func() { close(c.hello) })
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
	c.tell(err)
}

// tell logs an end that was not the client's choice: a timeout, no pong, or too slow.
func (c *subscription) tell(err error) {
	var slow net.Error
	if errors.As(err, &slow) && slow.Timeout() || errors.Is(err, errNoPong) || errors.Is(err, errTooSlow) {
		c.server.observer.Emit(observe.SubscriberCut, c.stream.Name(), "protocol", c.version.String(), "reason", err)
	}
}

// ping checks every pingInterval whether the client still answers.
func (c *subscription) ping(ctx context.Context) {
	ticker := c.server.clock.NewTicker(pingInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.Chan():
		case <-ctx.Done():
			return
		}
		if err := c.isThere(ctx); err != nil {
			c.end(err)
			return
		}
	}
}

// isThere pings the client and waits for the pong. The ping is queued behind bytes that the client
// has not read yet. So a client that still takes bytes counts as alive, however late its pong is. A
// client that has stopped taking bytes is found by the write timeout.
func (c *subscription) isThere(ctx context.Context) error {
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
			return c.expel(websocket.StatusPolicyViolation, subscribe.UnexpectedReason)
		}
		if err := c.listen(kind, message); err != nil {
			return err
		}
	}
}

// listen handles one message of a v1 client.
func (c *subscription) listen(kind websocket.MessageType, message io.Reader) error {
	_ = c.wire.SetReadDeadline(time.Now().Add(messageTimeout))
	defer c.wire.SetReadDeadline(time.Time{})
	c.server.fault.At("subscription.listen")
	text, err := io.ReadAll(io.LimitReader(message, smallMessage))
	if err == nil && len(text) == smallMessage {
		c.server.large <- struct{}{}
		defer func() { <-c.server.large }()
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
		return c.expel(websocket.StatusInvalidFramePayloadData, err.Error())
	case err != nil:
		return c.expel(websocket.StatusPolicyViolation, err.Error())
	case update:
		c.filter.Store(&filter)
		c.greet.Do(func() { close(c.hello) })
	}
	return nil
}

// expel closes the connection because the client broke a rule.
func (c *subscription) expel(code websocket.StatusCode, reason string) error {
	_ = c.close(code, reason)
	return errGone
}

// close sends a close frame and waits a short time for the client's. The read deadline is for a
// message whose rest never comes: the library would wait for it.
func (c *subscription) close(code websocket.StatusCode, reason string) error {
	_ = c.wire.SetReadDeadline(time.Now().Add(frameTimeout))
	return c.conn.Close(code, subscribe.CloseReason(reason))
}

// send sends the stream from the subscription's place on.
func (c *subscription) send(ctx context.Context, req *subscribe.Request) error {
	select {
	case <-c.hello:
	case <-c.server.drained.Done():
		return c.close(websocket.StatusGoingAway, subscribe.ShutdownReason)
	case <-ctx.Done():
		return ctx.Err()
	}
	if req.Hello && !req.Cursor.Given { // the tip has moved since the request
		var err error
		if c.place, err = seek(ctx, c.stream, req.Cursor, c.server.clock.Now()); err != nil {
			return err
		}
	}
	if c.place.below && c.version == subscribe.V2 {
		if err := c.write(subscribe.Outdated(c.place.first)); err != nil {
			return err
		}
	}
	if c.place.ahead && c.version == subscribe.V2 {
		if err := c.write(subscribe.InfoFrame(atproto.FutureCursor, "requested sequence cursor was never given here; starting at the live tip")); err != nil {
			return err
		}
	}
	f := c.server.follow(ctx, c.stream, c.place.after, nil)
	defer f.close()
	for {
		page, err := f.next(persistence.MaxBlock, subscribePage)
		if err != nil {
			err = c.passOver(f, err)
		} else if err = c.sendPage(&page.StreamFrames); err == nil && c.pace.slow(c.server.clock.Now(), int64(len(page.Frames)), page.Behind) {
			err = c.tooSlow(page.Behind)
		}
		switch {
		case err != nil:
			return err
		case page.drained:
			return c.close(websocket.StatusGoingAway, subscribe.ShutdownReason)
		case page.ended():
			return c.close(websocket.StatusNormalClosure, page.ClosedReason)
		}
	}
}

// passOver continues after entries that are dropped by retention or cannot be read. A v2 subscriber
// is told with an info frame. v1 has no such frame: its subscriber continues silently, as on a real
// server, which moves a cursor that is too old to its oldest event.
func (c *subscription) passOver(f *follower, err error) error {
	var said string
	if expired, ok := errors.AsType[*persistence.CursorExpiredError](err); ok {
		f.cursor, said = expired.Oldest, "events were dropped by retention before they were read"
	} else if corrupt, ok := errors.AsType[*persistence.CorruptError](err); ok {
		f.cursor, said = corrupt.Block, "events are stored and cannot be read"
	} else {
		return err
	}
	if c.version == subscribe.V1 {
		return nil
	}
	return c.write(subscribe.InfoFrame(infoGap, said))
}

// infoGap is the name of the info frame that reports missing events. It is tempestd's own: clients
// ignore names that they do not know.
const infoGap = "Gap"

// sendPage sends the wanted entries of a page in as few writes as fit the buffer.
func (c *subscription) sendPage(page *persistence.StreamFrames) error {
	if len(page.Frames) == 0 {
		return nil
	}
	c.wire.cork()
	for i := range page.Frames {
		c.number = numberOf(page, i)
		if err := c.sendEntry(&page.Frames[i]); err != nil {
			_ = c.wire.uncork() // the connection is over
			return err
		}
	}
	err := c.wire.uncork()
	c.server.observer.Metrics().Served.WithLabelValues(c.stream.Name()).Add(float64(c.served))
	c.served = 0
	return err
}

// sendEntry sends one entry if it passes the cursor's time and the filter.
func (c *subscription) sendEntry(f *persistence.Frame) error {
	if !c.entry.Read(f.Event) {
		return nil
	}
	if c.place.fromUS > 0 {
		if c.entry.TimeUS() < c.place.fromUS && f.ID.Compare(c.place.until) <= 0 {
			return nil
		}
		c.place.fromUS = 0
	}
	if c.entry.Kind() == messages.KindGap {
		return c.sendGap(f.Event)
	}
	filter := c.filter.Load()
	if !filter.Wants(kindOf(c.entry.Kind()), c.entry.DID(), c.entry.Collection()) {
		return nil
	}
	var text []byte
	c.entry.Renumber(c.number)
	if c.version == subscribe.V1 {
		text, c.buf = c.entry.V1(c.buf[:0])
	} else if text, c.buf = c.entry.V2(c.buf[:0]); text == nil {
		return nil
	}
	if !filter.Fits(len(text)) {
		return nil
	}
	c.served++
	return c.write(text)
}

// kindOf converts a kind to the type of package subscribe.
func kindOf(k messages.Kind) subscribe.Kinds {
	switch k {
	case messages.KindCommit:
		return subscribe.Commit
	case messages.KindIdentity:
		return subscribe.Identity
	case messages.KindAccount:
		return subscribe.Account
	case messages.KindSync:
		return subscribe.Sync
	}
	return subscribe.Other
}

// sendGap sends a gap entry to a v2 subscriber as an info frame. v1 has no frame for it.
func (c *subscription) sendGap(entry []byte) error {
	var said struct {
		Gap struct {
			From  int64  `json:"from_us"`
			To    int64  `json:"to_us"`
			Cause string `json:"cause"`
		} `json:"gap"`
	}
	if c.version == subscribe.V1 || json.Unmarshal(entry, &said) != nil {
		return nil
	}
	return c.write(subscribe.InfoFrame(infoGap, fmt.Sprintf("events are missing from %d to %d (%s)", said.Gap.From, said.Gap.To, said.Gap.Cause)))
}

// keepBuffer is the capacity in bytes up to which a subscription keeps its message buffers.
const keepBuffer = 256 << 10

// write sends one message.
func (c *subscription) write(text []byte) error {
	kind := websocket.MessageText
	if c.packer != nil {
		kind = websocket.MessageBinary
		c.packed = c.packer.pack(c.packed[:0], text)
		text = c.packed
	}
	// No deadline in the context: the connection has its own write timeout (see corked).
	err := c.conn.Write(context.Background(), kind, text)
	if cap(c.packed) > keepBuffer {
		c.packed = nil
	}
	if cap(c.buf) > keepBuffer {
		c.buf = nil
	}
	return err
}

// tooSlow ends the subscription of a client that does not keep up. v2 gets an error frame with the
// reason; no version gets a close frame.
func (c *subscription) tooSlow(behind int64) error {
	if c.version == subscribe.V2 {
		_ = c.write(subscribe.TooSlow(behind, c.number+1))
	}
	return errTooSlow
}

package jetsim

import (
	"bufio"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/subscribe"
)

// A server's limits towards a subscriber.
const (
	writeTimeout = 5 * time.Second  // a frame that takes longer ends the connection, wherever it stands
	pingInterval = 30 * time.Second // and the pong must come within
	pongTimeout  = 5 * time.Second
	goodbye      = time.Second // how long a close frame waits for its answer
)

// The endings of a subscription that are the server's doing.
var (
	errFault    = errors.New("ended by a fault")
	errNoPong   = errors.New("no pong")
	errShutdown = errors.New("server shut down")
)

// batchLen is how many records a subscriber takes from the log at once; they go out in one write.
const batchLen = 128

// subscriber is one connection. It pulls from the log at its own pace.
type subscriber struct {
	sim      *Sim
	conn     net.Conn
	protocol subscribe.Version
	codec    codec // nil for plain text
	in       receiver
	filter   atomic.Pointer[subscribe.Filter]
	notice   []byte        // to be sent first
	faults   chan Fault    // to be suffered
	gone     chan struct{} // closed when nothing more can be read from the client
	pong     chan struct{}
	dead     chan struct{} // closed by kill

	reader  int  // behind the server's name
	rank    int  // of the next record to look at
	live    bool // begins at the tip
	waiting bool // for the options_update that was announced: until then the simulator's lock guards these

	writing sync.Mutex // a write of whole frames
	over    bool       // a close frame went out; guarded by writing

	recs    [batchLen]record
	buf     []byte           // frames to write
	text    []byte           // of a message to be compressed
	stalled <-chan time.Time // no frames until it fires
	slow    clockwork.Timer  // frames dribble until it fires
}

func newSubscriber(s *Sim, conn net.Conn, br *bufio.Reader, req *request) *subscriber {
	c := &subscriber{sim: s, conn: conn, protocol: req.Version, codec: req.codec(), waiting: req.Hello,
		in:     receiver{br: br, refuse: req.Version == subscribe.V2},
		faults: make(chan Fault, 8), gone: make(chan struct{}), dead: make(chan struct{}), pong: make(chan struct{}, 1)}
	if req.deflate != nil {
		c.in.deflate = &inflater{params: *req.deflate}
	}
	c.filter.Store(s.sized(req.Filter))
	return c
}

// serve sends until the subscription ends.
func (c *subscriber) serve() {
	var reader sync.WaitGroup
	reader.Go(c.read)
	_ = c.send() // how it ended shows on the wire
	if !c.isOver() {
		c.conn.Close()
	}
	reader.Wait()
}

// read answers pings, close frames and what a subscriber may say.
func (c *subscriber) read() {
	defer close(c.gone)
	for {
		op, payload, err := c.in.next()
		switch {
		case errors.Is(err, errBadClientFrame):
			c.expel(closeProtocol, err.Error())
			return
		case errors.Is(err, errMessageTooBig):
			c.expel(closeTooBig, err.Error())
			return
		case err != nil:
			return
		}
		switch op {
		case opPing:
			if c.write(appendMessage(nil, opPong, payload)) != nil {
				return
			}
		case opPong:
			select {
			case c.pong <- struct{}{}:
			default:
			}
		case opClose:
			_ = c.write(appendMessage(nil, opClose, payload))
			return
		case opText, opBinary:
			if !c.listen(op, payload) {
				return
			}
		default:
			c.expel(closeProtocol, errBadClientFrame.Error())
			return
		}
	}
}

// listen does what a subscriber's message asks for. It returns false when that ends the connection.
func (c *subscriber) listen(op byte, text []byte) bool {
	if c.protocol == subscribe.V2 {
		c.expel(closePolicy, subscribe.UnexpectedReason)
		return false
	}
	if op != opText {
		return true
	}
	f, update, err := subscribe.ParseUpdate(text)
	switch {
	case errors.Is(err, subscribe.ErrBadEnvelope), errors.Is(err, subscribe.ErrBadPayload):
		c.expel(closeNotText, err.Error())
		return false
	case err != nil:
		c.expel(closePolicy, err.Error())
		return false
	case update:
		c.filter.Store(c.sim.sized(f))
		c.sim.greet(c)
	}
	return true
}

// expel closes the connection for what the client did, and reads on for the answer: to close at once, with something unread, would be
// to reset, and the client might never see why.
func (c *subscriber) expel(code int, reason string) {
	c.writing.Lock()
	err := c.writeLocked(appendClose(nil, code, reason))
	c.over = err == nil
	c.writing.Unlock()
	if err != nil {
		return
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(goodbye))
	for {
		if _, err := c.in.br.Discard(1 << 10); err != nil {
			return
		}
	}
}

func (c *subscriber) isOver() bool {
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.over
}

// write sends whole frames, or cuts the connection wherever it stands after the write timeout.
func (c *subscriber) write(b []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.writeLocked(b)
}

func (c *subscriber) writeLocked(b []byte) error {
	if c.over {
		return net.ErrClosed
	}
	_ = c.conn.SetWriteDeadline(time.Now().Add(writeTimeout)) // the network's own clock, whatever the simulation's is
	_, err := c.conn.Write(b)
	return err
}

// send is the life of the connection.
func (c *subscriber) send() error {
	if c.notice != nil {
		if err := c.write(c.appendText(nil, c.notice)); err != nil {
			return err
		}
	}
	ping := c.sim.clock.NewTicker(pingInterval)
	defer ping.Stop()
	pongDue := c.sim.clock.NewTimer(pongTimeout)
	defer pongDue.Stop()
	pongDue.Stop()
	for {
		recs, more := c.sim.pull(c)
		var err error
		select {
		case <-more:
			err = c.sendRecords(recs)
		case f := <-c.faults:
			err = c.suffer(f)
		case <-ping.Chan():
			pongDue.Reset(pongTimeout)
			err = c.write(appendHeader(nil, opPing, 0))
		case <-c.pong:
			pongDue.Stop()
		case <-pongDue.Chan():
			err = errNoPong
		case <-c.stalled:
			c.stalled = nil
		case <-c.sim.leave:
			c.close()
			err = errShutdown
		case <-c.gone:
			err = net.ErrClosed
		case <-c.dead:
			err = net.ErrClosed
		}
		if err != nil {
			return err
		}
	}
}

// close says goodbye and waits a little for the answer.
func (c *subscriber) close() {
	if c.write(appendClose(nil, closeGoingAway, subscribe.ShutdownReason)) != nil {
		return
	}
	select {
	case <-c.gone:
	case <-c.sim.clock.After(goodbye):
	case <-c.dead:
	}
}

// kill ends the connection wherever it stands, as the death of the server's process does.
func (c *subscriber) kill() {
	close(c.dead)
	c.conn.Close()
}

// sendRecords writes the wanted ones of recs, which begin at c.rank, in one go.
func (c *subscriber) sendRecords(recs []record) error {
	if len(recs) == 0 {
		return nil
	}
	if c.slow != nil {
		return c.dribble(recs)
	}
	c.buf = c.buf[:0]
	var frames int64
	first := -1
	f := c.filter.Load()
	for i := range recs {
		if c.appendRecord(&recs[i], f) {
			if frames++; first < 0 {
				first = c.rank + i
			}
		}
	}
	if frames > 0 {
		c.sim.sending(c, first, frames)
		if err := c.write(c.buf); err != nil {
			return err
		}
	}
	c.rank += len(recs)
	return nil
}

// appendRecord appends a record's websocket frame to c.buf. It returns false, and appends nothing, when it is not wanted.
func (c *subscriber) appendRecord(r *record, f *subscribe.Filter) bool {
	w := c.sim.net
	e := w.event(r.num)
	if !f.Wants(e.shape.kind(), w.did(e.account), []byte(w.specs[e.shape].collection)) {
		return false
	}
	start := len(c.buf)
	if n := c.appendEvent(&e, r); !f.Fits(n) {
		c.buf = c.buf[:start]
		return false
	}
	return true
}

// frameHeader is the header of a frame of 126 to 65 535 bytes, as all events' are.
const frameHeader = 4

// appendEvent appends a record's websocket frame to c.buf and returns how long its JSON is.
func (c *subscriber) appendEvent(e *event, r *record) int {
	if c.codec != nil {
		c.text = c.appendJSON(c.text[:0], e, r)
		c.buf = c.codec.appendMessage(c.buf, c.text)
		return len(c.text)
	}
	if c.sim.net.isLarge(e.num) {
		c.text = c.appendJSON(c.text[:0], e, r)
		c.buf = appendMessage(c.buf, opText, c.text)
		return len(c.text)
	}
	start := len(c.buf)
	c.buf = append(c.buf, finalBit|opText, 126, 0, 0)
	c.buf = c.appendJSON(c.buf, e, r)
	n := len(c.buf) - start - frameHeader
	c.buf[start+2], c.buf[start+3] = byte(n>>8), byte(n)
	return n
}

func (c *subscriber) appendJSON(b []byte, e *event, r *record) []byte {
	if c.protocol == subscribe.V2 {
		return c.sim.net.appendV2(b, e, r.seq, r.timeUS, c.sim.does(NewerWitnessed))
	}
	return c.sim.net.appendV1(b, e, c.sim.seqOnWire(r), r.timeUS)
}

// appendText appends the frame of a message in the connection's encoding.
func (c *subscriber) appendText(b, text []byte) []byte {
	if c.codec != nil {
		return c.codec.appendMessage(b, text)
	}
	return appendMessage(b, opText, text)
}

// tooSlow is the end of a subscriber that does not keep up: v2 says why, and neither says goodbye.
func (c *subscriber) tooSlow() error {
	if c.protocol == subscribe.V2 {
		next, behind := c.sim.peek(c)
		_ = c.write(c.appendText(nil, subscribe.TooSlow(int64(behind), next.seq)))
	}
	return errFault
}

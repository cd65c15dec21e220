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

// These are a server's limits for a subscriber.
const (
	writeTimeout = 5 * time.Second  // a frame that takes longer ends the connection
	pingInterval = 30 * time.Second // the pong must come within pongTimeout
	pongTimeout  = 5 * time.Second
	goodbye      = time.Second // how long a close frame waits for its answer
)

// These errors end a subscription from the server's side.
var (
	errFault    = errors.New("ended by a fault")
	errNoPong   = errors.New("no pong")
	errShutdown = errors.New("server shut down")
)

// batchLen is the number of records that a subscriber takes from the log at once. They are sent in
// one write.
const batchLen = 128

// subscriber is one connection. It pulls from the log at its own pace.
type subscriber struct {
	sim      *Sim
	conn     net.Conn
	protocol subscribe.Version
	codec    codec // nil for plain text
	in       receiver
	filter   atomic.Pointer[subscribe.Filter]
	notice   []byte        // sent before the first event
	faults   chan Fault    // the faults to apply
	gone     chan struct{} // closed when nothing more can be read from the client
	pong     chan struct{}
	dead     chan struct{} // closed by kill

	reader int  // the reader, behind the server's name, that serves it
	rank   int  // the rank of the next record
	live   bool // it begins at the tip
	// waiting is true until the announced options_update arrives. Until then the simulator's lock
	// guards waiting, live and rank.
	waiting bool

	writing lock // held for a write of whole frames
	over    bool // a close frame was sent; guarded by writing

	recs    [batchLen]record
	buf     []byte           // the frames to write
	text    []byte           // the text of a message to compress
	stalled <-chan time.Time // no frames until it fires
	slow    clockwork.Timer  // dribble frames until it fires
}

// lock is a mutex. A goroutine that waits for it in a testing/synctest bubble is durably blocked, so
// that virtual time passes while its holder waits for a client that does not read.
type lock chan struct{}

func newLock() lock    { return make(lock, 1) }
func (l lock) Lock()   { l <- struct{}{} }
func (l lock) Unlock() { <-l }

func newSubscriber(s *Sim, conn net.Conn, br *bufio.Reader, req *request) *subscriber {
	c := &subscriber{sim: s, conn: conn, writing: newLock(), protocol: req.Version, codec: req.codec(), waiting: req.Hello,
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
	_ = c.send() // the client sees on the wire how it ended
	if !c.isOver() {
		c.conn.Close()
	}
	reader.Wait()
}

// read handles pings, pongs, close frames and messages of the client.
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

// listen handles a client's message. It returns false when the message ends the connection.
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

// expel closes the connection because of what the client did, and reads on until the client
// answers. A close with unread data would reset the connection, and the client might never see the
// reason.
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

// write sends whole frames. After the write timeout it fails, possibly within a frame.
func (c *subscriber) write(b []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.writeLocked(b)
}

func (c *subscriber) writeLocked(b []byte) error {
	if c.over {
		return net.ErrClosed
	}
	// The deadline belongs to the real network, so it uses the real clock, not the simulation's.
	_ = c.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, err := c.conn.Write(b)
	return err
}

// send runs the connection until it ends.
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

// close sends a close frame and waits a moment for the answer.
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

// kill ends the connection at any point, as the death of the server's process does.
func (c *subscriber) kill() {
	close(c.dead)
	c.conn.Close()
}

// sendRecords writes those of recs that the subscriber wants, in one write. recs begin at c.rank.
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

// appendRecord appends a record's websocket frame to c.buf. When the subscriber does not want the
// record, it returns false and appends nothing.
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

// frameHeader is the length of the header of a frame of 126 to 65 535 bytes. All events but the
// large ones have that length.
const frameHeader = 4

// appendEvent appends a record's websocket frame to c.buf and returns the length of its JSON.
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

// tooSlow ends a subscriber that does not keep up. v2 sends the reason first. Neither protocol
// sends a close frame.
func (c *subscriber) tooSlow() error {
	if c.protocol == subscribe.V2 {
		next, behind := c.sim.peek(c)
		_ = c.write(c.appendText(nil, subscribe.TooSlow(int64(behind), next.seq)))
	}
	return errFault
}

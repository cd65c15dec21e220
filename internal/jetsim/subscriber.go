package jetsim

import (
	"bufio"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"
)

// A server's limits towards a subscriber (PROTOCOL.md, 3).
const (
	writeTimeout = 5 * time.Second  // a frame that takes longer ends the connection, wherever it stands
	pingInterval = 30 * time.Second // and the pong must come within
	pongTimeout  = 5 * time.Second
	goodbye      = time.Second // how long a close frame waits for its answer
)

const shutdownReason = "server shutting down"

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
	sim    *Sim
	conn   net.Conn
	br     *bufio.Reader
	filter filter
	faults chan Fault    // to be suffered
	gone   chan struct{} // closed when nothing more can be read from the client
	pong   chan struct{}
	dead   chan struct{} // closed by kill

	rank int // of the next record to look at

	writing sync.Mutex // a write of whole frames
	recs    [batchLen]record
	buf     []byte

	stalled <-chan time.Time // no frames until it fires
	slow    clockwork.Timer  // frames dribble until it fires
}

// serve sends until the subscription ends.
func (c *subscriber) serve() {
	var reader sync.WaitGroup
	reader.Go(c.read)
	_ = c.send() // how it ended shows on the wire
	c.conn.Close()
	reader.Wait()
}

// read answers pings and close frames. Data messages are ignored.
func (c *subscriber) read() {
	defer close(c.gone)
	var buf [125]byte
	for {
		op, payload, err := readFrame(c.br, buf[:])
		switch {
		case errors.Is(err, errBadClientFrame):
			_ = c.write(appendClose(nil, closeProtocol, err.Error()))
			return
		case err != nil:
			return
		case op == opPing:
			if c.write(appendMessage(nil, opPong, payload)) != nil {
				return
			}
		case op == opPong:
			select {
			case c.pong <- struct{}{}:
			default:
			}
		case op == opClose:
			_ = c.write(appendMessage(nil, opClose, payload))
			return
		}
	}
}

// write sends whole frames, or cuts the connection wherever it stands after the write timeout.
func (c *subscriber) write(b []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	_ = c.conn.SetWriteDeadline(time.Now().Add(writeTimeout)) // the network's own clock, whatever the simulation's is
	_, err := c.conn.Write(b)
	return err
}

// send is the life of the connection.
func (c *subscriber) send() error {
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
	if c.write(appendClose(nil, closeGoingAway, shutdownReason)) != nil {
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
	if c.slow != nil {
		return c.dribble(recs)
	}
	c.buf = c.buf[:0]
	var frames int64
	first := -1
	for i := range recs {
		if c.appendRecord(&recs[i]) {
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

// frameHeader is the header of a frame of 126 to 65 535 bytes, as all events' are.
const frameHeader = 4

// appendRecord appends a record's websocket frame to c.buf. It returns false, and appends nothing, when it is not wanted.
func (c *subscriber) appendRecord(r *record) bool {
	w := c.sim.net
	e := w.event(r.num)
	if !c.filter.wants(w.did(e.account), w.specs[e.shape].collection) {
		return false
	}
	start := len(c.buf)
	c.appendEvent(e, r)
	if !c.filter.fits(len(c.buf) - start - frameHeader) {
		c.buf = c.buf[:start]
		return false
	}
	return true
}

// appendEvent appends a record's websocket frame to c.buf.
func (c *subscriber) appendEvent(e event, r *record) {
	start := len(c.buf)
	c.buf = append(c.buf, finalBit|opText, 126, 0, 0)
	c.buf = c.sim.net.appendFrame(c.buf, e, c.sim.seqOnWire(r), r.timeUS)
	n := len(c.buf) - start - frameHeader
	c.buf[start+2], c.buf[start+3] = byte(n>>8), byte(n)
}

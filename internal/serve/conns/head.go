package conns

import (
	"net/http"
	"os"
	"time"
)

// LongHead is the length, in bytes, from which the head of a request is long: its first line and its
// headers. The filter of a hundred accounts makes one. What net/http reads of a head is in nobody's
// budget before the whole of it is there, so few long ones are read at a time (I5).
const LongHead = 4 << 10

// How many long heads are read at a time, those of one address, and how long another waits for its
// turn.
const (
	longHeads       = 32
	longHeadsClient = 16
	longHeadWait    = 30 * time.Second
)

// head is what a connection has read of the head of its next request. The goroutine that reads the
// connection has it.
type head struct {
	bytes int
	turn  bool // it is long, and one of those that are read
}

// Read implements net.Conn.
func (c *Conn) Read(p []byte) (int, error) {
	if !c.inHead.Load() {
		return c.Conn.Read(p)
	}
	if c.head.bytes >= LongHead && !c.head.turn {
		if !c.takeTurn() {
			return 0, os.ErrDeadlineExceeded
		}
		c.head.turn = true
		// The wait was not the client's.
		if err := c.Conn.SetReadDeadline(time.Now().Add(c.gate.headTimeout)); err != nil {
			return 0, err
		}
	}
	n, err := c.Conn.Read(p)
	c.head.bytes += n
	return n, err
}

// takeTurn waits until the rest of a long head may be read, and reports whether it may.
func (c *Conn) takeTurn() bool {
	late := time.NewTimer(longHeadWait)
	defer late.Stop()
	select {
	case c.client.longHeads <- struct{}{}:
	case <-c.gone:
		return false
	case <-late.C:
		return false
	}
	select {
	case c.gate.longHeads <- struct{}{}:
		return true
	case <-c.gone:
	case <-late.C:
	}
	<-c.client.longHeads
	return false
}

// endHead notes that the head was read, or that nobody reads it any more.
func (c *Conn) endHead() {
	if c.head.turn {
		<-c.gate.longHeads
		<-c.client.longHeads
	}
	c.head = head{}
}

// follow follows the state of the connection: net/http says that it is active when it has read a
// head.
func (c *Conn) follow(state http.ConnState) {
	switch state {
	case http.StateActive, http.StateHijacked, http.StateClosed:
		c.inHead.Store(false)
		c.endHead()
	case http.StateNew, http.StateIdle:
		c.inHead.Store(true)
	}
}

package jetsim

import (
	"bytes"
	"fmt"
	"net"
	"time"
)

// Inject makes a fault happen now; it ignores the fault's After and Every. It returns an error for
// an invalid fault, and ErrClosed after Close.
func (s *Sim) Inject(f Fault) error {
	if err := f.validate(); err != nil {
		return fmt.Errorf("jetsim: %w", err)
	}
	if f.info().Archive {
		return s.harmArchive(f)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.stats.Faults[f.Name]++
	switch f.Name {
	case FaultCrash:
		s.crash(f.duration())
		return nil
	case FaultRefuse:
		s.refuseTill = s.opt.Clock.Now().Add(f.duration())
		f = Fault{Name: FaultClose}
	case FaultRotate:
		s.dicts.rotate()
		f = Fault{Name: FaultClose}
	case FaultForget:
		s.drop((s.log.served() - s.archive().floor(s.clock.Now().UnixMicro()) + 1) / 2)
		return nil
	case FaultBlind:
		s.goBlind(f.duration())
		return nil
	case FaultMigrate:
		s.migrate()
		return nil
	case FaultStale:
		s.goStale(f.duration())
		return nil
	case FaultClockAhead:
		s.stepClock(f.duration())
		return nil
	case FaultClockBack:
		s.stepClock(-f.duration())
		return nil
	}
	for c := range s.subs {
		c.fault(f)
	}
	return nil
}

// schedule injects a fault at its times, which count from the first frame sent.
func (s *Sim) schedule(f Fault) {
	select {
	case <-s.served:
	case <-s.done:
		return
	}
	wait := f.After
	if wait == 0 {
		wait = f.Every
	}
	for {
		if !s.sleep(wait, s.done) || s.Inject(f) != nil || f.Every == 0 {
			return
		}
		wait = f.Every
	}
}

// sleep waits for d on the simulation's clock. It returns false when ended is closed before that.
func (s *Sim) sleep(d time.Duration, ended <-chan struct{}) bool {
	timer := s.clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.Chan():
		return true
	case <-ended:
		return false
	}
}

// crash kills the server and restarts it after the downtime. Meanwhile the network continues to
// produce.
func (s *Sim) crash(downtime time.Duration) {
	if s.down {
		return
	}
	s.down = true
	s.forget(s.clock.Now().UnixMicro())
	s.flush()
	s.killAll()
	s.wg.Go(func() {
		if !s.sleep(downtime, s.done) {
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.restart()
	})
}

// goBlind makes the server miss most of what the network produces, for the duration d. After that,
// or when the server is back after a crash, it ingests what it missed.
func (s *Sim) goBlind(d time.Duration) {
	s.blind++
	s.wg.Go(func() {
		if !s.sleep(d, s.done) {
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.blind--; s.blind == 0 && !s.down && s.err == nil {
			s.ingestPending(s.clock.Now().UnixMicro())
			s.publish()
		}
	})
}

// killAll ends every connection. New connections are possible afterwards.
func (s *Sim) killAll() {
	for c := range s.subs {
		c.kill()
		delete(s.subs, c)
	}
}

// restart ingests again the contents that were not durable, and then those that the network has
// produced meanwhile.
func (s *Sim) restart() {
	now := s.clock.Now()
	s.down = false
	s.lastTime = max(s.lastTime, now.UnixMicro()-1) // the server sees all of it only now
	s.ingestPending(now.UnixMicro())
	if s.opt.Rate > 0 {
		s.ingestDue(now)
	}
	owed := s.owed
	s.owed = 0
	s.produceNow(owed)
	s.catchUp(s.upTo)
	s.publish()
}

// suffer applies a fault to one connection. The connection ends when it returns an error.
func (c *subscriber) suffer(f Fault) error {
	switch f.Name {
	case FaultClose:
		c.close()
		return errFault
	case FaultEOF:
		c.appendNext()
		_ = c.write(c.buf[:len(c.buf)/2])
		return errFault
	case FaultTooSlow:
		return c.tooSlow()
	case FaultReset:
		c.reset()
		return errFault
	case FaultHalfOpen:
		c.freeze(f.For)
		return errFault
	case FaultStall:
		c.stalled = c.sim.clock.After(f.duration())
	case FaultSlow:
		if c.slow != nil {
			c.slow.Stop()
		}
		c.slow = c.sim.clock.NewTimer(f.duration())
	case FaultGarbage:
		return c.write(c.appendGarbage(nil))
	case FaultOversize:
		return c.write(c.appendText(nil, bytes.Repeat([]byte("["), c.oversize())))
	}
	return nil
}

// oversize returns the size of a frame that is above the subscriber's limit, in bytes. A frame that is
// needlessly large takes a slow machine longer than a ping may take.
func (c *subscriber) oversize() int {
	const most = 32 << 20
	if limit := c.filter.Load().MaxBytes; limit > 0 && limit < most/2 {
		return 2 * limit
	}
	return most
}

// appendNext sets c.buf to the frame of the subscriber's next event or, at the tip, of the newest
// event. Faults make broken frames from it.
func (c *subscriber) appendNext() {
	r, _ := c.sim.peek(c)
	e := c.sim.net.event(r.num)
	c.buf = c.buf[:0]
	c.appendEvent(&e, &r)
}

// reset ends the connection with RST if the transport has one.
func (c *subscriber) reset() {
	if tcp, ok := c.conn.(interface{ SetLinger(sec int) error }); ok {
		_ = tcp.SetLinger(0)
	}
	c.conn.Close()
}

// freeze neither reads nor writes for the duration d; 0 means until the server ends.
func (c *subscriber) freeze(d time.Duration) {
	c.writing.Lock() // the read goroutine may be about to answer a ping
	defer c.writing.Unlock()
	_ = c.conn.SetReadDeadline(time.Unix(1, 0))
	var thaw <-chan time.Time
	if d > 0 {
		thaw = c.sim.clock.After(d)
	}
	select {
	case <-thaw:
	case <-c.sim.leave:
	case <-c.dead:
	}
}

// The pace of dribble: about 3 kB/s.
const (
	dribbleBytes = 64
	dribblePause = 20 * time.Millisecond
)

// dribble writes the first of recs that the subscriber wants, a few bytes at a time.
func (c *subscriber) dribble(recs []record) error {
	select {
	case <-c.slow.Chan():
		c.slow = nil
		return nil
	default:
	}
	c.buf = c.buf[:0]
	i := 0
	f := c.filter.Load()
	for ; i < len(recs) && len(c.buf) == 0; i++ {
		c.appendRecord(&recs[i], f)
	}
	if len(c.buf) > 0 {
		c.sim.sending(c, c.rank+i-1, 1)
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	for rest := c.buf; len(rest) > 0; {
		n := min(dribbleBytes, len(rest))
		_ = c.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
		if _, err := c.conn.Write(rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
		if !c.sim.sleep(dribblePause, c.dead) {
			return net.ErrClosed
		}
	}
	c.rank += i
	return nil
}

// appendGarbage appends one message of every kind that is no event. Most of them are made from the
// JSON of a valid event.
func (c *subscriber) appendGarbage(b []byte) []byte {
	r, _ := c.sim.peek(c)
	e := c.sim.net.event(r.num)
	frame := c.appendJSON(nil, &e, &r)
	for _, text := range [][]byte{
		nil,
		[]byte("upstream connect error or disconnect/reset before headers"),
		frame[:len(frame)/2],
		frame[:len(frame)-1],
		[]byte(`{"did":42,"time_us":"soon","kind":["commit"],"commit":{"rev":null}}`),
		[]byte(`{"did":"did:plc:aaaaaaaaaaaaaaaaaaaaaaaa","time_us":1e400,"kind":"commit"}`),
		append(bytes.Repeat([]byte("["), 10_000), bytes.Repeat([]byte("]"), 10_000)...),
		bytes.Replace(frame, []byte(`"did":"did:plc:`), []byte("\"did\":\"did:plc:\xff\xc0"), 1),
		bytes.ReplaceAll(frame, []byte(`:`), []byte{':', 0}),
	} {
		b = c.appendText(b, text)
	}
	return appendMessage(b, opBinary, []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xde, 0xad, 0xbe, 0xef})
}

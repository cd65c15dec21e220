package jetsim

import (
	"net/http"
	"time"

	"tempestd/internal/subscribe"
)

// handleSubscribe answers a request for a subscription as a server does.
func (s *Sim) handleSubscribe(p Protocol) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		reader, ok := s.admit(w, p)
		if !ok {
			return
		}
		req, ref := s.parseRequest(r, p)
		if ref == nil {
			ref = s.checkCursor(&req)
		}
		if ref != nil {
			ref.Answer(w, p.version())
			return
		}
		accept, ok := handshake(w, r)
		if !ok {
			return
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			http.Error(w, "jetsim: "+err.Error(), http.StatusInternalServerError)
			return
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Time{})
		c := newSubscriber(s, conn, rw.Reader, &req)
		c.reader = reader
		if !s.enter(c, &req) {
			return
		}
		defer s.exit(c)
		if c.write(upgradeResponse(accept, s.date(), req.Subprotocol, req.extension)) == nil {
			c.serve()
		}
	}
}

// date is the time of the server's clock as a Date header, or "" for none.
func (s *Sim) date() string {
	if s.opt.NoDate {
		return ""
	}
	return s.clock.Now().UTC().Format(http.TimeFormat)
}

// sized is a subscriber's filter as the server applies it.
func (s *Sim) sized(f subscribe.Filter) *subscribe.Filter {
	if s.opt.IgnoreSize {
		f.MaxBytes = 0
	}
	return &f
}

// admit assigns a request to a reader, or answers it as a server that is down, busy or not ready
// does.
func (s *Sim) admit(w http.ResponseWriter, p Protocol) (reader int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.Header()["Date"] = nil; !s.opt.NoDate {
		w.Header().Set("Date", s.date())
	}
	reader, stale := s.route()
	switch left := s.refuseTill.Sub(s.opt.Clock.Now()); {
	case s.down || s.leaving || s.closed:
		panic(http.ErrAbortHandler) // no answer at all: the connection just ends
	case left > 0:
		s.stats.Refused++
		w.Header().Set("Retry-After", "1")
		if s.stats.Refused%2 == 1 {
			http.Error(w, "service unavailable", http.StatusServiceUnavailable)
		} else {
			http.Error(w, "too many requests", http.StatusTooManyRequests)
		}
	case !s.ready:
		subscribe.Unavailable("service not ready: bootstrap in progress").Answer(w, p.version())
	case stale:
		subscribe.Unavailable("service not ready: reader is behind").Answer(w, p.version())
	default:
		return reader, true
	}
	return reader, false
}

// locate returns the position where a subscription begins.
func (s *Sim) locate(c subscribe.Cursor) position {
	if s.opt.NoReplay {
		c = subscribe.Cursor{}
	}
	return s.archive().resolve(c, s.clock.Now().UnixMicro())
}

// checkCursor refuses a sequence number that v2 no longer serves. v1 moves such a cursor silently.
func (s *Sim) checkCursor(req *request) *subscribe.Refusal {
	if req.Version != subscribe.V2 || req.Cursor.IsTime() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.locate(req.Cursor)
	if !at.below && s.struck(FaultCursorTooOld) {
		return subscribe.CursorTooOld(req.Cursor.Value, s.nextSeq())
	}
	if at.below {
		return subscribe.CursorTooOld(req.Cursor.Value, s.seqAt(at.rank))
	}
	return nil
}

// enter registers a subscriber at the position of its cursor. It returns false when the server has
// gone meanwhile.
func (s *Sim) enter(c *subscriber, req *request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.leaving || s.down {
		return false
	}
	at := s.locate(req.Cursor)
	c.rank, c.live = at.rank, at.live
	switch {
	case req.Version != subscribe.V2:
	case at.below:
		c.notice = subscribe.Outdated(s.seqAt(at.rank))
	case at.future && s.does(NewerFuture):
		c.notice = subscribe.Future(req.Cursor.Value, s.nextSeq())
	}
	s.subs[c] = struct{}{}
	s.stats.Connections++
	s.stats.Wires[req.wire()]++
	s.wg.Add(1)
	return true
}

func (s *Sim) exit(c *subscriber) {
	s.mu.Lock()
	delete(s.subs, c)
	s.wakeAll() // Shutdown waits for this
	s.mu.Unlock()
	s.wg.Done()
}

// greet notes a subscriber's first options_update. A subscriber that had to wait for it begins now,
// at its cursor or at the current tip.
func (s *Sim) greet(c *subscriber) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !c.waiting {
		return
	}
	c.waiting = false
	if c.live && s.serves(c) {
		c.rank = s.log.served()
	}
	s.wakeAll()
}

func (s *Sim) archive() archive {
	a := archive{ingestLog: &s.log, segment: s.opt.Segment, lookbackUS: s.opt.Lookback.Microseconds(), legacy: s.opt.Legacy, next: s.nextSeq()}
	if s.does(NewerExact) {
		a.block = s.opt.Block
	}
	a.tellsOldest = s.does(NewerOutdated)
	return a
}

// seqAt returns the seq at a rank, or the next seq at the tip.
func (s *Sim) seqAt(rank int) int64 {
	if rank < s.log.served() {
		return s.log.ranked(rank).seq
	}
	return s.nextSeq()
}

// pull copies the subscriber's next records. more is ready when there are records, or becomes ready
// when there are some. While the connection is stalled it is nil.
func (s *Sim) pull(c *subscriber) (recs []record, more <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.serves(c) || c.stalled != nil {
		return nil, nil
	}
	if c.waiting {
		return nil, s.wake
	}
	// When the server is blind, it may see nothing of a flood. So try several times.
	for range 16 {
		if s.opt.Flood && c.rank == s.log.served() {
			s.produceNow(4 * batchLen)
		}
	}
	n := min(s.log.served()-c.rank, batchLen)
	if n == 0 {
		return nil, s.wake
	}
	for i := range n {
		c.recs[i] = *s.log.ranked(c.rank + i)
	}
	return c.recs[:n], s.always
}

// serves reports whether c is connected to this incarnation of the server. The rank of an earlier
// incarnation's subscriber has no meaning.
func (s *Sim) serves(c *subscriber) bool {
	_, ok := s.subs[c]
	return ok
}

// peek returns the subscriber's next record or, at the tip, the newest one. When there is none, it
// returns a record for the first event to come. behind is how many events the subscriber is behind
// the tip.
func (s *Sim) peek(c *subscriber) (next record, behind int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	served := s.log.served()
	if served == 0 || !s.serves(c) {
		return record{seq: s.opt.FirstSeq, timeUS: s.clock.Now().UnixMicro()}, 0
	}
	return *s.log.ranked(min(c.rank, served-1)), served - c.rank
}

// begun starts the faults that happen by themselves, at the first frame or answer of the archive.
func (s *Sim) begun() {
	select {
	case <-s.served:
	default:
		close(s.served)
	}
}

// sending notes the frames that are about to be written. The first of them is the record at rank.
func (s *Sim) sending(c *subscriber, rank int, frames int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun()
	s.stats.Frames += frames
	s.stats.Bytes += int64(len(c.buf))
	if s.log.first < 0 && s.serves(c) {
		s.log.first = s.log.index(rank)
		s.log.firstUS = s.clock.Now().Add(-time.Duration(s.skew.Load())).UnixMicro()
		s.file.add(record{num: slotFirst, seq: int64(s.log.first), timeUS: s.log.firstUS})
		s.flush()
	}
}

// seqOnWire is the seq that a frame shows: 0, for none, on a legacy server.
func (s *Sim) seqOnWire(r *record) int64 {
	if s.opt.Legacy {
		return 0
	}
	return r.seq
}

package jetsim

import (
	"errors"
	"net/http"
	"net/url"
	"time"
)

// handleSubscribe answers as a v1 server does (PROTOCOL.md, 2 and 4).
func (s *Sim) handleSubscribe(w http.ResponseWriter, r *http.Request) {
	if !s.admit(w) {
		return
	}
	f, cur, status, err := parseRequest(r)
	if err != nil {
		http.Error(w, err.Error(), status)
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
	_ = conn.SetDeadline(time.Time{})
	c := &subscriber{sim: s, conn: conn, br: rw.Reader, filter: f,
		faults: make(chan Fault, 8), gone: make(chan struct{}), dead: make(chan struct{}), pong: make(chan struct{}, 1)}
	if !s.enter(c, cur) {
		conn.Close()
		return
	}
	defer s.exit(c)
	if c.write(upgradeResponse(accept)) == nil {
		c.serve()
	}
	conn.Close()
}

// parseRequest reads what a subscriber asks for; an error comes with its HTTP status.
func parseRequest(r *http.Request) (f filter, c cursor, status int, err error) {
	status = http.StatusBadRequest
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return f, c, status, err
	}
	if f, err = parseFilter(q); err != nil {
		return f, c, status, err
	}
	if c, err = parseCursor(q); err != nil {
		return f, c, status, err
	}
	// Answering plain text where compression was asked for would let a test believe that it had tested it.
	status = http.StatusNotImplemented
	switch {
	case q.Get("compress") == "true" || hasToken(r.Header, "Socket-Encoding", "zstd"):
		err = errors.New("jetsim: compression is not simulated")
	case q.Get("requireHello") == "true":
		err = errors.New("jetsim: requireHello is not simulated")
	}
	return f, c, status, err
}

// admit lets a request in, or answers it as a server that is down, busy or not ready does.
func (s *Sim) admit(w http.ResponseWriter) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch left := s.refuseTill.Sub(s.clock.Now()); {
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
		http.Error(w, "service not ready: bootstrap in progress", http.StatusServiceUnavailable)
	default:
		return true
	}
	return false
}

// enter registers a subscriber at its cursor.
func (s *Sim) enter(c *subscriber, cur cursor) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.leaving || s.down {
		return false
	}
	if s.opt.NoReplay {
		cur = cursor{live: true}
	}
	c.rank = s.archive().resolve(cur, s.clock.Now().UnixMicro())
	s.subs[c] = struct{}{}
	s.stats.Connections++
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

func (s *Sim) archive() archive {
	return archive{ingestLog: &s.log, segment: s.opt.Segment, lookbackUS: s.opt.Lookback.Microseconds(), legacy: s.opt.Legacy}
}

// pull copies the subscriber's next records. more is ready when there are any, or once there are; while the connection is
// stalled there are none.
func (s *Sim) pull(c *subscriber) (recs []record, more <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.serves(c) || c.stalled != nil {
		return nil, nil
	}
	if s.opt.Flood && c.rank == s.log.served() {
		s.produceNow(4 * batchLen)
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

// serves says whether c is still connected to this incarnation of the server: its rank means nothing to the next one.
func (s *Sim) serves(c *subscriber) bool {
	_, ok := s.subs[c]
	return ok
}

// peek is the subscriber's next record, the newest one at the tip, or one of the event that will be the first.
func (s *Sim) peek(c *subscriber) record {
	s.mu.Lock()
	defer s.mu.Unlock()
	served := s.log.served()
	if served == 0 || !s.serves(c) {
		return record{seq: 1, timeUS: s.clock.Now().UnixMicro()}
	}
	return *s.log.ranked(min(c.rank, served-1))
}

// sending notes frames that are about to be written, the first of them the record at rank.
func (s *Sim) sending(c *subscriber, rank int, frames int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stats.Frames == 0 {
		close(s.served)
	}
	s.stats.Frames += frames
	s.stats.Bytes += int64(len(c.buf))
	if s.log.first < 0 && s.serves(c) {
		s.log.first = s.log.index(rank)
		s.file.add(record{num: slotFirst, seq: int64(s.log.first)})
		s.flush()
	}
}

// seqOnWire is the seq a frame shows: none on a legacy server.
func (s *Sim) seqOnWire(r *record) int64 {
	if s.opt.Legacy {
		return 0
	}
	return r.seq
}

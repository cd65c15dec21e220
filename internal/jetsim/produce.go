package jetsim

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// minTick is the shortest time between two rounds of production: long enough for a round to be worth its wake-ups.
const minTick = 5 * time.Millisecond

// produceAtRate lets the network produce in real time until production or the simulator ends.
func (s *Sim) produceAtRate() {
	for {
		s.mu.Lock()
		now := s.clock.Now()
		s.ingestDue(now)
		ended := s.stopped || s.err != nil || s.opt.Count > 0 && s.log.contents >= s.opt.Count
		next := s.origin.Add(time.Duration(float64(s.log.contents-s.base-s.extra+1) / s.opt.Rate * float64(time.Second)))
		s.mu.Unlock()
		if ended || !s.sleep(max(minTick, next.Sub(now)), s.done) {
			return
		}
	}
}

// ingestDue ingests what the network has produced by now. While the server is down that is nothing: it reads the network's
// backlog once it is back.
func (s *Sim) ingestDue(now time.Time) {
	if s.down {
		return
	}
	start := s.base + s.extra
	due := start + int64(now.Sub(s.origin).Seconds()*s.opt.Rate)
	s.produce(due-s.log.contents, func(n int64) int64 {
		return s.origin.UnixMicro() + int64(float64(n-start)*1e6/s.opt.Rate)
	})
}

// produce ingests n contents, and those that complete the last commit, within Count. at gives the time a content was witnessed.
func (s *Sim) produce(n int64, at func(num int64) int64) {
	if s.stopped || s.err != nil || n <= 0 {
		return
	}
	until := s.log.contents + n
	limit := int64(math.MaxInt64)
	if s.opt.Count > 0 {
		limit = s.opt.Count
	}
	before := s.log.n
	for num := s.log.contents; num < limit && (num < until || s.net.continues(num)); num++ {
		s.ingest(num, at(num))
	}
	if s.log.n > before {
		s.publish()
	}
}

// publish writes the history and wakes the subscribers.
func (s *Sim) publish() {
	s.flush()
	s.wakeAll()
}

// flush writes the history. When that fails production ends.
func (s *Sim) flush() {
	if err := s.file.flush(); err != nil && s.err == nil {
		s.err = err
	}
}

func (s *Sim) wakeAll() {
	close(s.wake)
	s.wake = make(chan struct{})
}

// ingest gives content num its seq and its time: at (Unix µs), or as much later as order demands. Operations of one commit
// share their time, but for a legacy server, which makes every time unique.
func (s *Sim) ingest(num, at int64) {
	rank := s.log.served()
	seq := int64(1)
	if rank > 0 {
		seq = s.log.ranked(rank-1).seq + 1
	}
	if h := s.net.hash(saltGap, uint64(s.log.n)); h>>60 == 0 {
		seq += 1 + int64(h%5) // rows that were compacted away
	}
	sameCommit := num == s.lastNum+1 && num > 0 && s.net.continues(num)
	if s.opt.Legacy || !sameCommit {
		s.lastTime = max(at, s.lastTime+1)
	}
	s.lastNum = num
	r := record{num: num, seq: seq, timeUS: s.lastTime}
	s.log.append(r)
	s.file.add(r)

	if rank == s.durable {
		s.undue = r.timeUS
	}
	if full := rank + 1; full-s.durable >= s.opt.Block || full%s.opt.Segment == 0 || r.timeUS-s.undue >= s.opt.BlockAge.Microseconds() {
		s.durable = full
	}
}

// forget is what a crash does to the log: whatever is not durable will be ingested anew.
func (s *Sim) forget(nowUS int64) {
	if nowUS-s.undue >= s.opt.BlockAge.Microseconds() {
		s.durable = s.log.served()
	}
	s.pending = append(s.pending, s.log.crash(s.durable)...)
	s.file.add(record{num: slotCrash, seq: int64(s.durable)})
	s.lastNum = -1
}

// maxLag bounds, in contents, how far accounts fall behind each other when the relay is read again.
const maxLag = 64

// ingestPending ingests the forgotten events again, at a time, in an order of the relay's own choosing: every account's
// commits stay in order and whole, but accounts fall behind by lags of their own.
func (s *Sim) ingestPending(at int64) {
	if len(s.pending) == 0 {
		return
	}
	slices.Sort(s.pending)
	crash := uint64(len(s.log.generations))
	place := func(num int64) int64 {
		e := s.net.event(num)
		return e.commit + int64(s.net.hash(saltLag, e.account<<8^crash)%maxLag)
	}
	slices.SortStableFunc(s.pending, func(a, b int64) int { return cmp.Compare(place(a), place(b)) })
	for _, num := range s.pending {
		s.ingest(num, at)
	}
	s.pending = nil
}

// Produce lets the network produce n more events now, and those that complete the last commit. A server that is down ingests them once it is back.
func (s *Sim) Produce(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || n <= 0 {
		return
	}
	if s.down {
		s.owed += n
		return
	}
	s.produceNow(n)
}

func (s *Sim) produceNow(n int64) {
	before := s.log.contents
	now := s.clock.Now().UnixMicro()
	s.produce(n, func(int64) int64 { return now })
	s.extra += s.log.contents - before
}

// StopProducing ends production for good; what there is goes on being served. Afterwards a subscriber can catch up with everything.
func (s *Sim) StopProducing() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
}

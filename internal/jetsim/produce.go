package jetsim

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// minTick is the shortest time between two rounds of production. It is long enough for a round to
// be worth its wake-up.
const minTick = 5 * time.Millisecond

// produceAtRate makes the network produce in real time until production or the simulator ends.
func (s *Sim) produceAtRate() {
	for {
		s.mu.Lock()
		now := s.clock.Now()
		s.ingestDue(now)
		ended := s.stopped || s.err != nil || s.opt.Count > 0 && s.next >= s.opt.Count
		next := s.origin.Add(s.opt.Lag + time.Duration(float64(s.next-s.base-s.extra+1)/s.opt.Rate*float64(time.Second)))
		s.mu.Unlock()
		if ended || !s.sleep(max(minTick, next.Sub(now)), s.done) {
			return
		}
	}
}

// ingestDue ingests what the network has produced by now. While the server is down it ingests
// nothing; it reads the network's backlog when it is back.
func (s *Sim) ingestDue(now time.Time) {
	if s.down {
		return
	}
	start := s.base + s.extra
	began := s.origin.Add(s.opt.Lag)
	due := start + int64(now.Sub(began).Seconds()*s.opt.Rate)
	s.produce(due-s.next, func(n int64) int64 {
		return began.UnixMicro() + int64(float64(n-start)*1e6/s.opt.Rate)
	})
}

// produce ingests n contents of the network, and those that complete the last commit. It does
// nothing when production has ended. at returns the time at which the server sees a content, in
// Unix µs.
func (s *Sim) produce(n int64, at func(num int64) int64) {
	if s.stopped || n <= 0 {
		return
	}
	until := s.next + n
	for s.net.continues(until) {
		until++
	}
	before := s.log.n
	s.take(until, at)
	if s.log.n > before {
		s.publish()
	}
}

// take ingests the contents below until, but not more than Count allows.
func (s *Sim) take(until int64, at func(num int64) int64) {
	if s.err != nil {
		return
	}
	if s.opt.Count > 0 {
		until = min(until, s.opt.Count)
	}
	if s.opt.order() == 0 {
		for ; s.next < until; s.next++ {
			when := at(s.next)
			s.note(s.next, when)
			s.witness(s.next, when)
		}
		return
	}
	// A server with its own order gets the events from its relay in that order.
	var nums []int64
	for s.next < until {
		nums = nums[:0]
		for s.next < until && (len(nums) < reorderLen || s.net.continues(s.next)) {
			nums = append(nums, s.next)
			s.note(s.next, at(s.next))
			s.next++
		}
		s.net.reorder(nums, s.opt.order())
		for _, num := range nums {
			s.witness(num, at(num))
		}
	}
}

// note notes when content num was made, which the server ingests at a time of its own clock, Unix µs.
func (s *Sim) note(num, at int64) {
	s.net.made.note(num, at-s.skew.Load()/1000-s.opt.Lag.Microseconds())
	s.file.addMarks(s.net.made)
}

// reorderLen is the number of contents that are reordered together.
const reorderLen = 4096

// witness ingests content num. While the server is blind to num, witness keeps it for later.
func (s *Sim) witness(num, at int64) {
	if s.blind > 0 && s.net.hidden(num) {
		s.pending = append(s.pending, num)
		return
	}
	s.ingest(num, at)
}

// hidden reports whether a blind server does not see content num. It has lost the hosts of
// Bluesky's own accounts. It still gets commits of other applications, and the markers, which the
// relay produces itself.
func (w *network) hidden(num int64) bool {
	return strings.HasPrefix(w.specs[w.event(num).shape].collection, "app.bsky.")
}

// publish writes the history and wakes the subscribers.
func (s *Sim) publish() {
	s.flush()
	s.wakeAll()
}

// flush writes the history. Production ends when that fails.
func (s *Sim) flush() {
	if err := s.file.flush(); err != nil && s.err == nil {
		s.err = err
	}
}

func (s *Sim) wakeAll() {
	close(s.wake)
	s.wake = make(chan struct{})
}

// ingest gives content num a seq and a time: at (Unix µs), or later if that is necessary to keep
// times in order. The operations of one commit share a time, except on a legacy server, which makes
// every time unique.
func (s *Sim) ingest(num, at int64) {
	rank, seq := s.log.served(), s.nextSeq()
	if h := s.net.hash(saltGap, uint64(s.log.n)^s.opt.order()); h>>60 == 0 {
		seq += 1 + int64(h%5) // rows that were compacted away
	}
	sameCommit := num == s.lastNum+1 && num > 0 && s.net.continues(num)
	if s.opt.Legacy || !sameCommit {
		s.lastTime = max(at, s.lastTime+1)
	}
	s.lease(seq)
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

// forget applies a crash to the log: the contents that are not durable are kept for a new
// ingestion.
func (s *Sim) forget(nowUS int64) {
	if nowUS-s.undue >= s.opt.BlockAge.Microseconds() {
		s.durable = s.log.served()
	}
	s.pending = append(s.pending, s.log.crash(s.durable)...)
	if s.does(NewerLease) {
		s.unused = s.leased
	}
	s.file.add(record{num: slotCrash, seq: int64(s.durable)})
	s.lastNum = -1
}

// Forget drops the n oldest events that are still served, as retention does. A connected subscriber
// continues to read them; a subscriber that connects later begins after them. It returns the number
// of dropped events.
func (s *Sim) Forget(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.drop(n)
}

func (s *Sim) drop(n int) int {
	floor := s.archive().floor(s.clock.Now().UnixMicro())
	s.log.kept = floor + max(0, min(n, s.log.served()-floor))
	s.durable = max(s.durable, s.log.kept) // or a crash would bring them back
	s.file.add(record{num: slotDrop, seq: int64(s.log.kept)})
	s.flush()
	return s.log.kept - floor
}

// maxLag bounds, in contents, how far an account can fall behind another one when contents are
// reordered.
const maxLag = 64

// reorder puts contents into another order, as a relay may choose it. Each account's commits stay
// whole and in order, but each account falls behind by its own lag.
func (w *network) reorder(nums []int64, salt uint64) {
	type placed struct{ place, num int64 }
	all := make([]placed, len(nums))
	for i, num := range nums {
		e := w.event(num)
		all[i] = placed{e.commit + int64(w.hash(saltLag, e.account<<8^salt)%maxLag), num}
	}
	slices.SortFunc(all, func(a, b placed) int { return cmp.Or(cmp.Compare(a.place, b.place), cmp.Compare(a.num, b.num)) })
	for i := range all {
		nums[i] = all[i].num
	}
}

// ingestPending ingests the events that were forgotten or not seen, with the time at (Unix µs).
func (s *Sim) ingestPending(at int64) {
	s.net.reorder(s.pending, uint64(len(s.log.generations))^s.opt.order())
	for _, num := range s.pending {
		s.ingest(num, at)
	}
	s.pending = nil
}

// Produce makes the network produce n more events now, and the events that complete the last
// commit. A server with a lag ingests them after its lag. A server that is down ingests them when
// it is up again.
func (s *Sim) Produce(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || n <= 0 {
		return
	}
	s.afterLag(func() { s.produceNow(n) })
}

// afterLag calls do after the server's lag. do runs with the simulator locked; the caller of
// afterLag holds that lock too.
func (s *Sim) afterLag(do func()) {
	if s.opt.Lag == 0 {
		do()
		return
	}
	s.wg.Go(func() {
		if s.sleep(s.opt.Lag, s.done) {
			s.mu.Lock()
			defer s.mu.Unlock()
			do()
		}
	})
}

// reach ingests the network's contents up to target: after the server's lag or at once, but not
// before the server is up.
func (s *Sim) reach(target int64, lag bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.upTo = max(s.upTo, target)
	if !lag {
		s.catchUp(target)
		return
	}
	s.afterLag(func() { s.catchUp(target) })
}

// catchUp ingests the network's contents up to target, even when production has ended.
func (s *Sim) catchUp(target int64) {
	if s.down || target <= s.next {
		return
	}
	before := s.next
	now := s.clock.Now().UnixMicro()
	s.take(target, func(int64) int64 { return now })
	s.extra += s.next - before
	s.publish()
}

func (s *Sim) produceNow(n int64) {
	if s.down {
		s.owed += n
		return
	}
	before := s.next
	now := s.clock.Now().UnixMicro()
	s.produce(n, func(int64) int64 { return now })
	s.extra += s.next - before
}

// StopProducing ends production for good. The server continues to serve what it has, so afterwards
// a subscriber can get everything.
func (s *Sim) StopProducing() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
}

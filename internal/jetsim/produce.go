package jetsim

import (
	"cmp"
	"slices"
	"strings"
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
		ended := s.stopped || s.err != nil || s.opt.Count > 0 && s.next >= s.opt.Count
		next := s.origin.Add(s.opt.Lag + time.Duration(float64(s.next-s.base-s.extra+1)/s.opt.Rate*float64(time.Second)))
		s.mu.Unlock()
		if ended || !s.sleep(max(minTick, next.Sub(now)), s.done) {
			return
		}
	}
}

// ingestDue ingests what has come from the network by now. While the server is down that is nothing: it reads the network's
// backlog once it is back.
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

// produce takes n contents from the network, and those that complete the last commit, unless production has ended. at gives the time a
// content was witnessed.
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

// take ingests the contents up to until, within Count.
func (s *Sim) take(until int64, at func(num int64) int64) {
	if s.err != nil {
		return
	}
	if s.opt.Count > 0 {
		until = min(until, s.opt.Count)
	}
	if s.opt.order() == 0 {
		for ; s.next < until; s.next++ {
			s.witness(s.next, at(s.next))
		}
		return
	}
	// Another server's relay hands the events on in another order.
	var nums []int64
	for s.next < until {
		nums = nums[:0]
		for s.next < until && (len(nums) < reorderLen || s.net.continues(s.next)) {
			nums = append(nums, s.next)
			s.next++
		}
		s.net.reorder(nums, s.opt.order())
		for _, num := range nums {
			s.witness(num, at(num))
		}
	}
}

// reorderLen is how many contents are put into another order at once.
const reorderLen = 4096

// witness ingests content num, or keeps it for later while the server is blind to it.
func (s *Sim) witness(num, at int64) {
	if s.blind > 0 && s.net.hidden(num) {
		s.pending = append(s.pending, num)
		return
	}
	s.ingest(num, at)
}

// hidden says whether a blind server does not see content num. What it has lost are the hosts of Bluesky's own accounts: what still flows are
// commits of other applications, and the markers, which the relay makes by itself.
func (w *network) hidden(num int64) bool {
	return strings.HasPrefix(w.specs[w.event(num).shape].collection, "app.bsky.")
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

// forget is what a crash does to the log: whatever is not durable will be ingested anew.
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

// Forget drops the n oldest events that can still be had, as retention does. A subscriber that is connected reads on, one that comes
// later begins after them. It returns how many were dropped.
func (s *Sim) Forget(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.drop(n)
}

func (s *Sim) drop(n int) int {
	floor := s.archive().floor(s.clock.Now().UnixMicro())
	s.log.kept = floor + max(0, min(n, s.log.served()-floor))
	s.durable = max(s.durable, s.log.kept) // or a crash would bring it back
	s.file.add(record{num: slotDrop, seq: int64(s.log.kept)})
	s.flush()
	return s.log.kept - floor
}

// maxLag bounds, in contents, how far accounts fall behind each other when the relay is read again.
const maxLag = 64

// reorder puts contents in an order of a relay's own choosing: every account's commits stay in order and whole, but accounts fall
// behind by lags of their own.
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

// ingestPending ingests, at a time, the events that were forgotten or not seen.
func (s *Sim) ingestPending(at int64) {
	s.net.reorder(s.pending, uint64(len(s.log.generations))^s.opt.order())
	for _, num := range s.pending {
		s.ingest(num, at)
	}
	s.pending = nil
}

// Produce lets the network produce n more events now, and those that complete the last commit. A server that lags ingests them that
// much later, one that is down once it is back.
func (s *Sim) Produce(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || n <= 0 {
		return
	}
	s.afterLag(func() { s.produceNow(n) })
}

// afterLag calls do with the simulator locked, as it is now, after the server's lag.
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

// reach takes the network's contents up to target: after the server's lag or at once, and in any case once it is up.
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

// catchUp takes the network's contents up to target, whether production has ended or not.
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

// StopProducing ends production for good; what there is goes on being served. Afterwards a subscriber can catch up with everything.
func (s *Sim) StopProducing() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
}

package jetsim

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Newer is something that servers of the newer generation do and older ones do not. Both are in the field: a client tells them apart by what they send.
type Newer string

// What newer servers do.
const (
	// NewerWitnessed: every event of v2 says when the server witnessed it, which never steps back, whatever the server's clock does.
	NewerWitnessed Newer = "witnessed-at"
	// NewerFuture: v2 says FutureCursor, before the live tip, of a sequence number that lies beyond the next one.
	NewerFuture Newer = "future-cursor"
	// NewerOutdated: v2 says OutdatedCursor also of a time before the oldest event there ever was.
	NewerOutdated Newer = "outdated-cursor"
	// NewerLease: sequence numbers are leased ahead, and after a crash those that are left are given up: they rise with holes, and none is given twice.
	NewerLease Newer = "leased-seqs"
	// NewerExact: a time within the active segment replays from the start of its block, not of the segment.
	NewerExact Newer = "exact-times"
)

// AllNewer is everything that newer servers do.
func AllNewer() []Newer {
	return []Newer{NewerWitnessed, NewerFuture, NewerOutdated, NewerLease, NewerExact}
}

// ParseNewer reads the names of what a server does, of which "all" stands for all.
func ParseNewer(names []string) (all []Newer, err error) {
	for _, name := range names {
		switch n := Newer(name); {
		case name == "all":
			all = append(all, AllNewer()...)
		case slices.Contains(AllNewer(), n):
			all = append(all, n)
		default:
			return nil, fmt.Errorf("there is no %q; there are all, %s", name, strings.Join(NewerNames(), ", "))
		}
	}
	return all, nil
}

// NewerNames are the names that ParseNewer knows, but for "all".
func NewerNames() (names []string) {
	for _, n := range AllNewer() {
		names = append(names, string(n))
	}
	return names
}

// does says whether the server does what newer ones do.
func (s *Sim) does(n Newer) bool { return slices.Contains(s.opt.Newer, n) }

// leaseLen is how many sequence numbers are leased at once.
const leaseLen = 4096

// nextSeq is the least sequence number that may be given next.
func (s *Sim) nextSeq() int64 {
	next := s.opt.FirstSeq
	if n := s.log.served(); n > 0 {
		next = s.log.ranked(n-1).seq + 1
	}
	return max(next, s.unused)
}

// lease notes that a sequence number was given.
func (s *Sim) lease(seq int64) {
	if seq >= s.leased {
		s.leased = seq + leaseLen
	}
}

// StepClock steps the server's clock, ahead or back. The network's events go on as before. A newer server goes on counting up from the latest time it gave until its
// clock has passed that again; an older one gives times that it has given before.
func (s *Sim) StepClock(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stepClock(d)
}

func (s *Sim) stepClock(d time.Duration) {
	s.skew.Add(int64(d))
	s.origin = s.origin.Add(d)
	if now := s.clock.Now().UnixMicro(); !s.does(NewerWitnessed) && now <= s.lastTime {
		s.lastTime = now - 1
	}
}

// route is which of the readers behind the server's name answers a request: the next one. All read the same archive. stale says that it lags behind and takes nobody.
func (s *Sim) route() (reader int, stale bool) {
	reader = s.turn % s.opt.Readers
	s.turn++
	return reader, s.opt.Clock.Now().Before(s.staleTill[reader])
}

// migrate is the reader whose turn it is to move elsewhere, and the end of its connections.
func (s *Sim) migrate() {
	reader := s.migrated % s.opt.Readers
	s.migrated++
	for c := range s.subs {
		if c.reader == reader {
			c.fault(Fault{Name: FaultClose})
		}
	}
}

// goStale lets the next reader that would be asked refuse everyone for a while, and ends its connections.
func (s *Sim) goStale(d time.Duration) {
	reader := s.turn % s.opt.Readers
	s.staleTill[reader] = s.opt.Clock.Now().Add(d)
	for c := range s.subs {
		if c.reader == reader {
			c.fault(Fault{Name: FaultClose})
		}
	}
}

// fault has the connection suffer, unless it has a queue of faults to suffer already.
func (c *subscriber) fault(f Fault) {
	select {
	case c.faults <- f:
	default:
	}
}

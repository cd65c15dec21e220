package jetsim

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Newer names a behaviour that servers of the newer generation have and older ones do not. Both
// generations are in use. A client tells them apart by what they send.
type Newer string

// The behaviours of newer servers.
const (
	// NewerWitnessed: every v2 event says when the server witnessed it. That time never steps back,
	// even when the server's clock does.
	NewerWitnessed Newer = "witnessed-at"
	// NewerFuture: v2 sends FutureCursor before the live tip when the cursor is a sequence number
	// beyond the next one.
	NewerFuture Newer = "future-cursor"
	// NewerOutdated: v2 sends OutdatedCursor also for a time before the oldest event that ever
	// existed.
	NewerOutdated Newer = "outdated-cursor"
	// NewerLease: the server leases sequence numbers in advance and gives up the unused ones after
	// a crash. So numbers have holes, and no number is given twice.
	NewerLease Newer = "leased-seqs"
	// NewerExact: a time in the active segment replays from the start of its block, not of the
	// segment.
	NewerExact Newer = "exact-times"
)

// AllNewer returns all behaviours of newer servers.
func AllNewer() []Newer {
	return []Newer{NewerWitnessed, NewerFuture, NewerOutdated, NewerLease, NewerExact}
}

// ParseNewer parses the names of behaviours. The name "all" stands for all of them.
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

// NewerNames returns the names that ParseNewer accepts, without "all".
func NewerNames() (names []string) {
	for _, n := range AllNewer() {
		names = append(names, string(n))
	}
	return names
}

// does reports whether the server has a newer behaviour.
func (s *Sim) does(n Newer) bool { return slices.Contains(s.opt.Newer, n) }

// leaseLen is the number of sequence numbers in one lease.
const leaseLen = 4096

// nextSeq is the least sequence number that the next record can get.
func (s *Sim) nextSeq() int64 {
	next := s.opt.FirstSeq
	if n := s.log.served(); n > 0 {
		next = s.log.ranked(n-1).seq + 1
	}
	return max(next, s.unused)
}

// lease notes that seq was given to a record, and takes a new lease if seq is beyond the current
// one.
func (s *Sim) lease(seq int64) {
	if seq >= s.leased {
		s.leased = seq + leaseLen
	}
}

// Now returns the time on the server's clock.
func (s *Sim) Now() time.Time { return s.clock.Now() }

// StepClock steps the server's clock by d, ahead or back. The network is not affected. While the
// clock is behind the latest time that it gave, a newer server counts up from that time, and an
// older server gives times a second time.
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

// route chooses the reader that answers a request: the readers behind the server's name take turns.
// All of them read the same archive. stale is true when the reader lags behind and accepts no
// subscriber.
func (s *Sim) route() (reader int, stale bool) {
	reader = s.turn % s.opt.Readers
	s.turn++
	return reader, s.opt.Clock.Now().Before(s.staleTill[reader])
}

// migrate ends the connections of the next reader in turn, as a reader that moves to another host
// does.
func (s *Sim) migrate() {
	reader := s.migrated % s.opt.Readers
	s.migrated++
	for c := range s.subs {
		if c.reader == reader {
			c.fault(Fault{Name: FaultClose})
		}
	}
}

// goStale makes the reader of the next request refuse all requests for the duration d, and ends its
// connections.
func (s *Sim) goStale(d time.Duration) {
	reader := s.turn % s.opt.Readers
	s.staleTill[reader] = s.opt.Clock.Now().Add(d)
	for c := range s.subs {
		if c.reader == reader {
			c.fault(Fault{Name: FaultClose})
		}
	}
}

// fault passes a fault to the connection, unless the connection's queue of faults is full.
func (c *subscriber) fault(f Fault) {
	select {
	case c.faults <- f:
	default:
	}
}

package jetsim

import (
	"fmt"
	"time"
)

// The names of the archive's faults.
const (
	FaultQuota        = "archive-quota"
	FaultUnauthorized = "archive-unauthorized"
	FaultForbidden    = "archive-forbidden"
	FaultNotReady     = "archive-not-ready"
	FaultRedirect     = "archive-redirect"
	FaultGone         = "archive-gone"
	FaultCut          = "archive-cut"
	FaultNoRange      = "archive-no-range"
	FaultCompact      = "archive-compact"
	FaultGeneration   = "archive-generation"
	FaultReplaced     = "archive-replaced"
	FaultNoFilter     = "archive-no-filter"

	FaultPlanChecksum = "plan-checksum"
	FaultPlanStuck    = "plan-stuck"
	FaultPlanIdle     = "plan-idle"
	FaultPlanBehind   = "plan-behind"

	FaultFrameFlip = "frame-flip"
	FaultIndexFlip = "index-flip"
	FaultBloomFlip = "bloom-flip"

	FaultBlockEmpty   = "block-empty"
	FaultBlockKind    = "block-kind"
	FaultBlockLengths = "block-lengths"
	FaultBlockRows    = "block-rows"
	FaultBlockBomb    = "block-bomb"
	FaultBlockFloat   = "block-float"
	FaultBlockList    = "block-list"
	FaultBlockLink    = "block-link"
	FaultBlockOutside = "block-outside"
	FaultBlockOrder   = "block-order"

	FaultSeqHole      = "seq-hole"
	FaultCursorTooOld = "cursor-too-old"
)

func archiveFaults() []FaultInfo {
	next := func(name, effect string) FaultInfo {
		return FaultInfo{Name: name, Effect: effect, Archive: true, Next: true}
	}
	now := func(name, effect string) FaultInfo { return FaultInfo{Name: name, Effect: effect, Archive: true} }
	return []FaultInfo{
		now(FaultCompact, "compact the archive"),
		now(FaultSeqHole, "leave 4096 sequence numbers out"),
		now(FaultReplaced, "serve the archive of a rebuilt server: other numbers, times and checksums"),
		{Name: FaultQuota, Effect: "answer archive calls 429, for so long", Default: time.Second, Archive: true},
		next(FaultUnauthorized, "answer an archive call 401"),
		next(FaultForbidden, "answer an archive call 403"),
		next(FaultNotReady, "answer an archive call 503"),
		next(FaultRedirect, "redirect an archive call to another host"),
		next(FaultNoFilter, "refuse a plan with DIDs or collections: filters are disabled"),
		next(FaultPlanChecksum, "plan with a wrong checksum"),
		next(FaultPlanStuck, "answer with a page of a plan that does not advance"),
		next(FaultPlanIdle, "plan every block, whatever is in it"),
		next(FaultPlanBehind, "plan as if the newest segment were not sealed"),
		next(FaultGone, "answer getBlock or getSegment 404"),
		next(FaultCut, "cut an answer of getBlock or getSegment after some byte"),
		next(FaultNoRange, "answer getSegment with everything instead of a range"),
		next(FaultGeneration, "answer getBlock from another generation of the segment"),
		next(FaultFrameFlip, "flip a bit of a block's frame"),
		next(FaultIndexFlip, "flip a bit of a segment's block index"),
		next(FaultBloomFlip, "flip a bit of a segment's blooms"),
		next(FaultBlockEmpty, "send a block without rows"),
		next(FaultBlockKind, "send a block with a row of an unknown kind"),
		next(FaultBlockLengths, "send a block whose lengths do not add up"),
		next(FaultBlockRows, "send a block that announces 2^32-1 rows"),
		next(FaultBlockBomb, "send a block that unpacks to 1 GiB"),
		next(FaultBlockFloat, "send a block with one more record, which has a float"),
		next(FaultBlockList, "send a block with one more record, which is a list"),
		next(FaultBlockLink, "send a block with one more record, which has a foreign link"),
		next(FaultBlockOutside, "send a block with a row outside of its segment"),
		next(FaultBlockOrder, "send a block whose rows are out of order"),
		next(FaultCursorTooOld, "refuse a sequence number on the socket: CursorTooOld"),
	}
}

func errNoArchive(fault string) error {
	return fmt.Errorf("fault %s: the server has no archive", fault)
}

// strike is a fault of the archive that has yet to happen.
type strike struct {
	times int       // to so many more answers
	until time.Time // to all answers before that
}

// harmArchive makes a fault of the archive happen, or lets it wait for the answers that it fits.
func (s *Sim) harmArchive(f Fault) error {
	if s.store == nil {
		return fmt.Errorf("jetsim: %w", errNoArchive(f.Name))
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	s.stats.Faults[f.Name]++
	now := s.clock.Now()
	switch f.Name {
	case FaultCompact, FaultReplaced:
	case FaultSeqHole:
		s.unused = s.nextSeq() + leaseLen
	default:
		k := s.strikes[f.Name]
		if k == nil {
			k = &strike{}
			s.strikes[f.Name] = k
		}
		if d := f.duration(); d > 0 {
			k.until = now.Add(d)
		} else {
			k.times++
		}
	}
	s.mu.Unlock()
	switch f.Name { // the store has a lock of its own, which is taken before the simulator's
	case FaultCompact:
		return s.Compact()
	case FaultReplaced:
		s.store.replace(now.UnixMicro())
	}
	return nil
}

// struck reports whether the fault happens to this answer. The caller holds the lock.
func (s *Sim) struck(name string) bool {
	k := s.strikes[name]
	switch {
	case k == nil:
		return false
	case s.clock.Now().Before(k.until):
		return true
	case k.times > 0:
		k.times--
		return true
	}
	return false
}

// awaits reports whether the fault waits for an answer that it fits. The caller holds the lock.
func (s *Sim) awaits(name string) bool {
	k := s.strikes[name]
	return k != nil && (k.times > 0 || s.clock.Now().Before(k.until))
}

// strikeNow is struck for a caller without the lock.
func (s *Sim) strikeNow(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.struck(name)
}

// Package wake is what the stores share for tails that wait at the tip of a stream: the signal that
// wakes them, and the bounds of the recent entries that are kept in memory for them.
package wake

import (
	"runtime"
	"sync/atomic"

	"tempestd/persistence"
)

// Bounds of the recent entries that a store keeps in memory per stream (I5).
const (
	RecentBytes = 6 << 20
	// RecentIdle is how long the recent entries are kept after the last tail. A stream without
	// tails costs neither the copy nor the memory.
	RecentIdle = 2 * persistence.MaxBlock
)

const (
	// perGroup is how many tails are woken at a time. If all were woken at once, the next append
	// would wait behind them for a core.
	perGroup = 64
	groups   = 128
	// yields is how often the goroutine yields before it wakes the next group: an HTTP answer takes
	// several such yields.
	yields = 8
)

// Signal wakes the waiting tails once, at the next change of a stream. It spreads them over groups
// of a few each. Send wakes one group after the other and lets other goroutines run in between. The
// zero Signal is ready to use. No method takes a lock. It is safe for concurrent use.
type Signal struct {
	groups [groups]atomic.Pointer[chan struct{}]
}

// sent replaces the channel of every group of a Signal that was sent.
var sent = func() *chan struct{} {
	c := make(chan struct{})
	close(c)
	return &c
}()

// Wait returns a channel that is closed when the signal is sent. waiting is the number of tails that
// already wait; it selects the group.
func (s *Signal) Wait(waiting int64) <-chan struct{} {
	at := &s.groups[uint64(waiting)/perGroup%groups]
	group := at.Load()
	if group == nil {
		made := make(chan struct{})
		if group = &made; !at.CompareAndSwap(nil, group) {
			group = at.Load()
		}
	}
	return *group
}

// Send wakes all waiting tails. If there are many, Send returns before all are woken.
func (s *Signal) Send() {
	s.wake(0)
	for i := 1; i < groups; i++ {
		if s.groups[i].Load() != nil {
			go s.wakeFrom(i)
			return
		}
		s.wake(i)
	}
}

// wakeFrom wakes group i and the groups after it.
func (s *Signal) wakeFrom(i int) {
	for ; i < groups; i++ {
		for range yields {
			runtime.Gosched() // behind all goroutines that can run now
		}
		s.wake(i)
	}
}

// wake wakes one group.
func (s *Signal) wake(i int) {
	if group := s.groups[i].Swap(sent); group != nil {
		close(*group)
	}
}

package jetsim

import (
	"sort"
	"sync"
	"sync/atomic"
)

// made tells when the network's accounts made each content, on the network's own clock, which no
// server's skew or lag changes. It is a line through a few marks: a content without a mark was made
// tick after the one before it. So the times rise with the content numbers, and a million contents
// need few marks.
//
// The servers of a fleet share one. Readers need no lock.
type made struct {
	step  int64 // µs from one content to the next; tick, unless the line is fixed
	fixed bool  // there is one mark, whatever the clock says

	mu    sync.Mutex
	known int64 // the contents below it have their times
	marks atomic.Pointer[[]mark]
}

// mark says when a content was made.
type mark struct{ num, us int64 }

const (
	// tick is the least time between two contents, µs. The operations of a commit count up within it
	// (see commitOf), so it is at least the length of the longest commit. A network that makes more
	// than 62 500 events a second runs ahead of its clock.
	tick = 16
	// markEvery is how far the line may be behind the clock, µs.
	markEvery = 1_000_000
)

// newMade returns a line without a mark.
func newMade() *made {
	m := &made{step: tick}
	m.marks.Store(&[]mark{})
	return m
}

// fixedMade returns a line that is the same wherever it is used: contents are step µs apart, from a
// time on.
func fixedMade(us, step int64) *made {
	m := newMade()
	m.fixed, m.step = true, max(step&^(tick-1), tick)
	m.add(mark{0, us})
	return m
}

// at returns when content num was made, Unix µs: a multiple of tick.
func (m *made) at(num int64) int64 {
	marks := *m.marks.Load()
	i := sort.Search(len(marks), func(i int) bool { return marks[i].num > num })
	if i == 0 {
		return 0 // it is not made yet
	}
	return marks[i-1].us + (num-marks[i-1].num)*m.step
}

// note notes when content num is made, Unix µs, unless that is known. Contents are noted in their
// order.
func (m *made) note(num, us int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if num < m.known || m.fixed {
		return
	}
	m.known = num + 1
	if line := m.at(num); us-line > markEvery {
		m.add(mark{num, us})
	}
}

// load takes over marks that were written.
func (m *made) load(marks []mark, known int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.fixed && len(marks) > len(*m.marks.Load()) {
		m.marks.Store(&marks)
	}
	m.known = max(m.known, known)
}

func (m *made) add(k mark) {
	k.us &^= tick - 1
	marks := append(*m.marks.Load(), k) // a reader looks no further than the slice that it has
	m.marks.Store(&marks)
}

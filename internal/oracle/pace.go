package oracle

import (
	"sync"
	"time"

	"tempestd/persistence"
)

// pace is when entries were stored, and how long the store took for it. The store is in memory and
// the run's time is virtual, so an append takes no time, unless something in the process holds it up.
type pace struct {
	began time.Time

	mu     sync.Mutex
	stored map[persistence.EntryID]time.Duration // by the last entry of an append
	worst  time.Duration                         // of an append
}

// append does an append.
func (p *pace) append(do func() (persistence.Appended, error)) (persistence.Appended, error) {
	began := time.Now()
	stored, err := do()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.worst = max(p.worst, time.Since(began))
	if err == nil && stored.Entries > 0 {
		if p.stored == nil {
			p.stored = map[persistence.EntryID]time.Duration{}
		}
		p.stored[stored.Last] = time.Since(p.began)
	}
	return stored, err
}

// Delay is how much later than in another run of the same seed an append was stored, at most.
func (v Verdict) Delay(other Verdict) (most time.Duration) {
	for last, at := range v.pace.stored {
		if before, ok := other.pace.stored[last]; ok {
			most = max(most, at-before)
		}
	}
	return most
}

package oracle

import (
	"testing"
	"testing/synctest"
	"time"
)

// Verdict is the outcome of a run.
type Verdict struct {
	Schedule    Schedule
	Differences []Difference // between what was shown and what was sent; none if the run was good
	Stats       Stats
	Digest      uint64 // of everything that the stream shows
	journal     *journal
	pace        *pace
}

// Difference is one thing that a run shows and should not.
type Difference struct {
	Kind string // "lost", "doubled" …: the same for the same kind of mistake
	Text string
}

// Bad says whether the run showed a difference.
func (v Verdict) Bad() bool { return len(v.Differences) > 0 }

// Run runs a schedule in a bubble of virtual time.
func Run(t *testing.T, s Schedule) (v Verdict) {
	synctest.Test(t, func(*testing.T) { v = run(s) })
	return v
}

// run runs a schedule within a bubble.
func run(s Schedule) (v Verdict) {
	v.Schedule = s
	w, err := newWorld(s)
	v.journal, v.pace = &w.log, &w.pace
	if err != nil {
		v.Differences = []Difference{{"start", err.Error()}}
		w.end()
		return v
	}
	w.wait(time.Until(w.began.Add(w.quiet())))
	for _, a := range s.actions() {
		w.wait(time.Until(w.began.Add(a.at)))
		w.act(a)
	}
	w.settle()
	v.Differences = w.judge()
	v.Stats, v.Digest = w.stats, w.digest()
	w.end()
	return v
}

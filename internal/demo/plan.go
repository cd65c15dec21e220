package demo

import (
	"time"

	"tempestd/internal/jetsim"
)

// fault is one fault of a round.
type fault struct {
	name string
	at   time.Duration // since the beginning of the round
	ends time.Duration // when the feed has recovered, with a margin
	last time.Duration // how long the fault lasts; 0 if it has no duration
}

// round has every fault of a demo once. Each fault begins when the feed has recovered from the one
// before. The feed detects a stalled or half-open connection after stale_after, and all others at
// once.
var round = [...]fault{
	{name: jetsim.FaultGarbage, at: 1000 * time.Millisecond, ends: 1500 * time.Millisecond},
	{name: jetsim.FaultClose, at: 2000 * time.Millisecond, ends: 3 * time.Second},
	{name: jetsim.FaultEOF, at: 3500 * time.Millisecond, ends: 4500 * time.Millisecond},
	{name: jetsim.FaultCrash, at: 5000 * time.Millisecond, ends: 7500 * time.Millisecond, last: 500 * time.Millisecond},
	{name: jetsim.FaultHalfOpen, at: 8 * time.Second, ends: 12 * time.Second},
	{name: jetsim.FaultStall, at: 12500 * time.Millisecond, ends: 16 * time.Second, last: 10 * time.Second},
}

// roundLength is the time between the beginnings of two rounds.
const roundLength = 17 * time.Second

// plan returns the faults that fit into the running time. It also returns the faults of the first
// round that do not fit.
func plan(length time.Duration) (faults []jetsim.Fault, missed []string) {
	for begin := time.Duration(0); begin < length; begin += roundLength {
		for _, f := range round {
			switch {
			case begin+f.ends <= length:
				faults = append(faults, jetsim.Fault{Name: f.name, After: begin + f.at, For: f.last})
			case begin == 0:
				missed = append(missed, f.name)
			}
		}
	}
	return faults, missed
}

// Missed names the faults for which a demo of this length has no time.
func Missed(length time.Duration) []string {
	_, missed := plan(length)
	return missed
}

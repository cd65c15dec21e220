package demo

import (
	"time"

	"tempestd/internal/jetsim"
)

// fault is one fault of a round.
type fault struct {
	name string
	at   time.Duration // since the round began
	ends time.Duration // when the feed is well again, with time to spare
	last time.Duration // how long the fault lasts, 0 for what has no duration
}

// round is every fault once. Each begins when the one before is over: a stalled or half-open connection is found out after stale_after, the
// others at once.
var round = [...]fault{
	{name: jetsim.FaultGarbage, at: 1000 * time.Millisecond, ends: 1500 * time.Millisecond},
	{name: jetsim.FaultClose, at: 2000 * time.Millisecond, ends: 3 * time.Second},
	{name: jetsim.FaultEOF, at: 3500 * time.Millisecond, ends: 4500 * time.Millisecond},
	{name: jetsim.FaultCrash, at: 5000 * time.Millisecond, ends: 7500 * time.Millisecond, last: 500 * time.Millisecond},
	{name: jetsim.FaultHalfOpen, at: 8 * time.Second, ends: 12 * time.Second},
	{name: jetsim.FaultStall, at: 12500 * time.Millisecond, ends: 16 * time.Second, last: 10 * time.Second},
}

// roundLength is when the next round begins.
const roundLength = 17 * time.Second

// plan fits rounds of faults into a running time. What the first round has no time for is missed.
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

// Missed names the faults that a demo of this length has no time for.
func Missed(length time.Duration) []string {
	_, missed := plan(length)
	return missed
}

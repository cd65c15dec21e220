package supervisor

import "time"

// Intensity bounds how many restarts a supervisor allows within a window. Disconnects do not count,
// because their causes are upstream. It is not safe for concurrent use.
type Intensity struct {
	Max    int
	Window time.Duration
	at     []time.Time
}

// Exceeded notes a failure and says whether the window now holds more than Max.
func (i *Intensity) Exceeded(now time.Time) bool {
	keep := i.at[:0]
	for _, t := range i.at {
		if now.Sub(t) < i.Window {
			keep = append(keep, t)
		}
	}
	i.at = append(keep, now)
	return len(i.at) > i.Max
}

// Count is how many failures the window held at the last Exceeded.
func (i *Intensity) Count() int { return len(i.at) }

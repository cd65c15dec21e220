package supervisor

import "time"

// Intensity bounds how many restarts a supervisor grants within a window. Disconnects are not counted: they are the upstream's business.
type Intensity struct {
	Max    int
	Window time.Duration
	at     []time.Time
}

// Exceeded notes a failure and says whether it is one too many.
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

// Count is how many failures the window holds.
func (i *Intensity) Count() int { return len(i.at) }

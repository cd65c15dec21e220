package actors

import "time"

// SleepDetector notices that the machine slept: the wall clock went on and the monotonic clock did
// not. After a sleep every socket is suspect, and there is no reason to wait for a silence
// threshold. A clock that is set forward looks the same. The reconnect that follows is harmless.
type SleepDetector struct {
	wall time.Time
	mono time.Duration
}

// sleptFor is the difference that counts as a sleep. Clock slewing stays far below it.
const sleptFor = 10 * time.Second

// Observe takes the wall clock (without its monotonic reading) and the monotonic clock. Call it
// regularly. It returns how long the machine slept since the last call, 0 if it did not.
func (d *SleepDetector) Observe(wall time.Time, mono time.Duration) time.Duration {
	wall = wall.Round(0)
	defer func() { d.wall, d.mono = wall, mono }()
	if d.wall.IsZero() {
		return 0
	}
	if slept := wall.Sub(d.wall) - (mono - d.mono); slept >= sleptFor {
		return slept
	}
	return 0
}

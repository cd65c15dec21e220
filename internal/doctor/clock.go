package doctor

import "time"

// tolerated is how far a server's clock may be from ours without a warning. Event times and the age
// of positions are compared with our clock in minutes.
const tolerated = 2 * time.Second

// Offset returns the least distance of a server's clock from ours: positive if the server's is
// ahead, 0 if the two can be the same. asked and answered are the moments, on our clock, between
// which the server wrote its Date, which is cut to the second. So the round trip cannot look like
// a clock that is wrong.
func Offset(date, asked, answered time.Time) time.Duration {
	if ahead := date.Sub(answered); ahead > 0 {
		return ahead
	}
	if behind := date.Add(time.Second).Sub(asked); behind < 0 {
		return behind
	}
	return 0
}

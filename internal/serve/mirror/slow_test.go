package mirror

import (
	"testing"
	"time"
)

func TestPaceOfASubscriber(t *testing.T) {
	type step struct {
		after     time.Duration
		n, behind int64
	}
	const far = slowBehind + 1
	for name, c := range map[string]struct {
		steps []step
		slow  int // index of the step that is too slow, -1 for none
	}{
		"its first page, however long that took":      {[]step{{time.Hour, 1, far}}, -1},
		"hardly moving":                               {[]step{{0, 1000, far}, {30 * time.Second, 10, far}, {30 * time.Second, 289, far}}, 2},
		"just fast enough":                            {[]step{{0, 1000, far}, {30 * time.Second, 10, far}, {30 * time.Second, 290, far}}, -1},
		"not for a whole window":                      {[]step{{0, 1000, far}, {time.Minute - 1, 10, far}}, -1},
		"a page that takes more than a window":        {[]step{{0, 1000, far}, {5 * time.Minute, 1000, far}}, 1},
		"a page that takes more, and has enough":      {[]step{{0, 1000, far}, {3 * time.Minute, 1000, far}}, -1},
		"near the tip":                                {[]step{{0, 1000, slowBehind}, {time.Hour, 1, slowBehind}}, -1},
		"was near the tip":                            {[]step{{0, 1, far}, {time.Minute / 2, 1, slowBehind}, {time.Minute / 2, 1, far}, {time.Minute / 2, 1, far}}, 3},
		"waited at the tip, and then much came":       {[]step{{0, 1, 0}, {time.Hour, 0, 0}, {time.Second, 1000, far}, {50 * time.Second, 10, far}}, -1},
		"fast once, and then hardly moving":           {[]step{{0, 1, far}, {time.Minute, 1000, far}, {time.Minute, 299, far}}, 2},
		"what it was before does not count for later": {[]step{{0, 1, far}, {time.Minute, 300, far}, {time.Minute - 1, 0, far}}, -1},
	} {
		var p slowDetector
		now := time.Unix(1_795_000_000, 0)
		for i, s := range c.steps {
			now = now.Add(s.after)
			if got := p.tooSlow(now, s.n, s.behind); got != (i == c.slow) {
				t.Errorf("%s: step %d is too slow: %t", name, i, got)
			}
		}
	}
}

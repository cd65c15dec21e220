package jetsim

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// timeCursor is the least cursor that is a time: smaller ones are sequence numbers (PROTOCOL.md, 2).
const timeCursor = 1_000_000_000_000_000

// cursor is a parsed cursor parameter.
type cursor struct {
	live  bool   // none was given
	value int64  // seq or Unix µs
	text  string // as it came: a legacy server compares it as a string
}

// parseCursor reads the cursor as servers do: the first one counts, an empty one is none.
func parseCursor(q url.Values) (cursor, error) {
	text := q.Get("cursor")
	if text == "" {
		return cursor{live: true}, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return cursor{}, fmt.Errorf("subscribe: invalid cursor: %q", text)
	}
	if n < 0 {
		return cursor{}, fmt.Errorf("subscribe: invalid cursor: negative value %d", n)
	}
	return cursor{value: n, text: text}, nil
}

// archive is what a cursor is looked up in: the log in segments.
type archive struct {
	*ingestLog
	segment    int   // events a segment; only whole segments are sealed
	lookbackUS int64 // how far back sealed segments are served
	legacy     bool
}

// sealed is how many records are in sealed segments. The rest is the active segment.
func (a archive) sealed() int { return a.served() / a.segment * a.segment }

// floor is the rank of the oldest record that is served: the start of the oldest segment whose newest event is inside the
// lookback. The newest sealed segment is always served.
func (a archive) floor(nowUS int64) int {
	sealed := a.sealed()
	for start := 0; start < sealed; start += a.segment {
		last := start + a.segment - 1
		if a.ranked(last).timeUS >= nowUS-a.lookbackUS || last == sealed-1 {
			return start
		}
	}
	return 0
}

// resolve is the rank a subscription begins at; served() is the live tip.
func (a archive) resolve(c cursor, nowUS int64) int {
	if c.live {
		return a.served()
	}
	if a.legacy {
		return a.resolveLegacy(c, nowUS)
	}
	if c.value < timeCursor {
		if a.served() == 0 || c.value > a.ranked(a.served()-1).seq {
			return a.served() // nothing to replay, and nobody says so
		}
		rank := a.search(func(r *record) bool { return r.seq >= c.value })
		return max(rank, a.floor(nowUS))
	}
	if c.value > nowUS {
		return a.served()
	}
	// The server's time index covers sealed segments only: anything newer replays the active segment from its start.
	rank := a.sealed()
	if rank > 0 && c.value <= a.ranked(rank-1).timeUS {
		rank = a.search(func(r *record) bool { return r.timeUS >= c.value })
	}
	return max(rank, a.floor(nowUS))
}

// resolveLegacy finds the first event whose time, as a string, is not less than the cursor: exact for a time, nonsense for
// a seq (PROTOCOL.md, 2.1).
func (a archive) resolveLegacy(c cursor, nowUS int64) int {
	if c.value > nowUS {
		return a.served()
	}
	rank := a.search(func(r *record) bool {
		return strings.Compare(strconv.FormatInt(r.timeUS, 10), c.text) >= 0
	})
	return max(rank, a.floor(nowUS))
}

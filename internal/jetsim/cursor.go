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

// isTime says whether the cursor is a time.
func (c cursor) isTime() bool { return !c.live && c.value >= timeCursor }

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
// lookback, or later when history was dropped. The newest sealed segment ages for ever without being dropped.
func (a archive) floor(nowUS int64) int {
	sealed := a.sealed()
	for start := a.kept / a.segment * a.segment; start < sealed; start += a.segment {
		last := start + a.segment - 1
		if a.ranked(last).timeUS >= nowUS-a.lookbackUS || last == sealed-1 {
			return max(start, a.kept)
		}
	}
	return a.kept
}

// position is where a subscription begins.
type position struct {
	rank  int
	live  bool // at the tip, wherever that is then
	below bool // the cursor is of history that is not served any more
}

// resolve is the position that a cursor means. Whatever cannot be had is moved, and only v2 says so.
func (a archive) resolve(c cursor, nowUS int64) position {
	served := a.served()
	tip := position{rank: served, live: true}
	if c.live {
		return tip
	}
	floor := a.floor(nowUS)
	var rank int
	var below bool
	switch {
	case a.legacy:
		if c.value > nowUS {
			return tip
		}
		// The first event whose time, as a string, is not less: exact for a time, nonsense for a seq (PROTOCOL.md, 2.1).
		rank = a.search(func(r *record) bool { return strings.Compare(strconv.FormatInt(r.timeUS, 10), c.text) >= 0 })
	case !c.isTime():
		if served == 0 || c.value > a.ranked(served-1).seq {
			return tip
		}
		rank = a.search(func(r *record) bool { return r.seq >= c.value })
		below = floor > 0 && (floor == served || c.value < a.ranked(floor).seq)
	case c.value > nowUS:
		return tip
	default:
		rank = a.search(func(r *record) bool { return r.timeUS >= c.value })
		below = rank < floor
		// The server's time index covers sealed segments only: anything newer replays the active segment from its start.
		rank = min(rank, a.sealed())
	}
	return position{rank: max(rank, floor), below: below}
}

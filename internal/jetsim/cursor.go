package jetsim

import (
	"strconv"
	"strings"

	"tempestd/internal/subscribe"
)

// archive is what a cursor is looked up in: the log in segments.
type archive struct {
	*ingestLog
	segment    int   // events a segment; only whole segments are sealed
	lookbackUS int64 // how far back sealed segments are served
	legacy     bool

	next        int64 // the sequence number that comes next at the least
	block       int   // events; 0 where a time is found no better than to the segment
	tellsOldest bool  // a time before the oldest event is told of even if nothing was dropped
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
	rank   int
	live   bool // at the tip, wherever that is then
	below  bool // the cursor is of history that is not served any more
	future bool // the cursor is a sequence number beyond the next one
}

// resolve is the position that a cursor means. Whatever cannot be had is moved, and only v2 says so.
func (a archive) resolve(c subscribe.Cursor, nowUS int64) position {
	served := a.served()
	tip := position{rank: served, live: true}
	if !c.Given {
		return tip
	}
	floor := a.floor(nowUS)
	var rank int
	var below bool
	switch {
	case a.legacy:
		if c.Value > nowUS {
			return tip
		}
		// The first event whose time, as a string, is not less: exact for a time, nonsense for a seq.
		rank = a.search(func(r *record) bool { return strings.Compare(strconv.FormatInt(r.timeUS, 10), c.Text) >= 0 })
	case !c.IsTime():
		if served == 0 || c.Value > a.ranked(served-1).seq {
			tip.future = c.Value > a.next
			return tip
		}
		rank = a.search(func(r *record) bool { return r.seq >= c.Value })
		below = floor > 0 && (floor == served || c.Value < a.ranked(floor).seq)
	case c.Value > nowUS:
		return tip
	default:
		rank = a.firstAt(c.Value)
		below = rank < floor || a.tellsOldest && rank == floor && floor < served && c.Value < a.ranked(floor).timeUS
		// An older server's time index covers sealed segments only: anything newer replays the active segment from its start.
		if active := rank - a.sealed(); active > 0 && a.block > 0 {
			rank -= active % a.block
		} else {
			rank = min(rank, a.sealed())
		}
	}
	return position{rank: max(rank, floor), below: below}
}

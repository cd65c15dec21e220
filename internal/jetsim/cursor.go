package jetsim

import (
	"strconv"
	"strings"

	"tempestd/internal/subscribe"
)

// archive is the log divided into segments, in which the server looks up cursors.
type archive struct {
	*ingestLog
	segment    int   // events per segment; only full segments are sealed
	lookbackUS int64 // how far back sealed segments are served, in µs
	legacy     bool

	next        int64 // the least sequence number that the next record can get
	block       int   // events per block; 0 if a time is resolved only to its segment
	tellsOldest bool  // report a time before the oldest event even if nothing was dropped
}

// sealed is the number of records in sealed segments. The other records are in the active segment.
func (a archive) sealed() int { return a.served() / a.segment * a.segment }

// floor is the rank of the oldest record that is served: the start of the oldest segment whose
// newest event is inside the lookback, or a later rank if history was dropped. The newest sealed
// segment is served however old it is.
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

// position is the place in the archive where a subscription begins.
type position struct {
	rank   int
	live   bool // begins at the tip of the moment when it starts
	below  bool // the cursor points to history that is no longer served
	future bool // the cursor is a sequence number beyond the next one
}

// resolve returns the position that a cursor means. A cursor that the archive cannot serve is moved
// to the nearest position that it can. Only v2 tells the client about that.
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
		// Begin with the first event whose time is not less, compared as strings. That is exact for
		// a time, but meaningless for a seq.
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
		// An older server's time index covers sealed segments only, so a later time replays the
		// active segment from its start. With a block size, the replay starts at the beginning of
		// the block.
		if active := rank - a.sealed(); active > 0 && a.block > 0 {
			rank -= active % a.block
		} else {
			rank = min(rank, a.sealed())
		}
	}
	return position{rank: max(rank, floor), below: below}
}

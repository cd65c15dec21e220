package dedupe

import (
	"runtime/debug"
	"time"

	"tempestd/persistence"
)

// An overlap is over when the events are past everything that was stored at its beginning, and the
// last hit is that long and that many events ago. An upstream that restarted goes on repeating
// events for a while after it has passed the old end.
const (
	quietTime   = 2 * time.Minute
	quietEvents = 1 << 16
)

// minRoom is the least room, in entries, that a table has for what is appended during its overlap.
// The room is a quarter of what was loaded, if that is more. When it is used up, the table gets
// another part, and when it has more than the horizon needs, it is loaded again.
const minRoom = 1 << 16

// freeAtOnce is the number of fingerprints from which on a dropped table's memory is returned to
// the system at once, and not some minutes later.
const freeAtOnce = 1 << 20

// overlap is the state from Begin until the replay has passed.
type overlap struct {
	horizon persistence.Horizon
	asked   bool // by Begin, and not because of a repeat
	early   bool // it may bring events from before the stream's first entry
	short   bool // its index has the newest entries only
	table   *table
	stale   bool      // the table is missing, or lacks entries, and must be loaded again
	noted   bool      // the table has entries of a repair
	pending []pending // what the last Mark added to the table

	loaded   uint32 // number of entries in the index as it was loaded
	complete bool   // the index covers the whole stream

	pastFirst bool       // the replay is past the stream's first entries
	awaited   bool       // it was waited in vain for what shows that
	start     startState // what is known of the replay's beginning
	unheld    int        // events since the beginning, none of them held

	hitAt    time.Time // when the last hit was
	sinceHit int       // number of events since then
}

// pending is an event that the table has and that the stream does not have yet.
type pending struct {
	event int
	slot  slot
}

// most is the most entries that the table may have: as many as when the whole horizon was loaded, and
// twice as many beside a repair.
func (o *overlap) most() int {
	if o.horizon.Entries == 0 {
		return mostIndexed
	}
	n := o.horizon.Entries + max(o.horizon.Entries/4, minRoom)
	if o.noted {
		return 2 * n
	}
	return n
}

// forget removes from the table what the last Mark added, if it was not appended.
func (o *overlap) forget() {
	for i := len(o.pending) - 1; i >= 0; i-- {
		o.table.free(o.pending[i].slot)
	}
	o.pending = o.pending[:0]
}

// end drops the table.
func (d *Deduper) end() {
	big := d.overlap.table.limit >= freeAtOnce
	d.overlap = nil
	if big {
		debug.FreeOSMemory()
	}
}

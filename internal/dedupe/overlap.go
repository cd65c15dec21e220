package dedupe

import (
	"runtime/debug"
	"time"

	"tempestd/persistence"
)

// An overlap is over when the events are past what was stored when it began, and the last hit is this long and this many events
// ago. An upstream that was restarted itself goes on repeating for a while after it has passed the old end.
const (
	quietTime   = 2 * time.Minute
	quietEvents = 1 << 16
)

// The room a table has for what is appended during its overlap: a quarter of what was loaded, and this much at least. When it is
// used up the table is loaded anew.
const minRoom = 1 << 16

// freeAtOnce is the number of fingerprints from which a dropped table's memory is given back to the system at once instead of some minutes later.
const freeAtOnce = 1 << 20

// overlap is what lasts from Begin until the replay is past.
type overlap struct {
	horizon persistence.Horizon
	asked   bool // by Begin, and not by a repeat
	replays bool // it may bring what is from before the stream's first entry
	short   bool // of the newest entries alone
	table   *table
	stale   bool      // the table is missing, or lacks entries, and must be loaded anew
	pending []pending // what the last Mark added

	loaded   uint32 // entries that the index was loaded with
	complete bool   // the stream has nothing older than the index

	begun  bool // the replay is past the stream's first entries
	lead   lead // what the replay began with
	before int  // events since, none of them held

	hitAt    time.Time // the last hit
	sinceHit int       // events since
}

// pending is an event that the table holds and the stream does not yet.
type pending struct{ event, slot int }

// forget takes out what the last Mark added and no append followed.
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

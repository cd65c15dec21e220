package oracle

import (
	"slices"
	"time"

	"tempestd/internal/config"
	"tempestd/persistence/embedded/disk/memdisk"
)

// changesHistory are the faults after which a server does not send the same events again.
var changesHistory = []Kind{"crash", "migrate", "forget", "forget-away", "clock-ahead", "clock-back", "stale"}

// diskFaults are faults of a disk that says that all is well.
func diskFaults() map[Kind]fault {
	return map[Kind]fault{
		// Reads bring other bytes than the disk has, while the store is open. Where one does while the
		// store opens, the store takes it for damage, says so, and fetches the events again.
		"misread": {fits: ownStore, draw: counted(6), do: func(w *world, s Step) { w.disk.change(func() { w.disk.wrong.left += s.N }) }},
		// Syncs do nothing, and then the power fails: the stream loses its end, which readers have seen.
		// What they have seen comes again under the same IDs, if it comes from the same server. The
		// numbers of Jetstream subscribers do not fit to the shorter stream.
		"end-lost": {fits: func(s *Setup) bool {
			return ownStore(s) && len(s.Servers) == 1 && !s.Early && !s.Archived && !s.Servers[0].Newer && !slices.Contains(s.Readers, "v1") && !slices.Contains(s.Readers, "v2")
		}, draw: lasting(100*time.Millisecond, 20*time.Second),
			do: func(w *world, _ Step) { w.disk.change(func() { w.disk.lies = lies }) },
			undo: func(w *world, _ Step) {
				w.kill(w.nodes[0], memdisk.Dropped)
				w.disk.change(func() { w.disk.lies = nil })
				w.revive(w.nodes[0])
			}},
		// The store's disk says that it has synced streams, and has not. Then its power fails, and that of
		// all daemons. Readers begin again.
		"disk-lies": {fits: func(s *Setup) bool { return modelStore(s) && len(s.Readers) == 0 && s.Keep == (config.Retention{}) }, draw: lasting(time.Second, time.Minute),
			do: func(w *world, _ Step) { w.disk.change(func() { w.disk.lies = lies }) }, undo: func(w *world, _ Step) { w.loseEnd() }},
	}
}

// lies makes every sync one that only claims to have synced: what comes back after a power cut is all
// of one moment.
func lies(memdisk.Op) bool { return true }

package embedded_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"tempestd/messages"
	"tempestd/persistence/embedded"
	"tempestd/persistence/embedded/disk/memdisk"
	"tempestd/persistence/streamtest"
)

// A saved row says what is stored. So saving it syncs the entries that it speaks of, in a store that
// syncs only from time to time.
func TestI1_NoRowOfTheGapsOutlivesItsEntries(t *testing.T) {
	t.Parallel()
	files := new(memdisk.FS)
	store, s := openFeed(t, "/store", embedded.Options{Files: files, SyncInterval: time.Hour})
	row := messages.GapRow{ID: "a", Version: 1, State: messages.GapRepairing, Recovered: 10}
	_, err := s.Append(t.Context(), streamtest.NewEvents(1, start).Fill(new(messages.Batch), 10), messages.Checkpoint{Gaps: []messages.GapRow{row}})
	must(t, err)
	must(t, s.SaveGaps(t.Context(), []messages.GapRow{row}))
	saved := files.Ops()
	must(t, store.Close())
	files.PowerCuts(0, func(ops int, cut func(memdisk.Fate, *rand.Rand) *memdisk.FS) {
		if ops != saved {
			return
		}
		after, s := openFeed(t, "/store", embedded.Options{Files: cut(memdisk.Dropped, rand.New(rand.NewPCG(1, 1)))})
		info, err := s.Info(t.Context())
		must(t, err)
		if info.Entries != 10 {
			t.Errorf("%d entries are left, and a row says that 10 were stored", info.Entries)
		}
		must(t, after.Close())
	})
}

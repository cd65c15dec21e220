package integration_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// Badger drops what follows damage in its log, without a word. What was lost is noticed and fetched again.
func TestTruncatedLogIsRefetched(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, files string
		end         func(*daemon)
		place       func(length int) int // of the damage, in a log of that length
	}{
		{"write-ahead log", "*.mem", func(d *daemon) { d.kill() }, func(length int) int { return length / 2 }}, // a stop leaves none
		{"value log", "*.vlog", (*daemon).stop, func(length int) int { return length - 100 }},                  // in the newest block
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sim := simulate(t, 2000)
			d := newDaemon(t, sim.url(), nil)
			d.startLive()
			d.awaitStored(5000)
			tt.end(d)
			logs, err := filepath.Glob(filepath.Join(d.data, "store", "badger", tt.files))
			if err != nil || len(logs) == 0 {
				t.Fatalf("no %s in the store: %v", tt.files, err)
			}
			damage(t, slices.Max(logs), tt.place)
			d.start()
			lost := d.await("store.truncated")
			t.Logf("lost from %s to %s", lost.text("found"), lost.text("expected"))
			d.await("feed.live")
			d.exact(sim)
		})
	}
}

// damage changes eight bytes of a log that is allocated beyond its end.
func damage(t *testing.T, path string, place func(length int) int) {
	t.Helper()
	log, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := place(len(bytes.TrimRight(log, "\x00")))
	for i := range 8 {
		log[at+i] ^= 0xa5
	}
	overwrite(t, path, log)
}

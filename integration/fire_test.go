package integration_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// The real tier of the search for schedules of faults; package oracle is the other one. Here the
// built binary runs as processes, on real file systems and real Valkey servers, in real time.
var (
	fireSeeds = flag.Int("fire.seeds", 0, "how many schedules of real faults are drawn; with 0 a few that meet many kinds")
	fireSeed  = flag.Uint64("fire.seed", 1, "the first seed")
	fireKinds = flag.String("fire.kinds", "", "only faults of these kinds, separated by commas")
	fireStore = flag.String("fire.store", "", "only worlds with this store: embedded or valkey")
	fireFile  = flag.String("fire.schedule", "", "a file with the schedule to run instead, as a bad run prints it")
	fireSteps = flag.Int("fire.steps", 8, "the most faults of one schedule")
	fireTries = flag.Int("fire.tries", 0, "how many shorter schedules are tried at most for one that fails")
)

// fireSlice are the seeds of a short run: kills, power cuts, too little memory, and a failover that
// loses what was confirmed.
var fireSlice = []uint64{69, 78}

// TestI1_I2_I3_I6_UnderFire runs processes through schedules of real faults that are drawn from
// seeds: an odd seed has the embedded store, an even one a Valkey server. Nothing is lost, doubled or
// out of order, no gap is recorded, and every reader has seen exactly the stream.
func TestI1_I2_I3_I6_UnderFire(t *testing.T) {
	t.Parallel()
	total := &fireStats{faults: map[string]int{}}
	began := time.Now()
	if *fireFile != "" {
		text, err := os.ReadFile(*fireFile)
		if err != nil {
			t.Fatal(err)
		}
		s, err := parseFire(string(text))
		if err != nil {
			t.Fatal(err)
		}
		fire(t, s, total)
		return
	}
	only := strings.FieldsFunc(*fireKinds, func(r rune) bool { return r == ',' })
	seeds := fireSlice
	if *fireSeeds > 0 {
		seeds = nil
		for i := range uint64(*fireSeeds) {
			seeds = append(seeds, *fireSeed+i)
		}
	}
	t.Run("seeds", func(t *testing.T) {
		for _, seed := range seeds {
			s := drawFire(seed, *fireStore, only, *fireSteps)
			t.Run(fmt.Sprint(s.seed), func(t *testing.T) {
				t.Parallel()
				fire(t, s, total)
			})
		}
	})
	t.Logf("%s\n%.1f schedules a minute", total, float64(total.schedules)/time.Since(began).Minutes())
}

// fire runs a schedule. For one that fails it prints the shortest schedule that it can find.
func fire(t *testing.T, s fireSchedule, total *fireStats) {
	if t.Run("drawn", func(t *testing.T) { runFire(t, s, total) }) || *fireTries == 0 {
		return
	}
	shortest, tries := shrunk(s, *fireTries, func(s fireSchedule) bool {
		return !t.Run(fmt.Sprintf("with %d faults", len(s.steps)), func(t *testing.T) { runFire(t, s, &fireStats{faults: map[string]int{}}) })
	})
	t.Logf("shrunk from %d faults to %d in %d tries; -fire.schedule runs it again:\n%s", len(s.steps), len(shortest.steps), tries, shortest)
}

// String is the summary in a few lines.
func (s *fireStats) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "schedules: %d, with a failover of Valkey in %d; starts %d, kills %d, of them %d at crash points, %d died on a full disk; events sent %d, read %d by readers that were killed %d times\n",
		s.schedules, s.failovers, s.starts, s.kills, s.crashes, s.starved, s.sent, s.read, s.readerKills)
	fmt.Fprintf(&b, "lost %d, doubled %d, out of order %d, altered or foreign %d, needless gaps %d, readers that differ %d\nfaults:",
		s.lost, s.doubled, s.disordered, s.foreign, s.gaps, s.differ)
	for _, kind := range slices.Sorted(maps.Keys(s.faults)) {
		fmt.Fprintf(&b, " %s %d", kind, s.faults[kind])
	}
	return b.String()
}

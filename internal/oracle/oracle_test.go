package oracle_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tempestd/internal/oracle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	seeds  = flag.Int("oracle.seeds", briefly, "how many schedules are drawn")
	seed   = flag.Uint64("oracle.seed", 1, "the first seed")
	stride = flag.Uint64("oracle.stride", 1, "from one seed to the next, so that several processes share the seeds")
	kinds  = flag.String("oracle.kinds", "", "only faults of these kinds, separated by commas")
	world  = flag.String("oracle.world", "", "only seeds whose world, as it prints, has this text")
	replay = flag.String("oracle.schedule", "", "a file with the schedule to run instead, as a bad run prints it")
	first  = flag.Bool("oracle.first", false, "end at the first bad run, and say after how many seeds")
	shrink = flag.Int("oracle.shrink", 150, "how many runs may make a bad schedule smaller")
	save   = flag.String("oracle.save", "", "a file for the schedule of the last bad run")
)

// The whole core runs under virtual time, on schedules of faults that are drawn from seeds.
func TestOracle(t *testing.T) {
	if *replay != "" {
		if v := oracle.Run(t, read(t, *replay)); v.Bad() {
			t.Error(v.Story())
		}
		return
	}
	var only []oracle.Kind
	for _, k := range strings.FieldsFunc(*kinds, func(r rune) bool { return r == ',' }) {
		only = append(only, oracle.Kind(k))
	}
	var total oracle.Stats
	began := time.Now()
	for i := range uint64(*seeds) {
		s := *seed + i**stride
		if !strings.Contains(oracle.Draw(s, only).String(), *world) {
			continue
		}
		ok := t.Run(fmt.Sprint(s), func(t *testing.T) {
			v := oracle.Run(t, oracle.Draw(s, only))
			total.Add(v.Stats)
			if v.Bad() {
				v = oracle.Shrink(v, *shrink, func(s oracle.Schedule) oracle.Verdict { return oracle.Run(t, s) })
			}
			if v.Bad() {
				t.Error(v.Story())
				if *save != "" {
					if err := os.WriteFile(*save, []byte(v.Schedule.String()), 0o644); err != nil {
						t.Error(err)
					}
				}
			}
		})
		if !ok && *first {
			t.Logf("found after %d seeds", i+1)
			break
		}
	}
	t.Logf("%s\n%.0f schedules a minute", total, float64(total.Schedules)/time.Since(began).Minutes())
}

// The schedules that have shown a bug show none any more.
func TestSchedulesThatFoundABug(t *testing.T) {
	files, err := filepath.Glob("testdata/found/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			if v := oracle.Run(t, read(t, file)); v.Bad() {
				t.Error(v.Story())
			}
		})
	}
}

func read(t *testing.T, file string) oracle.Schedule {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s, err := oracle.Parse(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A run is repeated exactly by its schedule, as text.
func TestASchedulePrintsAndRepeats(t *testing.T) {
	for seed := range uint64(1) {
		s := oracle.Draw(100+seed, nil)
		again, err := oracle.Parse(s.String())
		if err != nil || again.String() != s.String() {
			t.Fatalf("%v; %s is read as %s", err, s, again)
		}
		a, b := oracle.Run(t, s), oracle.Run(t, again)
		if a.Digest != b.Digest {
			t.Errorf("seed %d: two runs differ", s.Seed)
		}
	}
}

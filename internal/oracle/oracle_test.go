package oracle_test

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tempestd/internal/oracle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	seeds = flag.Int("oracle.seeds", 40, "how many schedules are drawn")
	seed  = flag.Uint64("oracle.seed", 1, "the first seed")
)

func TestOracle(t *testing.T) {
	total := oracle.Stats{Faults: map[oracle.Kind]int{}}
	began := time.Now()
	for s := *seed; s < *seed+uint64(*seeds); s++ {
		t.Run(fmt.Sprint(s), func(t *testing.T) {
			v := oracle.Run(t, oracle.Draw(s, nil))
			total.Add(v.Stats)
			if v.Bad() {
				t.Errorf("%s", v.Story())
			}
		})
	}
	took := time.Since(began)
	t.Logf("%s\n%.0f schedules a minute", total, float64(total.Schedules)/took.Minutes())
}

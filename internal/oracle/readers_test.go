package oracle_test

import (
	"testing"
	"time"

	"tempestd/internal/oracle"
)

// I8: whoever reads, and however slowly, the stream gets each event when it gets it without readers.
func TestI8_ReadersHoldNothingUp(t *testing.T) {
	for seed := range uint64(1) {
		alone := oracle.Draw(300+seed, []oracle.Kind{"crash", "half-open", "readers-away", "readers-cut"})
		alone.World.Keep.Entries, alone.World.Readers = 0, nil
		read := alone
		read.World.Readers = []string{"slow", "v1", "v2", "consumer", "durable-sse", "filtered"}
		without, with := oracle.Run(t, alone), oracle.Run(t, read)
		if with.Bad() {
			t.Error(with.Story())
		}
		if with.Digest != without.Digest {
			t.Errorf("seed %d: the stream differs with readers", alone.Seed)
		}
		if d := with.Delay(without); d > time.Second {
			t.Errorf("seed %d: with readers an event is stored %s later", alone.Seed, d)
		}
	}
}

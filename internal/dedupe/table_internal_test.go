package dedupe

import (
	"math"
	"testing"

	"tempestd/messages"
)

// A search that comes to the end of the table goes on at its beginning.
func TestASearchGoesRoundTheTable(t *testing.T) {
	table := newTable(8)
	fingerprints := []uint64{math.MaxUint64, math.MaxUint64 - 1, math.MaxUint64 - 2, math.MaxUint64 - 3}
	table.load(messages.EntryID{MS: 1}, fingerprints)
	for i, fp := range fingerprints {
		slot, found := table.find(fp, table.first(fp))
		if !found || table.ref(slot) != uint32(i) {
			t.Errorf("fingerprint %d of %d, which all belong into the last slot, is found: %v", i, len(fingerprints), found)
		}
	}
	if _, found := table.find(math.MaxUint64-4, table.first(math.MaxUint64-4)); found {
		t.Error("a fingerprint that is not there is found")
	}
}

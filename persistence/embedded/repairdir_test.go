package embedded_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/embedded"
)

// manyFaults makes a store with a damaged block, a missing segment, a damaged mark and a lost end.
func manyFaults(t *testing.T) (dir string, entries int64) {
	t.Helper()
	dir = t.TempDir()
	store, s := openFeed(t, dir, embedded.Options{SegmentBytes: 8 << 10, MinFree: 1 << 20})
	batch := new(messages.Batch)
	for entries < 2000 {
		crashBatch(batch, entries, 20)
		entries += 20
		_, err := s.Append(t.Context(), batch, messages.Checkpoint{Position: messages.Position{Seq: entries}})
		must(t, err)
	}
	must(t, store.Close())
	segments, err := filepath.Glob(filepath.Join(dir, "streams", "feed", "*.seg"))
	must(t, err)
	if len(segments) < 6 {
		t.Fatalf("there are %d segments", len(segments))
	}
	change := func(path string, damage func([]byte) []byte) {
		b, err := os.ReadFile(path)
		must(t, err)
		must(t, os.WriteFile(path, damage(b), 0o640))
	}
	change(segments[1], damages["flipped in the middle"])
	must(t, os.Remove(segments[3]))
	change(filepath.Join(dir, "marks", "feed"), damages["flipped in the middle"])
	for _, last := range segments[len(segments)-2:] {
		must(t, os.Remove(last))
	}
	return dir, entries
}

// Several faults are repaired at once. Each loss inside the stream gets its gap entry. The lost end
// is reported until it is fetched again.
func TestI4_RepairOfManyFaults(t *testing.T) {
	t.Parallel()
	dir, entries := manyFaults(t)
	dry, err := embedded.RepairDir(t.Context(), dir, embedded.RepairOptions{DryRun: true})
	must(t, err)
	done, err := embedded.RepairDir(t.Context(), dir, embedded.RepairOptions{})
	if err != nil || len(done.Remaining) > 0 || len(done.Findings) != len(dry.Findings) || len(dry.Done) > 0 {
		t.Fatalf("%+v, %v", done, err)
	}
	gaps, ends := 0, 0
	for _, l := range done.Lost {
		switch {
		case l.AtEnd && l.Gap == nil:
			ends++
		case !l.AtEnd && l.Gap != nil:
			gaps++
		}
	}
	if gaps != 2 || ends != 1 || len(done.Lost) != 3 {
		t.Errorf("lost is %+v", done.Lost)
	}
	store, s := openFeed(t, dir, embedded.Options{SegmentBytes: 8 << 10, MinFree: 1 << 20})
	cp, err := s.Checkpoint(t.Context())
	must(t, err)
	batch := new(messages.Batch)
	for seq := cp.Seq; seq < entries; seq += 20 { // the upstream sends it again
		crashBatch(batch, seq, 20)
		_, err := s.Append(t.Context(), batch, messages.Checkpoint{Position: messages.Position{Seq: seq + 20}})
		must(t, err)
	}
	stored, told, holes := readWithGaps(t, "many faults", s)
	if len(told) != 2 || len(holes) != 2 || !stored[entries-1] || !stored[0] {
		t.Errorf("gaps %+v, holes %v", told, holes)
	}
	must(t, store.Close())
	if done, found := verifyDir(t, dir); len(found) > 0 || done.KnownLost == 0 {
		t.Errorf("%+v, found %+v", done, found)
	}
}

// The next repair completes a repair that was cut short. No gap is recorded twice.
func TestRepairMayBeCutShort(t *testing.T) {
	t.Parallel()
	dir, _ := manyFaults(t)
	cut := 0
	for after := 1; ; after += 3 {
		ctx, cancel := context.WithCancel(t.Context())
		left := after
		_, err := embedded.RepairDir(ctx, dir, embedded.RepairOptions{Progress: func(persistence.VerifyProgress) {
			if left--; left == 0 {
				cancel()
			}
		}})
		cancel()
		if err == nil {
			break
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		cut++
	}
	if _, found := verifyDir(t, dir); len(found) > 0 || cut < 3 {
		t.Errorf("after %d that were cut short, found %+v", cut, found)
	}
	store, s := openFeed(t, dir, embedded.Options{MinFree: 1 << 20})
	defer func() { must(t, store.Close()) }()
	if _, gaps, _ := readWithGaps(t, "cut short", s); len(gaps) != 2 {
		t.Errorf("the gaps are %+v", gaps)
	}
}

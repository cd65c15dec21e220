package demo_test

import (
	"context"
	"os"
	"testing"
	"time"

	"tempestd/internal/demo"
	"tempestd/internal/jetsim"
)

// run runs a demo and returns its result and its last snapshot.
func run(ctx context.Context, t *testing.T, opt demo.Options) (result demo.Result, last demo.Snapshot) {
	t.Helper()
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	opt.Log = func(string) {}
	opt.Watch = func(s demo.Snapshot) { last = s }
	result, err := demo.Run(ctx, opt)
	if err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("%v left behind, %v", left, err)
	}
	return result, last
}

func TestDemoStoresWhatWasSentThroughFaults(t *testing.T) {
	result, last := run(t.Context(), t, demo.Options{For: 3500 * time.Millisecond, Rate: 400, Faults: true})
	if !result.Report.OK() || result.Report.Stored < 400 {
		t.Errorf("%v\n%v", result.Report, result.Report.Examples)
	}
	if result.Faults[jetsim.FaultGarbage] != 1 || result.Faults[jetsim.FaultClose] != 1 || result.Feed.Reconnects == 0 || result.Feed.Bad == 0 {
		t.Errorf("faults %v, feed %+v", result.Faults, result.Feed)
	}
	if last.Phase != demo.Finished || last.Stream.Entries != result.Report.Stored || len(last.Recent) == 0 || len(last.Log) == 0 {
		t.Errorf("last snapshot %+v", last)
	}
}

// The last act: a gap that closes itself. What the socket had forgotten is in the stream in the end.
func TestDemoEndsWithAGapThatClosesItself(t *testing.T) {
	result, _ := run(t.Context(), t, demo.Options{For: 2500 * time.Millisecond, Rate: 400, Gap: true})
	if r := result.Report; !r.OK() || r.Gaps == 0 || r.Repaired < 400 || r.Dropped > 0 {
		t.Errorf("%v\n%v", r, r.Examples)
	}
}

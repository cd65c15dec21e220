package daemon_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"
	"time"

	"tempestd/internal/jetsim"
	"tempestd/messages"
)

// entries yields the stream up to the newest event of the simulator, which must have stopped
// producing.
func (r *running) entries(ctx context.Context, sim *jetsim.Sim) iter.Seq2[[]byte, error] {
	newest := fmt.Appendf(nil, `"cursor":%d,`, sim.Stats().NewestSeq)
	return func(yield func([]byte, error) bool) {
		for after := "0-0"; ; {
			frames, err := r.Tail(ctx, "sky", after, 10*time.Second, 1000, messages.ConsumerFilter{})
			if err == nil && len(frames.Entries) == 0 {
				err = errors.New("the stream does not go on")
			}
			if err != nil {
				yield(nil, err)
				return
			}
			for _, f := range frames.Entries {
				if !yield(f.Event, nil) || bytes.Contains(f.Event, newest) {
					return
				}
				after = f.ID.String()
			}
		}
	}
}

// join produces events until the first is stored. The daemon begins at the live tip, so earlier
// events do not belong to its stream.
func (r *running) join(t *testing.T, sim *jetsim.Sim) {
	t.Helper()
	for {
		sim.Produce(1)
		frames, err := r.Tail(t.Context(), "sky", "0-0", 100*time.Millisecond, 1, messages.ConsumerFilter{})
		if err != nil {
			t.Fatal(err)
		}
		if len(frames.Entries) > 0 {
			return
		}
	}
}

func TestI2_StreamIsExactAcrossAGracefulRestart(t *testing.T) {
	sim := newSim(t)
	cfg := configure(t.TempDir(), sim.URL())
	for round := range 3 {
		d := start(t, cfg)
		d.join(t, sim)
		sim.Produce(700)
		report, err := sim.Verify(d.entries(t.Context(), sim), jetsim.VerifyOptions{})
		if err != nil || !report.OK() || report.Stored < 700 {
			t.Errorf("round %d: %v, %v %v", round, err, report, report.Examples)
		}
		d.finish(t)
		sim.Produce(300) // while the daemon is stopped
		want := []string{"daemon.started", "daemon.ready", "daemon.stopping", "daemon.stopped"}
		if got := d.log.of("daemon."); !slices.Equal(got, want) {
			t.Errorf("round %d: events %v, want %v", round, got, want)
		}
	}
}

package daemon_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/client"
	"tempestd/internal/daemon"
	"tempestd/internal/jetsim"
	"tempestd/messages"
)

// A position that is moved back makes the feed read again what it has, and store nothing twice; one
// that is moved forward leaves a gap with an entry and a row.
func TestI2_I4_AMovedPositionStoresNothingTwiceAndLosesNothingSilently(t *testing.T) {
	sim := newSim(t)
	dir := t.TempDir()
	cfg := configure(dir, sim.URL())
	cfg.Repair = false // what is left out stays out
	real := clockwork.NewRealClock()
	move := func(at time.Time, skip bool) (daemon.MovedCursor, error) {
		return daemon.MoveCursor(t.Context(), cfg, "sky", at, daemon.MoveOptions{Clock: real, Skip: skip})
	}
	d := start(t, cfg)
	began := time.Now()
	if _, err := move(began, false); err == nil {
		t.Error("a position was moved under a running daemon")
	}
	d.join(t, sim)
	sim.Produce(500)
	verify := func(what string) {
		t.Helper()
		report, err := sim.Verify(d.entries(t.Context(), sim), jetsim.VerifyOptions{})
		if err != nil || !report.OK() {
			t.Fatalf("%s: %v %v", what, report, err)
		}
	}
	verify("before")
	d.finish(t)

	if moved, err := move(began.Add(-time.Minute), false); err != nil || moved.Gap != nil || moved.Is.CoveredUS != began.Add(-time.Minute).UnixMicro() {
		t.Fatalf("%+v %v", moved, err)
	}
	sim.Produce(500)
	d = start(t, cfg)
	verify("moved back")
	s, err := d.Feed(t.Context(), "sky")
	if err != nil || s.Duplicates < 500 || s.Gaps != 0 {
		t.Errorf("%d came again, %d gaps: %v", s.Duplicates, s.Gaps, err)
	}
	d.finish(t)

	if _, err := move(time.Now().Add(time.Hour), true); !errors.Is(err, daemon.ErrFuture) {
		t.Errorf("the future: %v", err)
	}
	sim.Produce(100)
	if _, ahead := errors.AsType[*daemon.AheadError](func() error { _, err := move(time.Now(), false); return err }()); !ahead {
		t.Error("events were left out without a word")
	}
	moved, err := move(time.Now(), true)
	if err != nil || moved.Gap == nil || moved.Gap.Cause != messages.GapOperator {
		t.Fatalf("%+v %v", moved, err)
	}
	d = start(t, cfg)
	defer d.finish(t)
	list, err := d.Gaps(t.Context(), client.GapQuery{Feed: "sky"})
	if err != nil || len(list.Gaps) != 1 || list.Gaps[0].ID != moved.Gap.ID || list.Gaps[0].Entry != moved.Is.LastID {
		t.Errorf("the ledger has %+v, want %s at %v: %v", list.Gaps, moved.Gap.ID, moved.Is.LastID, err)
	}
	page, err := d.Tail(t.Context(), "sky", "0-0", 0, 10, messages.ConsumerFilter{Kinds: []string{"gap"}})
	if err != nil || len(page.Entries) != 1 || page.Entries[0].ID != moved.Is.LastID {
		t.Errorf("the stream has %v: %v", page.Entries, err)
	}
	if _, err := daemon.MoveCursor(t.Context(), cfg, "none", began, daemon.MoveOptions{Clock: real}); !errors.Is(err, messages.ErrNoFeed) {
		t.Error(fmt.Errorf("an unknown feed: %w", err))
	}
}

package supervisor_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/jetstream"
	"tempestd/internal/observe"
	"tempestd/persistence"
)

// quietRig starts a daemon whose log is as in production: without debug records, and quiet. An
// event is published every five seconds, until the test is over.
func quietRig(t *testing.T, change func(*rig)) *rig {
	ctx, cancel := context.WithCancel(t.Context())
	r := newRig(t, func(r *rig) {
		r.obs = observe.New(slog.New(slog.NewJSONHandler(r.log, nil)), observe.NewMetrics(), observe.Strict(), observe.Quiet(clockwork.NewRealClock()))
		if change != nil {
			change(r)
		}
	})
	go r.up.every(ctx, 5*time.Second)
	go r.obs.TellRepeats(ctx)
	t.Cleanup(func() {
		cancel()
		synctest.Wait()
	})
	r.after(20 * time.Minute) // what the start says is over
	return r
}

// lines are the records of the log.
func (r *rig) lines() (all []map[string]any) {
	r.t.Helper()
	for line := range strings.Lines(r.log.String()) {
		var record map[string]any
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			r.t.Fatal(err)
		}
		all = append(all, record)
	}
	return all
}

// The noise budget: at most 10 lines an hour while all is well, and in a fault a fraction of one a
// second, with everything counted. With the race detector every third state is tried (make week tries
// all).
func TestTheLogKeepsToItsBudgetInEveryState(t *testing.T) {
	refuse := func(err error) func(*rig) {
		return func(r *rig) {
			r.up.set(func() { r.up.refuse = func(int) error { return err } })
			r.up.last().fault <- errLost
		}
	}
	for i, c := range []struct {
		name  string
		fault func(*rig)
		most  int // lines an hour
	}{
		{"all is well", nil, 0},
		{"the upstream is dead", refuse(errLost), 40},
		{"the upstream refuses us", refuse(&jetstream.RefusedError{Status: 401, Message: "no", Permanent: true}), 40},
		{"each connection ends after three events", func(r *rig) {
			r.up.set(func() { r.up.cutAfter = 3 })
			r.up.last().fault <- errLost
		}, 60},
		{"each connection falls silent", func(r *rig) {
			r.up.set(func() { r.up.deafToCursors, r.up.refuse = true, nil })
			go func() {
				for r.t.Context().Err() == nil {
					r.up.last().set(true, true)
					time.Sleep(time.Second)
				}
			}()
		}, 60},
		{"the upstream's clock is an hour ahead", func(r *rig) {
			r.up.set(func() { r.up.skew = map[string]time.Duration{"127.0.0.1:6008": time.Hour} })
			r.up.last().fault <- errLost
		}, 60},
		{"the disk is full", func(r *rig) {
			r.store.failWith(func() error { return &persistence.NoSpaceError{Dir: "data", Free: 1, Need: 2} })
		}, 40},
		{"the store does not answer", func(r *rig) { r.t.Cleanup(r.store.freeze()) }, 40},
		{"the store's server is away", func(r *rig) {
			r.store.failWith(func() error { return &persistence.UnavailableError{Reason: persistence.ReasonConnection, Err: errLost} })
		}, 40},
		{"each reconnect has a loss", func(r *rig) {
			r.up.set(func() { r.up.deafToCursors, r.up.cutAfter = true, 20 })
			r.up.last().fault <- errLost
		}, 60},
		{"every second event is too large", func(r *rig) { r.up.set(func() { r.up.oversized = 2 }) }, 60},
		{"the feed is paused", func(r *rig) {
			if err := r.daemon.Pause(r.t.Context(), feedName); err != nil {
				r.t.Error(err)
			}
		}, 10},
		{"the checkpoint cannot be saved", func(r *rig) { r.store.refuse("SaveCheckpoint", errLost) }, 40},
	} {
		if raceEnabled && i%3 != 0 {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := quietRig(t, nil)
				before, events := len(r.lines()), r.counted()
				if c.fault != nil {
					c.fault(r)
				}
				r.after(time.Hour)
				lines := r.lines()[before:]
				t.Logf("%d lines tell of %d events; %d lines at the start", len(lines), r.counted()-events, before)
				if len(lines) > c.most {
					t.Errorf("%d lines an hour, want at most %d", len(lines), c.most)
					for _, l := range lines {
						t.Log(l)
					}
				}
				if c.fault != nil && len(lines) == 0 {
					t.Error("the log says nothing")
				}
			})
		})
	}
}

// counted is the number of events above the debug level.
func (r *rig) counted() (n int) {
	for _, d := range observe.Catalogue {
		if d.Level > slog.LevelDebug {
			n += r.events(d.Event)
		}
	}
	return n
}

// An absence ends in one line that tells what it cost.
func TestI9_AnAbsenceEndsInOneLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := quietRig(t, nil)
		before := len(r.lines())
		r.up.set(func() { r.up.refuse = func(int) error { return errLost } })
		r.up.last().fault <- errLost
		lost := time.Now()
		r.after(5 * time.Minute)
		// The attempts since then do not count.
		if s := r.status(); s.AwaySince == nil || lost.Sub(*s.AwaySince).Abs() > time.Second || !s.Since.After(*s.AwaySince) {
			t.Errorf("away since %v, lost at %v, state since %v", s.AwaySince, lost, s.Since)
		}
		r.up.set(func() { r.up.refuse = nil })
		r.after(2 * time.Minute)
		if s := r.status(); s.AwaySince != nil {
			t.Errorf("a live feed is away since %v", s.AwaySince)
		}
		var told []map[string]any
		for _, l := range r.lines()[before:] {
			if l["event"] == string(observe.FeedCaughtUp) {
				told = append(told, l)
			}
		}
		if len(told) != 1 {
			t.Fatalf("told %v", told)
		}
		end := told[0]
		away, err := time.ParseDuration(end["away"].(string))
		if err != nil || away < 5*time.Minute || away > 6*time.Minute {
			t.Errorf("away %v, want five minutes and a wait", end["away"])
		}
		if n := end["replayed"].(float64); n < 60 || n > 75 || end["lost"] != "nothing" || end["attempts"].(float64) < 10 || !strings.Contains(end["reason"].(string), errLost.Error()) {
			t.Errorf("told %v", end)
		}
	})
}

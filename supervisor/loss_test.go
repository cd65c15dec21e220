package supervisor_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tempestd/internal/observe"
	"tempestd/messages"
)

// The events of a stored block that cannot be read any more are fetched again where the upstream
// still has them. Otherwise they are a gap, which is recorded once.
func TestI4_WhatADamagedBlockHeldIsFetchedAgainOrAGap(t *testing.T) {
	for name, has := range map[string]bool{"the upstream has it": true, "it has not": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, nil)
				r.up.publish(10)
				r.after(time.Second)
				r.up.publish(10)
				r.after(time.Second)
				r.up.publish(10)
				r.after(time.Minute)
				lost := r.store.lose(1)
				if !has {
					r.up.set(func() { r.up.events = r.up.events[20:] })
				}
				for range 2 { // a restart finds the block again
					r.daemon.BlockLost(feedName, lost.First, lost.Last)
					r.after(2 * time.Minute)
				}
				gaps, events := 0, map[string]int{}
				for _, e := range r.store.all() {
					if string(eventKind(e)) == "gap" {
						gaps++
					} else {
						events[string(e)]++
					}
				}
				want := 30
				if !has {
					want = 20
				}
				if wantGaps := (30 - want) / 10; len(events) != want || gaps != wantGaps || r.events(observe.FeedGapped) != gaps {
					t.Fatalf("%d events, %d gaps, want %d and %d", len(events), gaps, want, wantGaps)
				}
				for e, n := range events {
					if n != 1 {
						t.Fatalf("%d times in the stream: %s", n, e)
					}
				}
			})
		})
	}
}

// A writer that fails at a gap entry is asked for it again in the next epoch. It is not asked
// before, when it has no position that it could store with the entry.
func TestI1_AGapThatAWriterFailsAtIsStoredWithThePosition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		for range 3 {
			r.up.publish(10)
			r.after(time.Second)
		}
		lost := r.store.lose(1)
		r.up.set(func() { r.up.events = r.up.events[20:] })
		fails := 0
		r.store.failWith(func() error {
			if fails++; fails == 1 {
				panic("injected")
			}
			return nil
		})
		r.up.set(func() { r.up.refuse = func(int) error { return errLost } })
		r.up.last().fault <- errLost
		// The block is lost from the stream's beginning on, so the gap is recorded at once.
		r.daemon.BlockLost(feedName, messages.EntryID{}, lost.Last)
		r.after(time.Second)
		r.store.set(func() {
			if at := r.store.cp; at.TimeUS == 0 || at.Host == "" {
				t.Errorf("the position was stored as %+v", at.Position)
			}
		})
		r.up.publish(10)
		r.up.set(func() { r.up.refuse = nil })
		r.after(time.Minute)
		gaps := 0
		for _, e := range r.store.all() {
			if string(eventKind(e)) == "gap" {
				gaps++
			}
		}
		if n := len(r.store.all()); fails < 2 || gaps != 1 || n != 31 {
			t.Errorf("%d entries, %d gaps after %d appends", n, gaps, fails)
		}
	})
}

// A restarted cursor reads a stored checkpoint that is older than the writer's reports in the
// meantime.
func TestI1_ARestartedCursorKeepsWhatTheWriterTellsItMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var armed atomic.Bool
		release := make(chan struct{})
		r := newRig(t, func(r *rig) {
			r.fault = func(point string) {
				if point == feedName+"/cursor.save" && armed.CompareAndSwap(true, false) {
					r.store.mu.Lock()
					r.store.slow = release
					r.store.mu.Unlock()
					panic("injected")
				}
			}
		})
		r.up.publish(10)
		r.after(10 * time.Second)
		armed.Store(true)
		r.up.publish(10)
		r.after(10 * time.Second) // the save fails, and the cursor restarts
		r.up.publish(10)
		r.after(time.Second)
		if r.store.slow != nil || armed.Load() {
			t.Fatal("the cursor did not fail, or was not restarted")
		}
		close(release)
		r.after(time.Second)
		r.up.last().fault <- errLost
		r.up.publish(5)
		r.after(time.Minute)
		if _, seq, ok := r.up.dials[len(r.up.dials)-1].cursor.Sequence(); !ok || seq != 30 {
			t.Errorf("it resumed from %v, want the last event that was stored", r.up.dials[len(r.up.dials)-1].cursor)
		}
		r.wantExactlyPublished(0)
	})
}

// A stream that lost all its entries still tells the position to resume from. The upstream is asked
// for the lost events, and those that it no longer has are a gap.
func TestI4_WhatAStoreHasLostIsAskedForAgain(t *testing.T) {
	for name, c := range map[string]struct {
		known bool // the store knows how far back the stream reached
		has   bool // the upstream still has the events
		gaps  int
	}{
		"all of it":                            {true, true, 0},
		"the upstream has it no more":          {true, false, 1},
		"how far back it reached is not known": {false, true, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, nil)
				for range 30 {
					r.up.publish(10)
					r.after(time.Second)
				}
				if err := r.stop(); err != nil {
					t.Fatal(err)
				}
				r.store.loseAll(c.known)
				if !c.has {
					r.up.set(func() { r.up.events = r.up.events[200:] })
				}
				r.start()
				r.after(time.Minute)
				r.up.publish(5)
				r.after(time.Second)
				gaps, events := 0, 0
				for _, e := range r.store.all() {
					if string(eventKind(e)) == "gap" {
						gaps++
					} else {
						events++
					}
				}
				want := 305
				if !c.has {
					want = 105
				}
				if events != want || gaps != c.gaps || r.events(observe.FeedGapped) != gaps {
					t.Fatalf("%d events and %d gaps, want %d and %d", events, gaps, want, c.gaps)
				}
			})
		})
	}
}

// The stream lost its end, and the position that was saved beside it is newer. The events of the
// end are read again from the stream's own position.
func TestI1_ASavedPositionBeyondTheStreamCountsForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.up.publish(10)
		r.after(10 * time.Second)
		var kept messages.Checkpoint
		r.store.set(func() { kept = *r.store.cp })
		r.up.publish(10)
		r.after(10 * time.Second)
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		r.store.set(func() {
			last := len(r.store.blocks) - 1
			for r.store.blocks[last].appended.First.Compare(kept.LastID) > 0 {
				r.store.entries -= len(r.store.blocks[last].events)
				last--
			}
			r.store.blocks = r.store.blocks[:last+1]
			r.store.last, r.store.cp = kept.LastID, &kept
			if r.store.saved.LastID.Compare(kept.LastID) <= 0 {
				t.Errorf("the saved position is %+v", r.store.saved)
			}
		})
		r.start()
		r.after(time.Minute)
		r.wantExactlyPublished(0)
	})
}

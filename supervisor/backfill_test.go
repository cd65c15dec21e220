package supervisor_test

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"tempestd/internal/observe"
	"tempestd/messages"
)

// rkey identifies the upstream's events, whichever host stamped them.
var rkey = regexp.MustCompile(`"rkey":"k(\d+)"`)

// wantEachOnce fails unless the stream holds every published event from index first on (from 0),
// once, in any order, and nothing else.
func (r *rig) wantEachOnce(first int) {
	r.t.Helper()
	r.up.mu.Lock()
	want := map[string]bool{}
	for _, e := range r.up.events[first:] {
		want[string(rkey.Find(e.json))] = true
	}
	r.up.mu.Unlock()
	for _, e := range r.store.all() {
		key := string(rkey.Find(e))
		if !want[key] {
			r.t.Fatalf("twice in the stream, or never sent: %s", e)
		}
		delete(want, key)
	}
	if len(want) > 0 {
		r.t.Fatalf("%d events are missing", len(want))
	}
}

func TestI2_WhatALegacyServerLeavesOutIsFetched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(r *rig) { r.up.legacy = true })
		ctx, cancel := context.WithCancel(t.Context())
		go r.up.every(ctx, 20*time.Millisecond)
		for _, lived := range []time.Duration{time.Minute, time.Minute, 8 * time.Second, 3 * time.Second, time.Second, time.Minute} {
			r.after(lived)
			r.up.mu.Lock()
			var live *upstreamConn // the newest one that is not a backfill's
			for _, c := range r.up.conns {
				select {
				case <-c.done:
				default:
					live = c
				}
			}
			r.up.mu.Unlock()
			if live != nil {
				live.fault <- errLost
			}
		}
		r.after(time.Minute)
		cancel()
		r.after(time.Minute)
		r.wantEachOnce(0)
		s := r.status()
		if s.Backfilled == 0 || s.Gaps != 0 {
			t.Fatalf("%d events were fetched, %d gaps: the test shows nothing", s.Backfilled, s.Gaps)
		}
	})
}

// A connection that ends right after its change to live has left events out as well, and its
// successors resume behind them.
func TestI2_WhatALegacyServerLeavesOutOfAShortConnectionIsFetched(t *testing.T) {
	for _, undated := range []bool{false, true} {
		t.Run(fmt.Sprintf("undated=%v", undated), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(r *rig) { r.up.legacy, r.up.undated = true, undated })
				ctx, cancel := context.WithCancel(t.Context())
				go r.up.every(ctx, 20*time.Millisecond)
				r.after(time.Minute)
				for _, lived := range []time.Duration{100, 200, 300, 500, 700, 900, 950} {
					n := r.up.dialCount()
					r.up.last().fault <- errLost
					for r.up.dialCount() == n {
						r.after(time.Millisecond)
					}
					r.after(lived * time.Millisecond)
				}
				r.up.last().fault <- errLost
				r.after(time.Minute)
				cancel()
				r.after(time.Minute)
				r.wantEachOnce(0)
				if s := r.status(); s.Gaps != 0 {
					t.Fatalf("%d gaps", s.Gaps)
				}
			})
		})
	}
}

// A host that does not tell its clock replays for some time before it changes to live. The times of
// its events meanwhile do not show that change.
func TestI2_WhatALegacyServerLeavesOutAfterALongReplayIsFetched(t *testing.T) {
	for _, undated := range []bool{false, true} {
		t.Run(fmt.Sprintf("undated=%v", undated), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(r *rig) { r.up.legacy, r.up.undated = true, undated })
				ctx, cancel := context.WithCancel(t.Context())
				go r.up.every(ctx, 20*time.Millisecond)
				r.after(time.Minute)
				r.up.set(func() {
					r.up.pace = 10 * time.Millisecond
					r.up.refuse = func(int) error { return errLost }
				})
				r.up.last().fault <- errLost
				r.after(30 * time.Second)
				r.up.set(func() { r.up.refuse = nil })
				r.after(2 * time.Minute)
				cancel()
				r.after(time.Minute)
				r.wantEachOnce(0)
				if s := r.status(); s.Backfilled == 0 || s.Gaps != 0 {
					t.Fatalf("%d events were fetched, %d gaps", s.Backfilled, s.Gaps)
				}
			})
		})
	}
}

// The events of a narrow feed are far from each other, and the newest one is seldom of the present.
func TestI2_WhatALegacyServerLeavesOutOfANarrowFeedIsFetched(t *testing.T) {
	for _, undated := range []bool{false, true} {
		for _, every := range []time.Duration{time.Second, 2 * time.Second, 3 * time.Second, 5 * time.Second, 10 * time.Second, 25 * time.Second, 40 * time.Second} {
			t.Run(fmt.Sprintf("one event in %v, undated=%v", every, undated), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t, func(r *rig) { r.up.legacy, r.up.undated = true, undated })
					ctx, cancel := context.WithCancel(t.Context())
					go r.up.every(ctx, every)
					r.after(10 * time.Minute)
					n := r.up.dialCount()
					r.up.last().fault <- errLost
					for r.up.dialCount() == n {
						r.after(time.Millisecond)
					}
					r.after(handover / 2)
					r.up.publish(1) // it is left out
					r.after(10 * time.Minute)
					r.wantEachOnce(0)
					if s := r.status(); s.Backfilled != 1 || s.Gaps != 0 {
						t.Errorf("%d events were fetched, %d gaps", s.Backfilled, s.Gaps)
					}
					cancel()
					r.after(time.Second)
				})
			})
		}
	}
}

// A host whose clock was set back replays events from before that first. They are later than its
// present, and say nothing about how far the replay has come, or a backfill.
func TestI2_WhatALegacyServerLeavesOutIsFetchedThoughItsClockWasSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(r *rig) { r.up.legacy = true })
		ctx, cancel := context.WithCancel(t.Context())
		go r.up.every(ctx, 40*time.Millisecond)
		r.after(time.Minute)
		r.up.set(func() { r.up.offset = -8 * time.Minute })
		r.after(time.Minute)
		r.up.set(func() { r.up.pace = 5 * time.Millisecond })
		r.up.last().fault <- errLost
		r.after(2 * time.Minute)
		r.wantEachOnce(0)
		if s := r.status(); s.Backfilled == 0 || s.Gaps != 0 {
			t.Errorf("%d events were fetched, %d gaps", s.Backfilled, s.Gaps)
		}
		cancel()
		r.after(time.Second)
	})
}

// A server is slow to begin its replay, or to go on with it. What a backfill brings stands behind
// the replay all the same.
func TestI3_ABackfillDoesNotOvertakeAReplayThatPauses(t *testing.T) {
	for _, c := range []struct{ every, pace, outage, begun, pause time.Duration }{
		{40 * time.Millisecond, 20 * time.Millisecond, 30 * time.Second, time.Second, 6 * time.Second},
		{40 * time.Millisecond, 20 * time.Millisecond, 30 * time.Second, time.Second, 33 * time.Second}, // the watchdog reconnects
		{5 * time.Second, 100 * time.Millisecond, 5 * time.Minute, 2 * time.Second, 33 * time.Second},   // it knows longer silences
	} {
		t.Run(fmt.Sprintf("%v, one event in %v", c.pause, c.every), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(r *rig) { r.up.legacy = true })
				ctx, cancel := context.WithCancel(t.Context())
				go r.up.every(ctx, c.every)
				r.after(c.outage)
				r.up.set(func() {
					r.up.pace = c.pace
					r.up.refuse = func(int) error { return errLost }
				})
				r.up.last().fault <- errLost
				r.after(c.outage)
				n := r.up.dialCount()
				r.up.set(func() { r.up.refuse = nil })
				for r.up.dialCount() == n {
					r.after(time.Millisecond)
				}
				conn := r.up.last()
				r.after(handover / 2)
				r.up.publish(1) // it is left out
				r.after(c.begun)
				conn.pause(true)
				r.after(c.pause)
				conn.pause(false)
				r.after(2 * time.Minute)
				r.wantEachOnce(0)
				last, late := 0, 0
				for _, e := range r.store.all() {
					k, err := strconv.Atoi(string(rkey.FindSubmatch(e)[1]))
					if err != nil {
						t.Fatal(err)
					}
					if k < last {
						late++
					}
					last = max(last, k)
				}
				if s := r.status(); uint64(late) > s.Backfilled || s.Backfilled == 0 || s.Backfilled > 10 {
					t.Errorf("%d events were fetched, %d stand late", s.Backfilled, late)
				}
				cancel()
				r.after(time.Second)
			})
		})
	}
}

func TestI4_WhatCannotBeFetchedIsAGapEntry(t *testing.T) {
	t.Run("at once", func(t *testing.T) { whatCannotBeFetched(t, "", 0) })
	t.Run("by the next writer", func(t *testing.T) { whatCannotBeFetched(t, feedName+"/writer *messages.RecordGap", 1) })
}

// whatCannotBeFetched tests that a span that cannot be fetched is recorded as a gap, also when the
// writer fails at it.
func whatCannotBeFetched(t *testing.T, fault string, reconnects int) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(r *rig) {
			r.up.legacy = true
			struck := false
			r.fault = func(point string) {
				if point == fault && !struck {
					struck = true
					panic("injected")
				}
			}
		})
		ctx, cancel := context.WithCancel(t.Context())
		go r.up.every(ctx, 20*time.Millisecond)
		r.after(time.Minute)
		dials := r.up.dialCount()
		r.up.refuse = func(n int) error {
			if n > dials+1 && n <= dials+6 {
				return errLost // every dial of a backfill fails
			}
			return nil
		}
		r.up.last().fault <- errLost
		r.after(5 * time.Minute)
		cancel()
		if s := r.status(); s.Gaps != 1 || s.State != messages.StateLive || s.Reconnects != uint64(1+reconnects) {
			t.Fatalf("%d gaps, state %s, %d reconnects", s.Gaps, s.State, s.Reconnects)
		}
		if got := r.events(observe.BackfillFailed); got != 5 {
			t.Fatalf("%d failed attempts were told", got)
		}
		r.after(time.Second)
	})
}

func TestServersThatNumberTheirEventsAreNotBackfilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		go r.up.every(ctx, 20*time.Millisecond)
		r.after(time.Minute)
		r.up.last().fault <- errLost
		r.after(time.Minute)
		cancel()
		if got := r.events(observe.BackfillStarted); got != 0 || r.up.dialCount() != 2 {
			t.Fatalf("%d backfills, %d dials", got, r.up.dialCount())
		}
		r.after(time.Second)
	})
}

func TestI2_FailoverToAHostWhoseClockIsBehind(t *testing.T) {
	for name, skew := range map[string]time.Duration{"behind by seconds": -5 * time.Second, "behind by minutes": -7 * time.Minute,
		"behind by hours": -3 * time.Hour, "ahead by minutes": 4 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(r *rig) {
					r.cfg.Feeds[0].Endpoints = endpoints("ws://127.0.0.1:6008", "ws://127.0.0.2:6008")
					r.up.skew = map[string]time.Duration{"127.0.0.2:6008": skew}
				})
				ctx, cancel := context.WithCancel(t.Context())
				go r.up.every(ctx, 100*time.Millisecond)
				for range 6 {
					r.after(20 * time.Second) // too short to be healthy: the next host is tried
					r.up.last().fault <- errLost
				}
				r.after(time.Minute)
				cancel()
				r.after(time.Minute)
				r.wantEachOnce(0)
				if s := r.status(); s.Gaps != 0 {
					t.Fatalf("%d gaps", s.Gaps)
				}
			})
		})
	}
}

func TestI2_YoungStreamAndAHostFarBehindLoseNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(r *rig) {
			r.cfg.Feeds[0].Endpoints = endpoints("ws://127.0.0.1:6008", "ws://127.0.0.2:6008")
			r.up.skew = map[string]time.Duration{"127.0.0.2:6008": -7 * time.Minute}
		})
		ctx, cancel := context.WithCancel(t.Context())
		go r.up.every(ctx, 100*time.Millisecond)
		r.after(time.Second)
		// The life is too short to be healthy, so the feed goes to the host whose clock is behind.
		// The position lies in that host's future.
		r.up.last().fault <- errLost
		r.after(time.Minute)
		cancel()
		r.after(time.Second)
		if got := r.up.last().host; got != "127.0.0.2:6008" {
			t.Fatalf("it is at %s", got)
		}
		r.wantEachOnce(0)
	})
}

func TestI2_HostFarBehindThatHasNothingNewIsAskedForMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(r *rig) {
			r.cfg.Feeds[0].Endpoints = endpoints("ws://127.0.0.1:6008", "ws://127.0.0.2:6008")
			r.up.skew = map[string]time.Duration{"127.0.0.2:6008": -7 * time.Minute}
		})
		r.up.publish(100)
		r.after(time.Second)
		r.up.publish(1)
		r.up.last().set(true, false) // the last event before the end is not delivered
		r.up.publish(10)
		r.up.last().fault <- errLost
		r.after(2 * time.Minute)
		r.wantEachOnce(0)
	})
}

func TestFilterChangedAcrossARestartBringsNothingFromBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.up.publish(100)
		r.after(time.Minute)
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		r.cfg.Feeds[0].Collections = []string{"app.bsky.feed.post"}
		r.start()
		r.after(time.Second)
		r.wantExactlyPublished(0)
	})
}

package supervisor_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/actors"
	"tempestd/internal/jetstream"
	"tempestd/internal/observe"
)

// A feed that was live and has had no event yet has a position all the same: it asks for the events
// that come while its first connection is down.
func TestI2_AFeedThatNeverHadAnEventLosesNoneToItsFirstReconnect(t *testing.T) {
	for _, undated := range []bool{false, true} {
		t.Run(fmt.Sprintf("undated=%v", undated), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(r *rig) { r.up.undated = undated })
				r.after(30 * time.Minute)
				r.up.last().fault <- errLost
				r.up.publish(3) // during the backoff
				r.after(time.Minute)
				r.up.publish(2)
				r.after(time.Minute)
				r.wantExactlyPublished(0)
				if s := r.status(); s.Gaps != 0 {
					t.Fatalf("%d gaps", s.Gaps)
				}
			})
		})
	}
}

// A failover goes to a host whose clock is minutes behind and whose first frames are not wanted.
// These frames prove nothing, and every dial waits for its backoff.
func TestI2_FramesThatAreNotWantedProveNothing(t *testing.T) {
	for _, undated := range []bool{false, true} {
		t.Run(fmt.Sprintf("undated=%v", undated), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(r *rig) {
					r.cfg.Feeds[0].Endpoints = endpoints("ws://127.0.0.1:6008", "ws://127.0.0.2:6008")
					r.cfg.Feeds[0].Kinds = []string{"commit"}
					r.up.skew = map[string]time.Duration{"127.0.0.2:6008": -7 * time.Minute}
					r.up.localFilter, r.up.undated = true, undated
				})
				ctx, cancel := context.WithCancel(t.Context())
				stopped := make(chan struct{})
				go func() {
					defer close(stopped)
					for ctx.Err() == nil {
						time.Sleep(200 * time.Millisecond)
						r.up.publishIdentity()
						time.Sleep(200 * time.Millisecond)
						r.up.publish(1)
					}
				}()
				r.after(20 * time.Second)
				r.up.set(func() { r.up.refuse = r.up.firstIsAway })
				r.up.last().fault <- errLost
				r.after(30 * time.Minute)
				cancel()
				<-stopped
				r.after(time.Second)
				commits := 0
				for _, e := range r.up.events {
					if !isIdentity(e.json) {
						commits++
					}
				}
				if s := r.status(); len(r.store.all()) != commits || s.Gaps != 0 || r.up.dialCount() > 40 {
					t.Fatalf("%d of %d stored, %d gaps, %d dials", len(r.store.all()), commits, s.Gaps, r.up.dialCount())
				}
			})
		})
	}
}

func isIdentity(event []byte) bool { return string(eventKind(event)) == "identity" }

// A server's clock steps back further than the dedupe horizon reaches. The events that it stamps
// from then on are new.
func TestI2_AServersClockThatStepsBackDropsNothing(t *testing.T) {
	for _, undated := range []bool{false, true} {
		for _, legacy := range []bool{false, true} {
			t.Run(fmt.Sprintf("undated=%v legacy=%v", undated, legacy), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t, func(r *rig) {
						r.cfg.Feeds[0].DedupeHorizon.Entries = 1000
						r.up.undated, r.up.legacy = undated, legacy
					})
					for range 50 {
						r.up.publish(100)
						r.after(10 * time.Second)
					}
					r.up.set(func() { r.up.offset = -time.Hour })
					r.up.last().fault <- errLost
					r.after(10 * time.Second)
					for range 20 {
						r.up.publish(10)
						r.after(10 * time.Second)
					}
					r.after(5 * time.Minute)
					r.wantEachOnce(0)
				})
			})
		}
	}
}

// A quiet feed is older than the replay window, and its host's clock is wrong. The times at which
// the feed was at the tip are on the host's clock.
func TestI2_AQuietFeedOfAHostWhoseClockIsOff(t *testing.T) {
	for _, skew := range []time.Duration{0, -5 * time.Second, -30 * time.Second, -time.Hour, time.Hour} {
		for _, undated := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v undated=%v", skew, undated), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t, func(r *rig) {
						r.up.skew = map[string]time.Duration{"127.0.0.1:6008": skew}
						r.up.undated = undated
						r.cfg.Feeds[0].ReplayWindow = 2 * time.Hour
					})
					r.up.publish(3)
					r.after(3 * time.Hour)
					r.up.last().fault <- errLost
					r.up.publish(2)
					r.after(10 * time.Minute)
					r.up.publish(1)
					r.after(time.Minute)
					if s := r.status(); len(r.store.all()) != 6 || s.Gaps != 0 {
						t.Fatalf("%d of 6 stored, %d gaps", len(r.store.all()), s.Gaps)
					}
				})
			})
		}
	}
}

// One event that its server stamped minutes ahead moves no position past the present.
func TestI2_OneEventFromTheFutureHidesNoOutage(t *testing.T) {
	for _, legacy := range []bool{false, true} {
		for _, undated := range []bool{false, true} {
			t.Run(fmt.Sprintf("legacy=%v undated=%v", legacy, undated), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t, func(r *rig) { r.up.legacy, r.up.undated = legacy, undated })
					for range 20 {
						r.up.publish(5)
						r.after(time.Second)
					}
					r.up.set(func() { r.up.offset = 4 * time.Minute })
					r.up.publish(1)
					r.up.set(func() { r.up.offset = 0 })
					r.after(time.Second)
					r.up.set(func() { r.up.refuse = func(int) error { return errLost } })
					r.up.last().fault <- errLost
					for range 20 {
						r.up.publish(5) // during the outage
						r.after(time.Second)
					}
					r.up.set(func() { r.up.refuse = nil })
					r.after(5 * time.Minute)
					r.wantEachOnce(0)
					if s := r.status(); s.Gaps != 0 {
						t.Fatalf("%d gaps", s.Gaps)
					}
				})
			})
		}
	}
}

// Events that a server repeats on a live connection are stored once.
func TestI2_ARepeatOnALiveConnectionIsStoredOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(r *rig) { r.cfg.Feeds[0].Dedupe = "always" })
		for range 100 {
			r.up.publish(1000)
			r.after(time.Second)
		}
		n := len(r.store.all())
		r.up.mu.Lock()
		again := append([]upstreamEvent(nil), r.up.events[len(r.up.events)-90_000:]...)
		for i := range again {
			again[i].seq = int64(len(r.up.events) + 1)
			r.up.events = append(r.up.events, again[i])
		}
		close(r.up.changed)
		r.up.changed = make(chan struct{})
		r.up.mu.Unlock()
		r.after(time.Minute)
		if got := len(r.store.all()); got != n {
			t.Fatalf("%d entries, %d of them twice", got, got-n)
		}
	})
}

// Every gap entry, whatever its cause, is one log event and is counted.
func TestI9_EveryGapEntryIsToldAndCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.up.publish(100)
		r.after(time.Minute)
		lost := r.up.last()
		r.up.set(func() { r.up.deafToCursors = true })
		lost.fault <- errLost
		r.up.publish(5)
		r.after(2 * time.Minute)
		r.up.publish(7)
		r.after(time.Second)
		entries := 0
		for _, e := range r.store.all() {
			if string(eventKind(e)) == "gap" {
				entries++
			}
		}
		if s := r.status(); entries == 0 || r.events(observe.FeedGapped) != entries || int(s.Gaps) != entries {
			t.Fatalf("%d gap entries, %d told, %d counted", entries, r.events(observe.FeedGapped), s.Gaps)
		}
	})
}

// A filter changes while the upstream crashes and numbers its events anew. No event that both
// filters want is missed, and none is stored twice.
func TestI2_AFilterChangedWhileTheUpstreamCrashes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(r *rig) { r.up.fixedFilter = true })
		for range 30 {
			r.up.publish(20)
			r.after(time.Second)
		}
		r.up.set(func() { r.up.refuse = func(int) error { return errLost } })
		r.up.last().fault <- errLost
		changed := r.cfg.Feeds[0]
		changed.Collections = []string{"app.bsky.feed.post"}
		if err := r.daemon.UpdateFilter(t.Context(), changed); err != nil {
			t.Fatal(err)
		}
		r.after(2 * time.Second)
		r.up.publish(50) // seen by no connection
		r.after(time.Second)
		r.up.renumber(300)
		r.up.set(func() { r.up.refuse = nil })
		r.after(time.Minute)
		r.up.publish(10)
		r.after(time.Minute)
		seen := make(map[string]int)
		for _, e := range r.store.all() {
			seen[string(rkeyOf(e))]++
		}
		for n := 1; n <= r.up.made; n++ {
			if got := seen[fmt.Sprintf("k%d", n)]; got != 1 {
				t.Errorf("event %d is stored %d times", n, got)
			}
		}
	})
}

// rkeyOf is the key of the record of a commit.
func rkeyOf(event []byte) []byte {
	_, after, _ := bytes.Cut(event, []byte(`"rkey":"`))
	key, _, _ := bytes.Cut(after, []byte(`"`))
	return key
}

// One name leads to several instances, each with numbers, times and an order of its own. Whichever
// instance answers, nothing is lost or doubled, and no gap is recorded.
func TestI2_SeveralInstancesAnswerForOneHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n *network
		turn := 0
		r := newRig(t, func(r *rig) {
			wall := &wallClock{Clock: clockwork.NewRealClock()}
			n = &network{began: time.Now(), wall: wall, changed: make(chan struct{}), hosts: make(map[string]*host)}
			for i, ahead := range []time.Duration{0, 40 * time.Second, -40 * time.Second} {
				name := fmt.Sprint(i)
				n.hosts[name] = &host{net: n, name: name, rnd: rand.New(rand.NewPCG(7, uint64(i))), up: true, dated: true, ahead: ahead,
					nextSeq: int64(i) * 1_000_000, conns: make(map[*hostConn]bool)}
			}
			r.dial = func(ctx context.Context, req jetstream.Request) (actors.Upstream, error) {
				turn++
				return n.dialAt(fmt.Sprint(turn%3), req)
			}
			r.cfg.Feeds[0].Dedupe = "always"
		})
		r.after(time.Second)
		from := n.made
		for range 60 {
			for range 40 {
				r.after(300 * time.Millisecond)
				n.produce(1)
			}
			n.mu.Lock()
			for _, h := range n.hosts {
				h.cut()
			}
			n.mu.Unlock()
		}
		r.after(10 * time.Minute)
		n.produce(1)
		r.after(time.Minute)
		seen := make(map[int]int)
		for _, e := range r.store.all() {
			seen[contentOf(e)]++
		}
		for c := from; c < n.made; c++ {
			if seen[c] != 1 {
				t.Fatalf("content %d is stored %d times", c, seen[c])
			}
		}
		if s := r.status(); s.Gaps != 0 {
			t.Errorf("%d gaps", s.Gaps)
		}
	})
}

// An event that says to be of next year is stored under a time of today. Else every event of a year
// would follow it by one.
func TestAnEventOfNextYearGetsNoIDOfNextYear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.up.publish(5)
		r.after(time.Second)
		r.up.set(func() { r.up.offset = 365 * 24 * time.Hour })
		r.up.publish(1)
		r.up.set(func() { r.up.offset = 0 })
		r.up.publish(5)
		r.after(time.Second)
		r.wantExactlyPublished(0)
		r.store.set(func() {
			if most := time.Now().Add(time.Minute); r.store.last.TimeUS() > most.UnixMicro() {
				t.Errorf("the newest entry is %s, of %s", r.store.last, time.UnixMicro(r.store.last.TimeUS()))
			}
		})
	})
}

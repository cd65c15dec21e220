package supervisor_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tempestd/internal/observe"
	"tempestd/messages"
)

func TestI4_PastTheReplayWindowIsAGapEntryAndLiveAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.up.publish(10)
		r.after(time.Minute)
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		r.up.publish(5) // missed
		r.after(13 * time.Hour)
		r.start()
		r.after(time.Second)
		r.up.publish(7)
		r.after(time.Second)

		all := r.store.all()
		if len(all) != 18 || !strings.Contains(string(all[10]), `"kind":"gap"`) || !strings.Contains(string(all[10]), `"cause":"replay_window"`) {
			t.Fatalf("%d entries, the 11th is %s", len(all), all[min(10, len(all)-1)])
		}
		if s := r.status(); s.State != messages.StateLive || s.Gaps != 1 {
			t.Fatalf("state %s, %d gaps", s.State, s.Gaps)
		}
		if r.events(observe.FeedGapped) != 1 {
			t.Fatal("the gap was not told once")
		}
		r.store.set(func() {
			if r.store.orphans > 0 {
				t.Error("the gap's row was not stored with its entry")
			}
		})
		// A restart right after the gap does not record the gap again. Its overlap may bring events
		// of the gap, each of them once.
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		r.start()
		r.after(time.Second)
		seen := map[string]bool{}
		for _, e := range r.store.all() {
			if seen[string(e)] {
				t.Fatalf("twice in the stream: %s", e)
			}
			seen[string(e)] = true
		}
		if got := strings.Count(fmt.Sprintf("%s", r.store.all()), `"kind":"gap"`); got != 1 {
			t.Fatalf("%d gap entries after another restart", got)
		}
	})
}

func TestI4_ADisconnectRightAfterAGapIsNoSecondGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.up.publish(10)
		r.after(time.Minute)
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		r.after(13 * time.Hour)
		r.start()
		r.after(time.Minute)
		r.up.last().fault <- errLost
		r.after(time.Hour)
		r.up.publish(1)
		r.after(time.Second)
		if got := strings.Count(fmt.Sprintf("%s", r.store.all()), `"kind":"gap"`); got != 1 {
			t.Fatalf("%d gap entries", got)
		}
		r.wantExactlyPublished(0)
	})
}

func TestI4_AServerThatDoesNotReplayIsAGapEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.up.publish(100)
		r.after(time.Minute)
		lost := r.up.last()
		r.up.set(func() { r.up.deafToCursors = true })
		lost.fault <- errLost
		r.up.publish(5) // missed, and never replayed
		r.after(time.Minute)
		r.up.publish(7)
		r.after(time.Second)
		all := r.store.all()
		if len(all) != 108 || !strings.Contains(string(all[100]), `"cause":"server_moved"`) {
			t.Fatalf("%d entries, the 101st is %s", len(all), all[min(100, len(all)-1)])
		}
	})
}

func TestQuietFeedIsNoGapHoweverOldItsLastEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.up.publish(1)
		r.after(20 * time.Hour)
		r.up.last().fault <- errLost
		r.up.publish(1) // while the feed is disconnected
		r.after(10 * time.Second)
		r.wantExactlyPublished(0)
		if s := r.status(); s.Gaps != 0 {
			t.Fatalf("%d gaps", s.Gaps)
		}
	})
}

// Another host is asked for a time, rewound, and so sends what was there before again: an event that
// was too large is a gap already.
func TestI4_AnOversizedEventIsOneGapHoweverOftenItIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(r *rig) {
			r.up.oversized = 10
			r.cfg.Feeds[0].Endpoints = endpoints("ws://127.0.0.1:6008", "ws://127.0.0.2:6008")
		})
		r.up.publish(25)
		r.after(time.Second)
		for range 3 { // too short to be healthy: the next host is asked
			r.up.last().fault <- errLost
			r.after(3 * time.Second)
		}
		hosts := map[string]bool{}
		for _, d := range r.up.dials {
			hosts[d.host] = true
		}
		gaps := 0
		for _, e := range r.store.all() {
			if string(eventKind(e)) == "gap" {
				gaps++
			}
		}
		if n := len(r.store.all()); gaps != 2 || n != 25 || len(hosts) != 2 {
			t.Errorf("%d entries, %d gaps, from %d hosts", n, gaps, len(hosts))
		}
	})
}

// A gap after a failover has times of one clock: that of the host that says that it does not go back
// so far. A time of the former host's clock would leave out what is missing.
func TestI4_AGapAfterAFailoverIsOnTheNewHostsClock(t *testing.T) {
	for _, behind := range []time.Duration{time.Hour, -time.Hour} {
		for _, undated := range []bool{false, true} {
			t.Run(fmt.Sprintf("behind %v, undated %v", behind, undated), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t, func(r *rig) {
						r.cfg.Feeds[0].Endpoints = endpoints("ws://127.0.0.1:6008/subscribe", "ws://127.0.0.2:6008/subscribe")
						r.up.tells, r.up.undated, r.up.skew = true, undated, map[string]time.Duration{"127.0.0.2:6008": -behind}
					})
					r.up.publish(10)
					r.after(20 * time.Second)
					r.up.dead()
					r.after(20 * time.Second)
					r.up.publish(5) // missed
					missed := time.Now().Add(-behind).UnixMicro()
					r.after(20 * time.Second)
					r.up.set(func() { r.up.events, r.up.refuse = r.up.events[15:], r.up.firstIsAway })
					r.up.publish(5)
					r.after(5 * time.Minute)

					var gaps []messages.Gap
					for _, e := range r.store.all() {
						var entry struct{ Gap messages.Gap }
						if string(eventKind(e)) == "gap" && json.Unmarshal(e, &entry) == nil {
							gaps = append(gaps, entry.Gap)
						}
					}
					if len(gaps) != 1 || gaps[0].Host != "127.0.0.2:6008" || gaps[0].FromUS > missed || gaps[0].ToUS < missed || gaps[0].FromUS < missed-3*time.Hour.Microseconds() {
						t.Fatalf("missed %d, the gaps are %+v", missed, gaps)
					}
					if s := r.status(); s.State != messages.StateLive || s.Stored != 16 {
						t.Errorf("%s: %d entries", s.State, s.Stored)
					}
				})
			})
		}
	}
}

// A feed that has no event yet asks for a little more than it covers. An upstream whose oldest event
// is from before the feed, and that says that it does not go back so far, has lost nothing of it.
func TestI4_AnUpstreamThatIsYoungerThanTheRewindHasLostNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var before *upstream
		r := newRig(t, func(r *rig) {
			before = r.up
			before.tells = true
			before.publish(1)
			time.Sleep(3 * time.Second) // less than the rewind
		})
		r.after(time.Second)
		r.up.dead()
		r.after(20 * time.Minute)
		r.up.publish(5)
		r.up.alive()
		r.after(2 * time.Minute)
		if s := r.status(); s.State != messages.StateLive || s.Gaps != 0 || s.Stored < 5 {
			t.Errorf("%s: %d gaps, %d entries", s.State, s.Gaps, s.Stored)
		}
	})
}

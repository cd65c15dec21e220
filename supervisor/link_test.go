package supervisor_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// A feed makes progress on a link that cuts after a number of events, even where the position might
// be rewound by more than that.
func TestI2_ALinkThatCutsAgainAndAgainGetsOn(t *testing.T) {
	for _, legacy := range []bool{false, true} {
		for _, cut := range []int{1, 2, 7, 100} {
			if legacy && cut == 1 {
				continue // a time cannot ask for the next event without the last one
			}
			t.Run(fmt.Sprintf("legacy=%v every %d", legacy, cut), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t, func(r *rig) {
						r.up.legacy = legacy
						r.cfg.Feeds[0].Backoff = []time.Duration{100 * time.Millisecond, 200 * time.Millisecond}
					})
					r.up.publish(500)
					r.after(time.Second)
					r.up.set(func() { r.up.cutAfter = cut })
					r.up.last().fault <- errLost
					r.up.publish(40 * cut)
					r.after(5 * time.Minute)
					r.wantEachOnce(0)
					if s := r.status(); s.Gaps != 0 {
						t.Fatalf("%d gaps", s.Gaps)
					}
					sent := 0
					for _, c := range r.up.conns[1:] {
						sent += c.sent
					}
					t.Logf("%d events sent for %d stored, %d dials", sent, 40*cut, r.up.dialCount())
				})
			})
		}
	}
}

// With a slow store, the events of a connection are committed after the connection has ended. They
// count as progress all the same: nothing is passed over.
func TestI2_ALinkThatCutsBeforeASlowStoreHasWritten(t *testing.T) {
	for _, legacy := range []bool{false, true} {
		t.Run(fmt.Sprintf("legacy=%v", legacy), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(r *rig) {
					r.up.legacy = legacy
					r.cfg.Feeds[0].Backoff = []time.Duration{10 * time.Millisecond, 20 * time.Millisecond}
				})
				r.up.publish(10)
				r.after(time.Second)
				r.store.set(func() { r.store.pace = 100 * time.Millisecond })
				r.up.set(func() { r.up.cutAfter = 3 })
				r.up.last().fault <- errLost
				r.up.publish(100)
				r.after(time.Minute)
				r.wantEachOnce(0)
				if s := r.status(); s.Gaps != 0 || r.up.dialCount() > 120 {
					t.Errorf("%d gaps, %d dials", s.Gaps, r.up.dialCount())
				}
			})
		})
	}
}

// On a link that cuts, each connection fetches a part of the events. A feed that makes progress
// waits no longer than it must.
func TestI2_ALinkThatCutsCarriesWhatItCan(t *testing.T) {
	for _, legacy := range []bool{false, true} {
		t.Run(fmt.Sprintf("legacy=%v", legacy), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(r *rig) { r.up.legacy = legacy }) // with the default backoff
				r.up.publish(100)
				r.after(time.Second)
				r.up.set(func() { r.up.cutAfter = 500 })
				for range 5 * 60 {
					r.up.publish(200)
					r.after(time.Second)
				}
				r.up.set(func() { r.up.cutAfter = 0 })
				// The events that a legacy server left out are fetched once a connection lasts.
				r.after(2 * time.Minute)
				r.wantEachOnce(0)
				if s := r.status(); s.Gaps != 0 || r.up.dialCount() > 400 {
					t.Fatalf("%d gaps, %d dials", s.Gaps, r.up.dialCount())
				}
			})
		})
	}
}

// farBehind gives a feed two hosts, neither of which tells its clock. The second host's clock is an
// hour behind the first one's.
func farBehind(r *rig) {
	r.cfg.Feeds[0].Endpoints = endpoints("ws://127.0.0.1:6008", "ws://127.0.0.2:6008")
	r.up.skew = map[string]time.Duration{"127.0.0.1:6008": 50 * time.Minute, "127.0.0.2:6008": -10 * time.Minute}
	r.up.undated = true
}

// A busy feed restarts while its host is unreachable. It continues on a host whose clock is an hour
// behind, and neither host tells its clock. The pace of the events shows that the host began at its
// live tip, so nothing is held up for minutes.
func TestI2_ABusyFeedIsNotHeldUpByAHostFarBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, farBehind)
		ctx, cancel := context.WithCancel(t.Context())
		go r.up.every(ctx, 20*time.Millisecond)
		r.after(20 * time.Second)
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		r.up.set(func() { r.up.refuse = r.up.firstIsAway })
		r.start()
		r.after(30 * time.Second)
		if n, all := len(r.store.all()), 50*50; n < all-200 {
			t.Errorf("%d of %d events are stored half a minute later", n, all)
		}
		cancel()
		r.after(10 * time.Minute)
		r.wantEachOnce(0)
		if s := r.status(); s.Gaps != 0 || r.up.dialCount() > 10 {
			t.Errorf("%d gaps, %d dials", s.Gaps, r.up.dialCount())
		}
	})
}

// The same with a feed that gets a few events and then none for long. The events do not wait for
// the next one.
func TestI2_AFewEventsOfAHostFarBehindDoNotWaitForMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, farBehind)
		r.up.publish(100)
		r.after(20 * time.Second)
		r.up.set(func() { r.up.refuse = r.up.firstIsAway })
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		r.start()
		r.after(5 * time.Second)
		r.up.publish(5)
		r.after(3 * time.Minute)
		r.wantEachOnce(0)
		if s := r.status(); s.Gaps != 0 || r.up.dialCount() > 10 {
			t.Errorf("%d gaps, %d dials", s.Gaps, r.up.dialCount())
		}
	})
}

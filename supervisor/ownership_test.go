package supervisor_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tempestd/internal/observe"
	"tempestd/messages"
	"tempestd/persistence"
)

func TestAFeedRunsWhileItsLeaseIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newShared(t, nil)
		r.wantState(messages.StateLive)
		if s := r.status(); s.Owner != "one" || s.Fence != 1 {
			t.Errorf("owner %q at epoch %d", s.Owner, s.Fence)
		}
		for range 6 { // longer than a lease lasts
			r.up.publish(50)
			r.after(leaseTTL / 2)
		}
		r.wantOnce(observe.LeaseGranted)
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		r.wantOnce(observe.LeaseReleased)
		if owner := r.leases.owner(feedName); owner != "" {
			t.Errorf("the stopped daemon left the lease to %q", owner)
		}
		r.wantExactlyPublished(0)
	})
}

func TestASecondDaemonWaitsForTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := newShared(t, nil)
		two := one.beside("two")
		one.up.publish(100)
		one.after(time.Minute)
		two.wantState(messages.StateStandby)
		two.wantOnce(observe.LeaseHeld)
		if ready := two.daemon.Ready(t.Context()); !ready.Ready {
			t.Errorf("a standby is not ready: %v", ready.Reasons)
		}
		for _, command := range []func() error{
			func() error { return two.daemon.Pause(t.Context(), feedName) },
			func() error { return two.daemon.Resume(t.Context(), feedName) },
			func() error { return two.daemon.Reconnect(t.Context(), feedName) },
		} {
			if err := command(); !errors.Is(err, messages.ErrNotNow) || !strings.Contains(err.Error(), "owned by one") {
				t.Errorf("a command to the standby: %v", err)
			}
		}
		if err := one.stop(); err != nil {
			t.Fatal(err)
		}
		one.up.publish(100)
		two.after(2 * time.Second)
		two.wantState(messages.StateLive)
		two.wantExactlyPublished(0)
		if err := two.daemon.Reconnect(t.Context(), feedName); err != nil {
			t.Errorf("a command to the owner: %v", err)
		}
	})
}

// A daemon that did not run for a while finds that another one owns the stream. Its appends are
// refused, it becomes a standby, and it owns the stream again later.
func TestI6_AFencedOwnerStandsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newShared(t, nil)
		r.up.publish(100)
		r.after(time.Second)
		// Its lease ran out unnoticed, and another daemon took it.
		r.leases.mu.Lock()
		r.leases.at(feedName).until = time.Now()
		r.leases.mu.Unlock()
		other := messages.Node{ID: "x", Name: "other"}
		if _, err := r.leases.Acquire(t.Context(), feedName, other, leaseTTL); err != nil {
			t.Fatal(err)
		}
		stored := len(r.store.all())
		r.up.publish(100)
		r.after(time.Second)
		r.wantState(messages.StateStandby)
		r.wantOnce(observe.LeaseLost)
		if now := len(r.store.all()); now != stored {
			t.Errorf("the fenced daemon appended %d entries", now-stored)
		}
		if s := r.status(); s.Owner != "other" || s.Fence != 2 {
			t.Errorf("it says that %q is the owner, at epoch %d", s.Owner, s.Fence)
		}
		r.after(leaseTTL + time.Second) // the other daemon does not renew its lease
		r.wantState(messages.StateLive)
		r.wantExactlyPublished(0)
		if n := r.events(observe.ActorFailed); n > 0 {
			t.Errorf("%d actors failed\n%s", n, r.log)
		}
	})
}

func TestI2_AStoreThatIsAwayIsWaitedFor(t *testing.T) {
	for name, outage := range map[string]time.Duration{"shorter than a lease": leaseTTL / 2, "longer": 5 * leaseTTL} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newShared(t, nil)
				r.up.publish(100)
				r.after(5 * time.Second)
				r.leases.setAway(true)
				r.up.publish(100)
				r.after(outage)
				long := outage > leaseTTL
				if long {
					r.wantState(messages.StateStandby)
					r.wantOnce(observe.LeaseLost)
				} else {
					r.wantState(messages.StateBackpressured)
				}
				r.up.publish(100)
				r.leases.setAway(false)
				r.after(5 * time.Second)
				r.wantState(messages.StateLive)
				r.wantExactlyPublished(0)
				if want := map[bool]uint64{false: 1, true: 2}[long]; r.status().Fence != want {
					t.Errorf("the lease's epoch is %d, want %d", r.status().Fence, want)
				}
			})
		})
	}
}

func TestADaemonStartsAndStopsWhileTheStoreIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newShared(t, func(r *rig) { r.leases.setAway(true) })
		r.after(time.Minute)
		r.wantState(messages.StateStandby)
		if s := r.status(); !strings.Contains(s.Reason, "unavailable") {
			t.Errorf("its reason is %q", s.Reason)
		}
		if err := r.daemon.Healthy(t.Context()); err != nil {
			t.Error(err)
		}
		r.leases.setAway(false)
		r.after(time.Second)
		r.wantState(messages.StateLive)
		r.up.publish(10)
		r.after(time.Second)
		r.leases.setAway(true)
		r.up.publish(10)
		r.after(time.Second)
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 3*leaseTTL)
		defer cancel()
		if err := r.daemon.Stop(ctx, "test"); err != nil {
			t.Errorf("it stopped with %v", err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %v to stop", took)
		}
		r.wantOnce(observe.AppendGivenUp)
		r.leases.setAway(false)
		r.after(leaseTTL)
		r.start()
		r.after(time.Minute)
		r.wantExactlyPublished(0)
	})
}

// A server came back with older data. The events that the stream lost are read again from its
// present end.
func TestI2_AStreamThatWentBackIsReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newShared(t, nil)
		r.up.publish(100)
		r.after(time.Second)
		r.store.mu.Lock()
		blocks, last, cp, entries := r.store.blocks, r.store.last, *r.store.cp, r.store.entries
		r.store.mu.Unlock()
		r.up.publish(100)
		r.after(time.Second)
		r.store.mu.Lock()
		found := r.store.last
		r.store.blocks, r.store.last, r.store.cp, r.store.entries = blocks, last, &cp, entries
		conflicts := 1
		r.store.fail = func() error {
			if conflicts--; conflicts < 0 {
				return nil
			}
			return &persistence.ConflictError{Stream: feedName, Expected: found, Found: last}
		}
		r.store.mu.Unlock()
		r.up.publish(100)
		r.after(5 * time.Second)
		r.wantState(messages.StateLive)
		r.wantOnce(observe.StoreTruncated)
		r.wantExactlyPublished(0)
		if n := r.events(observe.ActorFailed); n > 0 {
			t.Errorf("%d actors failed\n%s", n, r.log)
		}
	})
}

func TestAClosedStreamEndsTheReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.up.publish(10)
		r.after(time.Second)
		r.store.failWith(func() error { return persistence.ErrStreamClosed })
		r.up.publish(10)
		r.after(time.Minute)
		r.wantState(messages.StateStopped)
		if err := r.daemon.Resume(t.Context(), feedName); !errors.Is(err, messages.ErrNotNow) {
			t.Errorf("resume: %v", err)
		}
		if err := r.stop(); err != nil {
			t.Errorf("it stopped with %v", err)
		}
	})
}

// The answer to a renewal is slow, and then the store is away. The lease ends here when it ends in
// the store, which counts from the request.
func TestI6_ALeaseCountsFromTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newShared(t, func(r *rig) { r.leases.slow = leaseTTL / 2 })
		r.after(leaseTTL/3 + leaseTTL/4) // the first renewal was asked for, and is not answered
		r.wantState(messages.StateLive)
		r.leases.setAway(true)
		r.after(leaseTTL)
		r.wantOnce(observe.LeaseLost)
	})
}

// A position is saved when its events are stored, and not while they are on their way.
func TestI1_APositionIsNotSavedBeforeItsEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.up.publish(10)
		r.after(10 * time.Second)
		thaw := r.store.freeze()
		r.up.publish(10)
		r.after(10 * time.Second)
		r.store.set(func() {
			if saved, stored := r.store.saved, r.store.cp; saved == nil || saved.TimeUS > stored.TimeUS {
				t.Errorf("%+v was saved, and %+v is stored", saved, stored)
			}
		})
		thaw()
		r.store.set(func() { r.store.frozen = nil })
		r.after(time.Second)
		r.wantExactlyPublished(0)
	})
}

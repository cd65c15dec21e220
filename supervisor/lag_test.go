package supervisor_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"tempestd/internal/jetstream"
	"tempestd/messages"
	"tempestd/persistence"
)

// wantLag fails unless the status and the metric both show a lag between least and most.
func (r *rig) wantLag(least, most time.Duration) {
	r.t.Helper()
	lag := time.Duration(r.status().LagMS) * time.Millisecond
	gauge := time.Duration(testutil.ToFloat64(r.obs.Metrics().Lag.WithLabelValues(feedName)) * float64(time.Second))
	if lag < least || lag > most || gauge < least-2*time.Second || gauge > most {
		r.t.Fatalf("the lag is %v, as a metric %v; want %v to %v", lag, gauge, least, most)
	}
}

// dead makes the upstream refuse every dial and lose its connection.
func (u *upstream) dead() {
	u.mu.Lock()
	u.refuse = func(int) error { return errLost }
	u.mu.Unlock()
	u.last().fault <- errLost
}

func (u *upstream) alive() {
	u.mu.Lock()
	u.refuse = nil
	u.mu.Unlock()
}

func TestI9_TheLagIsTrueWhileNothingIsStored(t *testing.T) {
	busy := func(r *rig) (stop func()) {
		ctx, cancel := context.WithCancel(r.t.Context())
		go r.up.every(ctx, 50*time.Millisecond)
		r.after(time.Minute)
		return cancel
	}
	t.Run("a dead upstream", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, nil)
			defer busy(r)()
			r.wantLag(0, 200*time.Millisecond)
			r.up.dead()
			r.after(17 * time.Second)
			r.wantLag(17*time.Second, 18*time.Second)
			r.up.alive()
			r.after(time.Minute)
			r.wantLag(0, 200*time.Millisecond)
		})
	})
	t.Run("a dead upstream whose socket stays open", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, nil)
			defer busy(r)()
			r.up.last().set(true, true)
			r.after(4 * time.Second) // the watchdog has not fired yet
			r.wantLag(3*time.Second, 5*time.Second)
		})
	})
	t.Run("a full disk", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, nil)
			defer busy(r)()
			r.store.failWith(func() error { return &persistence.NoSpaceError{Dir: "data"} })
			r.after(40 * time.Second)
			r.wantLag(40*time.Second, 41*time.Second)
			r.store.failWith(nil)
			r.after(10 * time.Second)
			r.wantLag(0, 200*time.Millisecond)
		})
	})
	t.Run("a feed that is paused", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, nil)
			defer busy(r)()
			if err := r.daemon.Pause(t.Context(), feedName); err != nil {
				t.Fatal(err)
			}
			r.after(time.Hour)
			r.wantLag(time.Hour, time.Hour+time.Second)
		})
	})
	t.Run("a quiet feed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, nil)
			for range 5 {
				r.up.publish(1)
				r.after(time.Hour)
			}
			r.wantLag(0, 0)
			r.up.dead()
			r.after(17 * time.Second)
			r.wantLag(17*time.Second, 19*time.Second) // and not an hour
		})
	})
	t.Run("a start without an upstream", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, nil)
			r.up.publish(10)
			r.after(time.Second)
			if err := r.stop(); err != nil {
				t.Fatal(err)
			}
			r.up.alive()
			r.up.set(func() { r.up.refuse = func(int) error { return errLost } })
			r.after(time.Hour)
			r.start()
			r.after(time.Minute)
			r.wantLag(time.Hour+time.Minute, time.Hour+62*time.Second)
			if s := r.status(); s.Position.Seq != 10 || s.LastID == nil {
				t.Errorf("the position is %+v, the last entry %v", s.Position, s.LastID)
			}
		})
	})
	t.Run("another daemon's feed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newShared(t, nil)
			r.up.publish(10)
			other := r.beside("two")
			r.after(time.Minute)
			other.wantState(messages.StateStandby)
			other.wantLag(0, 0)
		})
	})
}

// wantReady fails unless the daemon is ready, or, with words, is not ready for a reason of those
// words.
func (r *rig) wantReady(words string) {
	r.t.Helper()
	ready := r.daemon.Ready(context.Background())
	if words == "" && !ready.Ready || words != "" && !strings.Contains(strings.Join(ready.Reasons, "\n"), words) {
		r.t.Fatalf("ready %v: %q, want %q", ready.Ready, ready.Reasons, words)
	}
}

func TestAFeedThatCannotStoreIsNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.up.publish(10)
		r.after(time.Second)
		r.store.failWith(func() error { return errors.New("NOPE no permission to call EVAL") })
		r.up.publish(10)
		r.after(10 * time.Second)
		r.wantReady("feed bluesky cannot store: the store refuses: ")
		r.store.failWith(nil)
		r.after(time.Minute)
		r.wantReady("")
	})
}

func TestAStandbyForWantOfPermissionIsNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newShared(t, func(r *rig) { r.leases.refusal = errors.New("NOPE no permission to call EVAL") })
		r.after(10 * time.Second)
		r.wantState(messages.StateStandby)
		r.wantReady("NOPE no permission")
		r.after(time.Hour)
		if n := r.leases.acquired; n > 150 {
			t.Errorf("the lease was asked for %d times in an hour", n)
		}
		r.leases.mu.Lock()
		r.leases.refusal = nil
		r.leases.mu.Unlock()
		r.after(time.Minute)
		r.wantState(messages.StateLive)
		r.wantReady("")
		other := r.beside("two")
		other.after(time.Minute)
		other.wantState(messages.StateStandby)
		other.wantReady("") // another daemon owns the feed, which is no fault
	})
}

func TestAFeedThatIsRefusedIsNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(r *rig) {
			r.up.refuse = func(int) error { return &jetstream.RefusedError{Status: 400, Message: "bad", Permanent: true} }
		})
		r.after(time.Minute)
		r.wantReady("feed bluesky is refused by its upstream: ")
	})
}

// An upstream that sends events and cuts again and again, while nothing new is stored, is not
// merely unreachable.
func TestAFeedThatGetsNowhereIsNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// A legacy server can only be asked for the last event again.
		r := newRig(t, func(r *rig) { r.up.legacy = true })
		r.up.publish(10)
		r.after(time.Minute)
		for range 300 { // each connection brings events that are already stored
			select {
			case r.up.last().fault <- errLost:
			default:
			}
			r.after(2 * time.Second)
		}
		r.wantReady("has stored nothing new")
		r.up.publish(1)
		r.after(time.Minute)
		r.wantReady("")
		r.up.dead() // unreachable
		r.after(time.Hour)
		r.wantReady("")
	})
}

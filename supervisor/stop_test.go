package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"tempestd/internal/observe"
	"tempestd/messages"
	"tempestd/persistence"
)

func TestPauseAndResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.up.publish(10)
		r.after(time.Second)
		if err := r.daemon.Pause(t.Context(), feedName); err != nil {
			t.Fatal(err)
		}
		r.after(time.Hour)
		r.up.publish(10)
		if s := r.status(); s.State != messages.StatePaused || s.Stored != 10 || r.up.dialCount() != 1 || s.Stalls != 0 {
			t.Fatalf("paused: %+v after %d dials", s, r.up.dialCount())
		}
		if err := r.daemon.Reconnect(t.Context(), feedName); err == nil {
			t.Fatal("a paused feed was reconnected")
		}
		if err := r.daemon.Healthy(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := r.daemon.Resume(t.Context(), feedName); err != nil {
			t.Fatal(err)
		}
		r.after(time.Second)
		r.wantExactlyPublished(0)
		if err := r.daemon.Pause(t.Context(), "nobody"); !errors.Is(err, messages.ErrNoFeed) {
			t.Fatalf("pausing a feed that is not there: %v", err)
		}
	})
}

func TestGracefulStopStoresEverythingRead(t *testing.T) {
	for _, before := range []time.Duration{0, time.Millisecond, 10 * time.Millisecond, time.Second} {
		t.Run(fmt.Sprint(before), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, nil)
				r.up.publish(2000)
				r.after(before)
				if err := r.stop(); err != nil {
					t.Fatal(err)
				}
				read := 0
				if len(r.up.conns) > 0 {
					read = r.up.last().next
				}
				if got := len(r.store.all()); got != read {
					t.Fatalf("%d events were read, %d stored", read, got)
				}
				r.store.mu.Lock()
				if read > 0 && (r.store.saved == nil || r.store.saved.Seq != int64(read)) {
					t.Fatalf("the saved checkpoint is %+v, want seq %d", r.store.saved, read)
				}
				r.store.mu.Unlock()
				r.start()
				r.after(time.Minute)
				r.wantExactlyPublished(0)
			})
		})
	}
}

// A stop does not wait for a store that takes nothing. The events that it did not take are read
// again.
func TestI2_AStopDoesNotWaitForAStoreThatTakesNothing(t *testing.T) {
	for name, fault := range map[string]error{"full": &persistence.NoSpaceError{Dir: "data"}, "unknown": errors.New("ERR this store is out of order")} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, nil)
				r.up.publish(10)
				r.after(time.Second)
				r.store.failWith(func() error { return fault })
				r.up.publish(10)
				r.after(time.Minute)
				start := time.Now()
				if err := r.stop(); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(start); took > time.Second {
					t.Fatalf("the stop took %v", took)
				}
				r.wantOnce(observe.AppendGivenUp)
				r.store.failWith(nil)
				r.start()
				r.after(time.Minute)
				r.wantExactlyPublished(0)
			})
		})
	}
}

func TestStopIsBoundedWhenTheStoreHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.up.publish(10)
		r.after(time.Second)
		thaw := r.store.freeze()
		defer thaw()
		r.up.publish(10)
		r.after(time.Second)
		start := time.Now()
		if err := r.stop(); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("stop: %v, want that its time ran out", err)
		}
		if took := time.Since(start); took > 11*time.Second {
			t.Fatalf("the stop took %v, its limit is 10 s", took)
		}
	})
}

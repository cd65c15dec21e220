package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tempestd/internal/config"
	"tempestd/internal/observe"
	"tempestd/messages"
	"tempestd/persistence"
)

// wishes is how many commands of each kind an operator, or an operator's script, sends. It is fewer
// with the race detector, which makes the tests long.
func wishes() int {
	if raceEnabled {
		return 1000
	}
	return 10_000
}

// wish is a command that is sent to a feed again and again.
type wish struct {
	name string
	do   func(r *rig, n int) error
}

func pauseAndResume(r *rig, _ int) error {
	return errors.Join(r.daemon.Pause(context.Background(), feedName), r.daemon.Resume(context.Background(), feedName))
}

func changeFilter(r *rig, n int) error {
	return r.daemon.UpdateFilter(context.Background(), config.Feed{Name: feedName, Collections: []string{fmt.Sprintf("app.bsky.feed.post%d", n%7)}})
}

func reconnect(r *rig, _ int) error { return r.daemon.Reconnect(context.Background(), feedName) }

func anyWish(r *rig, n int) error {
	return []func(*rig, int) error{pauseAndResume, changeFilter, reconnect}[n%3](r, n)
}

var storm = []wish{{"pause and resume", pauseAndResume}, {"filters", changeFilter}, {"reconnects", reconnect}, {"all of them", anyWish}}

// rain sends a wish many times. Some follow each other at once, some after a moment. Each answer
// must come at once.
func (r *rig) rain(w wish, times int) {
	r.t.Helper()
	for n := range times {
		began := time.Now()
		if err := w.do(r, n); err != nil && !errors.Is(err, messages.ErrNotNow) {
			r.t.Fatalf("wish %d: %v", n, err)
		}
		if took := time.Since(began); took > 0 {
			r.t.Fatalf("wish %d was answered after %v", n, took)
		}
		if n%10 == 0 {
			r.after(time.Duration(n%300) * time.Millisecond)
		}
	}
}

// wantNoFault fails if an actor failed or was restarted.
func (r *rig) wantNoFault() {
	r.t.Helper()
	select {
	case err := <-r.daemon.Failed():
		r.t.Fatalf("the daemon failed: %v", err)
	default:
	}
	if n := r.events(observe.ActorFailed) + r.events(observe.ActorRestarted) + r.events(observe.ActorEscalated); n > 0 {
		i := strings.Index(r.log.String(), "actor.")
		r.t.Fatalf("%d faults: %.1000s", n, r.log.String()[max(i-300, 0):])
	}
}

// TestI2_AStormOfWishesWhileTheStoreTakesNothing tests that repeated commands are merged into the
// newest one, that nothing restarts, and that nothing is lost once the store takes appends again.
func TestI2_AStormOfWishesWhileTheStoreTakesNothing(t *testing.T) {
	stores := []struct {
		name string
		stop func(r *rig) (restore func())
	}{
		{"full", func(r *rig) func() {
			r.store.failWith(func() error { return &persistence.NoSpaceError{Dir: "data", Free: 1, Need: 2} })
			return func() { r.store.failWith(nil) }
		}},
		{"away", func(r *rig) func() {
			r.store.failWith(func() error {
				return &persistence.UnavailableError{Store: "valkey at test", Reason: "timeout", Err: errors.New("it did not answer in time")}
			})
			return func() { r.store.failWith(nil) }
		}},
		{"frozen", func(r *rig) func() { return r.store.freeze() }},
		{"refusing", func(r *rig) func() {
			r.store.failWith(func() error { return errors.New("EPERM this store has lost its mind") })
			return func() { r.store.failWith(nil) }
		}},
	}
	for i, s := range stores {
		for k, w := range storm {
			if k != 3 && i != 0 && i != 2 {
				continue // every wish on two of the stores, the mixture on all
			}
			t.Run(s.name+"/"+w.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var asked atomic.Int64
					r := newRig(t, func(r *rig) {
						r.fault = func(point string) {
							if strings.HasSuffix(point, "writer *messages.Quiesce") {
								asked.Add(1)
							}
						}
					})
					r.up.publish(10)
					r.after(time.Second)
					restore := s.stop(r)
					r.up.publish(1000)
					r.after(time.Second)
					before, dials := asked.Load(), r.up.dialCount()
					r.rain(w, wishes())
					if n := asked.Load() - before; n > 2 {
						t.Errorf("the writer was asked %d times to finish while it could not", n)
					}
					if n := r.up.dialCount() - dials; n > 2 {
						t.Errorf("%d connections were made for a store that takes nothing", n)
					}
					r.wantNoFault()
					_ = r.daemon.Resume(t.Context(), feedName)
					restore()
					r.after(2 * time.Minute)
					r.wantNoFault()
					r.up.publish(10)
					r.after(time.Second)
					r.wantState(messages.StateLive)
					r.wantExactlyPublished(0)
				})
			})
		}
	}
}

// The same with a store that takes everything. Every command is carried out, and nothing is lost or
// doubled.
func TestI2_AStormOfWishesOnALiveFeed(t *testing.T) {
	for _, w := range storm {
		t.Run(w.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, nil)
				ctx, cancel := context.WithCancel(t.Context())
				go r.up.every(ctx, 50*time.Millisecond)
				r.after(time.Second)
				r.rain(w, wishes()/10)
				cancel()
				_ = r.daemon.Resume(t.Context(), feedName)
				r.after(2 * time.Minute)
				r.wantNoFault()
				r.wantExactlyPublished(0)
			})
		})
	}
}

// The same while the feed moves to another daemon and back.
func TestI2_AStormOfWishesDuringAHandOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := newShared(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		go one.up.every(ctx, 50*time.Millisecond)
		one.after(time.Second)
		two := one.beside("two")
		stopped := make(chan error, 1)
		for round := range 3 {
			from, to := one, two
			if round%2 == 1 {
				from, to = two, one
			}
			go func() { stopped <- from.daemon.Stop(context.Background(), "test") }()
			for n := range wishes() {
				for _, r := range []*rig{from, to} {
					// A daemon that does not own the feed refuses, and a daemon that has stopped
					// does not answer.
					_ = anyWish(r, n)
				}
				if n%100 == 0 {
					to.after(time.Duration(n%300) * time.Millisecond)
				}
			}
			if err := <-stopped; err != nil {
				t.Fatal(err)
			}
			_ = to.daemon.Resume(t.Context(), feedName)
			to.after(leaseTTL + time.Minute)
			to.wantNoFault()
			to.wantState(messages.StateLive)
			from.start()
		}
		cancel()
		one.after(time.Second)
		one.wantExactlyPublished(0)
	})
}

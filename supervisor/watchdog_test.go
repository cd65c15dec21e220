package supervisor_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tempestd/internal/observe"
	"tempestd/messages"
	"tempestd/persistence"
)

func TestStalledUpstreamIsReconnectedWithinTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		go r.up.every(ctx, 2*time.Millisecond)
		r.after(time.Minute)
		r.up.last().set(true, false)
		r.after(10 * time.Second)
		if s := r.status(); s.State != messages.StateLive || s.Epoch != 2 || s.Stalls != 1 {
			t.Fatalf("state %s, epoch %d, %d stalls, 10 s after the stall", s.State, s.Epoch, s.Stalls)
		}
		cancel()
		r.after(10 * time.Millisecond) // before the silence that follows is suspect as well
		r.wantExactlyPublished(0)
	})
}

func TestUpstreamThatIsSilentFromTheStartIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		go r.up.every(ctx, 10*time.Millisecond)
		r.after(time.Minute)
		cancel()
		r.after(time.Second)
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		r.start() // no events come any more
		r.after(5 * time.Minute)
		if s := r.status(); s.Stalls == 0 || s.Stalls > 5 {
			t.Fatalf("%d stalls", s.Stalls)
		}
	})
}

func TestHalfOpenSocketIsReconnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.up.publish(1)
		r.after(time.Hour)
		r.up.last().set(true, true)
		r.up.publish(1)
		r.after(30 * time.Second) // ping_interval is 15 s, and the wait for a pong 10 s
		if s := r.status(); s.Epoch != 2 || s.State != messages.StateLive {
			t.Fatalf("epoch %d, state %s", s.Epoch, s.State)
		}
		r.wantExactlyPublished(0)
	})
}

func TestQuietFeedIsLeftAloneForAWeek(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		go r.up.every(ctx, time.Hour)
		r.after(week() + time.Minute)
		cancel()
		if s := r.status(); s.Epoch != 1 || s.Stalls != 0 || s.State != messages.StateLive || s.Stored != uint64(week()/time.Hour) {
			t.Fatalf("epoch %d, %d stalls, state %s, %d stored", s.Epoch, s.Stalls, s.State, s.Stored)
		}
	})
}

func TestI5_BackpressureIsBoundedAndNoStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(r *rig) { r.cfg.Feeds[0].StaleAfter = 30 * time.Second })
		ctx, cancel := context.WithCancel(t.Context())
		go r.up.every(ctx, 10*time.Millisecond)
		r.after(time.Minute)
		r.store.failWith(func() error { return &persistence.NoSpaceError{Dir: "data", Free: 1, Need: 2} })
		r.after(10 * time.Minute)
		s := r.status()
		if s.State != messages.StateBackpressured || s.Stalls != 0 || s.Epoch != 1 {
			t.Fatalf("state %s, %d stalls, epoch %d", s.State, s.Stalls, s.Epoch)
		}
		if ahead := r.up.last().next - r.store.entries; ahead > 3*256 {
			t.Fatalf("%d events were read ahead of the store, want 3 batches of 256 at most", ahead)
		}
		if err := r.daemon.Healthy(t.Context()); err != nil {
			t.Fatalf("a full disk makes the tree unhealthy: %v", err)
		}
		r.store.failWith(nil)
		r.after(time.Minute)
		if s := r.status(); s.State != messages.StateLive {
			t.Fatalf("state %s after there was room again", s.State)
		}
		cancel()
		r.after(time.Second)
		r.wantExactlyPublished(0)
		if f, g := r.events(observe.AppendFailed), r.events(observe.AppendResumed); f != 1 || g != 1 {
			t.Errorf("told %d failures and %d recoveries, want one of each", f, g)
		}
	})
}

func TestBlindHostIsLeftAndNoCommitIsMissing(t *testing.T) {
	for name, after := range map[string]time.Duration{"auto": 0, "given": time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(r *rig) {
					r.cfg.Feeds[0].Endpoints = endpoints("ws://127.0.0.1:6008", "ws://127.0.0.2:6008")
					r.cfg.Feeds[0].BlindAfter = after
				})
				ctx, cancel := context.WithCancel(t.Context())
				go r.up.every(ctx, 100*time.Millisecond)
				go func() {
					for ctx.Err() == nil {
						time.Sleep(time.Second)
						r.up.publishIdentity()
					}
				}()
				r.after(10 * time.Minute)
				blind := r.up.last()
				blind.mu.Lock()
				blind.blind = true
				blind.mu.Unlock()
				r.after(2 * time.Minute)
				s := r.status()
				if s.State != messages.StateLive || s.Stalls != 1 || s.Endpoint != "ws://127.0.0.2:6008" {
					t.Fatalf("state %s at %s after %d stalls", s.State, s.Endpoint, s.Stalls)
				}
				if !strings.Contains(r.log.String(), `"cause":"blind"`) {
					t.Error("it was not told as blind")
				}
				cancel()
				r.after(2 * time.Second)
				want := map[string]bool{}
				for _, e := range r.up.events {
					want[string(e.json)] = true
				}
				for _, e := range r.store.all() {
					if !want[string(e)] {
						t.Fatalf("twice in the stream, or never sent: %s", e)
					}
					delete(want, string(e))
				}
				if len(want) > 0 {
					t.Fatalf("%d events are missing", len(want))
				}
			})
		})
	}
}

func TestNarrowFeedIsNeverCalledBlind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(r *rig) {
			r.cfg.Feeds[0].Endpoints = append(r.cfg.Feeds[0].Endpoints, endpoints("ws://127.0.0.2:6008")...)
		})
		ctx, cancel := context.WithCancel(t.Context())
		go r.up.every(ctx, time.Hour) // a commit an hour, and noise all the time
		go func() {
			for ctx.Err() == nil {
				time.Sleep(10 * time.Second)
				r.up.publishIdentity()
			}
		}()
		r.after(week())
		cancel()
		if s := r.status(); s.Stalls != 0 || s.Epoch != 1 {
			t.Fatalf("%d stalls, epoch %d", s.Stalls, s.Epoch)
		}
		r.after(time.Minute)
	})
}

// The machine slept: the wall clock went on, and the monotonic clock did not. The socket is not
// waited for.
func TestAMachineThatSleptReconnectsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var slept atomic.Int64
		r := newRig(t, func(r *rig) {
			r.mono = func() time.Duration { return time.Since(began) - time.Duration(slept.Load()) }
		})
		r.up.publish(1)
		r.after(10 * time.Second)
		slept.Store(int64(5 * time.Second)) // no sleep, but a clock that is set
		r.after(5 * time.Second)
		if s := r.status(); s.Epoch != 1 {
			t.Fatalf("epoch %d, %s", s.Epoch, s.Reason)
		}
		slept.Add(int64(time.Minute))
		r.after(3 * time.Second)
		if s := r.status(); s.Epoch != 2 || s.State != messages.StateLive {
			t.Fatalf("epoch %d, state %s", s.Epoch, s.State)
		}
		r.wantExactlyPublished(0)
	})
}

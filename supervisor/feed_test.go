package supervisor_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tempestd/internal/jetstream"
	"tempestd/internal/observe"
	"tempestd/messages"
)

func TestFeedGoesLiveAndStoresWhatComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.up.publish(1000)
		r.after(time.Second)
		r.wantExactlyPublished(0)
		s := r.status()
		if s.State != messages.StateLive || s.Stored != 1000 || s.Position.Seq != 1000 || s.Position.Host != "127.0.0.1:6008" {
			t.Fatalf("status %+v", s)
		}
		if err := r.daemon.Healthy(t.Context()); err != nil {
			t.Fatal(err)
		}
		if ready := r.daemon.Ready(t.Context()); !ready.Ready {
			t.Fatalf("not ready: %v", ready.Reasons)
		}
	})
}

func TestDialsFollowTheBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(r *rig) { r.up.refuse = func(int) error { return errLost } })
		r.after(5 * time.Minute)
		for i := 1; i < len(r.up.dials); i++ {
			wait, want := r.up.dials[i].at.Sub(r.up.dials[i-1].at), schedule[min(i-1, len(schedule)-1)]
			if wait < want/2 || wait > want {
				t.Errorf("dial %d came after %v, want %v to %v", i+1, wait, want/2, want)
			}
		}
		if n := len(r.up.dials); n < 10 {
			t.Errorf("%d dials in 5 minutes", n)
		}
		if err := r.daemon.Healthy(t.Context()); err != nil {
			t.Errorf("a feed that waits for its backoff makes the tree unhealthy: %v", err)
		}
		if !r.daemon.Ready(t.Context()).Ready {
			t.Error("a dead upstream makes the daemon not ready")
		}
	})
}

func TestPermanentRefusalIsNotHammered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(r *rig) {
			r.up.refuse = func(int) error { return &jetstream.RefusedError{Status: 400, Message: "bad", Permanent: true} }
		})
		r.after(10 * time.Minute)
		if n := r.up.dialCount(); n > 5 {
			t.Errorf("%d dials in 10 minutes", n)
		}
		if s := r.status(); s.State != messages.StateFailed || s.NextAttemptAt == nil {
			t.Errorf("state %s, next attempt %v", s.State, s.NextAttemptAt)
		}
	})
}

func TestI9_EveryDisconnectIsOneEventAndOneMetric(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		for n := 1; n <= 5; n++ {
			r.up.publish(10)
			r.after(time.Second)
			r.up.last().fault <- errLost
			r.after(time.Minute)
			if got := r.events(observe.FeedDisconnected); got != n {
				t.Fatalf("%d disconnects counted after %d", got, n)
			}
			if got := strings.Count(r.log.String(), `"event":"feed.disconnected"`); got != n {
				t.Fatalf("%d disconnects logged after %d", got, n)
			}
			if got := r.events(observe.FeedLive); got != n+1 {
				t.Fatalf("live %d times after %d disconnects", got, n)
			}
		}
		if s := r.status(); s.Reconnects != 5 || s.Restarts != 0 {
			t.Fatalf("%d reconnects, %d restarts", s.Reconnects, s.Restarts)
		}
	})
}

func TestI2_NothingIsLostOrDoubledAcrossDisconnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		go r.up.every(ctx, 2*time.Millisecond)
		for range 20 {
			r.after(1700 * time.Millisecond)
			select {
			case r.up.last().fault <- errLost:
			default:
			}
		}
		cancel()
		r.after(2 * time.Minute)
		r.wantExactlyPublished(0)
		if r.status().Duplicates == 0 {
			t.Error("no overlap was replayed: the test shows nothing")
		}
	})
}

func TestI2_AFailingWriterLosesAndDoublesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		go r.up.every(ctx, 50*time.Millisecond)
		for i := range 6 {
			r.after(30 * time.Second)
			failed := false
			r.store.failWith(func() error {
				if failed {
					return nil
				}
				failed = true
				if i%2 == 0 {
					panic("a fault of ours")
				}
				return errors.New("input/output error")
			})
		}
		r.after(time.Minute)
		cancel()
		r.after(time.Minute)
		r.wantExactlyPublished(0)
		s := r.status()
		// The three refusals of the store are no faults of ours.
		if s.State != messages.StateLive || s.Restarts != 3 {
			t.Errorf("state %s after %d restarts", s.State, s.Restarts)
		}
		if got := r.events(observe.ActorRestarted); got != 3 {
			t.Errorf("%d restarts told, want 3", got)
		}
	})
}

func TestI1_TheCheckpointNeverLeadsTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go r.up.every(ctx, 3*time.Millisecond)
		for range 300 {
			r.after(97 * time.Millisecond)
			r.store.mu.Lock()
			durable := int64(r.store.entries)
			for name, cp := range map[string]*messages.Checkpoint{"stream": r.store.cp, "cursor": r.store.saved} {
				if cp != nil && cp.Seq > durable {
					t.Errorf("the %s's checkpoint covers %d of %d durable events", name, cp.Seq, durable)
				}
			}
			r.store.mu.Unlock()
		}
		if r.store.saved == nil {
			t.Error("the cursor saved nothing")
		}
	})
}

func TestForceReconnectIsSafeAtAnyMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		go r.up.every(ctx, 10*time.Millisecond)
		r.after(time.Second)
		for range 50 { // in any state of the feed
			if err := r.daemon.Reconnect(t.Context(), feedName); err != nil {
				t.Fatal(err)
			}
		}
		r.after(time.Second)
		if s := r.status(); s.State != messages.StateLive || int(s.Epoch) != r.up.dialCount() {
			t.Fatalf("state %s in epoch %d after %d dials", s.State, s.Epoch, r.up.dialCount())
		}
		r.up.set(func() { r.up.refuse = func(int) error { return errLost } })
		r.up.last().fault <- errLost
		r.after(20 * time.Second)
		r.up.set(func() { r.up.refuse = nil })
		if err := r.daemon.Reconnect(t.Context(), feedName); err != nil { // during the backoff
			t.Fatal(err)
		}
		r.after(10 * time.Millisecond)
		if s := r.status(); s.State != messages.StateLive {
			t.Fatalf("state %s right after a reconnect during the backoff", s.State)
		}
		cancel()
		r.after(time.Second)
		r.wantExactlyPublished(0)
	})
}

func TestTooManyFaultsEndTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.store.failWith(func() error { panic("broken for good") })
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go r.up.every(ctx, 10*time.Millisecond)
		start := time.Now()
		select {
		case err := <-r.daemon.Failed():
			if !strings.Contains(err.Error(), "broken for good") {
				t.Errorf("the reason is %v", err)
			}
		case <-time.After(10 * time.Minute):
			t.Fatal("the root did not give up")
		}
		if took := time.Since(start); took < 10*time.Second {
			t.Errorf("it gave up after %v already", took)
		}
		if r.events(observe.ActorEscalated) == 0 {
			t.Error("no escalation was told")
		}
		if r.daemon.Ready(t.Context()).Ready {
			t.Error("it is ready")
		}
	})
}

func TestSequenceSpaceThatBeganAnewIsResumedByTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.up.publish(20_000)
		r.after(time.Second)
		lost := r.up.last()
		r.up.renumber(100)
		lost.fault <- errLost
		r.after(5 * time.Second)
		r.up.publish(10)
		r.after(5 * time.Second)
		if s := r.status(); s.State != messages.StateLive || s.Stored != 20_010 {
			t.Fatalf("state %s, %d stored", s.State, s.Stored)
		}
	})
}

func TestNextEndpointIsTriedWhenOneGivesNoHealthyConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(r *rig) {
			r.cfg.Feeds[0].Endpoints = endpoints("ws://127.0.0.1:6008", "ws://127.0.0.2:6008")
			r.up.refuse = func(n int) error {
				if n == 2 {
					return errLost
				}
				return nil
			}
		})
		// Dial 1 is healthy, dial 2 is refused, dial 3 is healthy at the second host, and dial 4
		// goes back to the preferred host.
		want := []string{"127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.1"}
		r.up.publish(10)
		for range 2 {
			r.after(time.Minute)
			r.up.last().fault <- errLost
			r.up.publish(10)
		}
		r.after(time.Minute)
		if len(r.up.dials) != len(want) {
			t.Fatalf("%d dials, want %d: %v\n%s", len(r.up.dials), len(want), r.up.dials, r.log)
		}
		for i, d := range r.up.dials {
			if d.host != want[i]+":6008" {
				t.Errorf("dial %d went to %s, want %s", i+1, d.host, want[i])
			}
			if host, _, ok := d.cursor.Sequence(); ok && host != d.host {
				t.Errorf("dial %d sent a sequence number of %s to %s", i+1, host, d.host)
			}
		}
		r.wantExactlyPublished(0)
	})
}

func TestSequenceIsExactWhateverEndedTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		go r.up.every(ctx, 20*time.Millisecond)
		for _, end := range []error{
			&jetstream.EndError{Ending: jetstream.Ending{Cause: jetstream.CauseServerClose, Code: 1001, Clean: true}},
			errLost,
		} {
			r.after(20 * time.Second)
			dials := r.up.dialCount()
			r.up.refuse = func(n int) error {
				if n == dials+1 {
					return errLost // a server that restarts refuses for a while
				}
				return nil
			}
			r.up.last().fault <- end
			r.after(30 * time.Second)
			_, seq, ok := r.up.dials[dials+1].cursor.Sequence()
			r.store.mu.Lock()
			first := r.up.conns[len(r.up.conns)-2].next // events that the ended connection had read
			r.store.mu.Unlock()
			if !ok || int(seq) != first {
				t.Errorf("after %q sequence %d was asked for; %d had been read", end, seq, first)
			}
		}
		cancel()
		r.after(time.Second)
		r.wantExactlyPublished(0)
	})
}

// A request that comes as soon as the daemon is started finds its feed.
func TestTheFirstRequestFindsItsFeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		for range 30 {
			if err := r.stop(); err != nil {
				t.Fatal(err)
			}
			r.launch()
			if s := r.status(); s.Feed != feedName {
				t.Fatalf("%+v", s)
			}
			synctest.Wait()
		}
	})
}

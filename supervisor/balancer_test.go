package supervisor_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"tempestd/internal/observe"
	"tempestd/messages"
)

// newFleet starts the first of the daemons that share the store and these feeds.
func newFleet(t *testing.T, feeds ...string) *rig {
	return newShared(t, func(r *rig) { r.share(feeds) })
}

// share makes a rig one of the daemons that share these feeds.
func (r *rig) share(feeds []string) {
	r.cfg.HA.Enabled = true
	first := r.cfg.Feeds[0]
	r.cfg.Feeds, r.node.Streams = nil, feeds
	for _, name := range feeds {
		first.Name = name
		r.cfg.Feeds = append(r.cfg.Feeds, first)
	}
}

// join starts another daemon that shares them.
func (r *rig) join(name string) *rig {
	r.t.Helper()
	return newRig(r.t, func(other *rig) {
		sharing(r.leases, name)(other)
		other.up = r.up
		other.share(r.node.Streams)
	})
}

// owned lists the feeds that the daemon reads.
func (r *rig) owned() []string {
	r.t.Helper()
	all, err := r.daemon.Feeds(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	var owned []string
	for _, s := range all {
		if s.State == messages.StateLive {
			owned = append(owned, s.Feed)
		}
	}
	return owned
}

// total is how often an event was logged, for any feed.
func (r *rig) total(e observe.Event) (n int) {
	return bytes.Count([]byte(r.log.String()), fmt.Appendf(nil, `"event":%q`, e))
}

// wantExact fails unless every stream holds every published event, once and in order.
func (r *rig) wantExact() {
	r.t.Helper()
	for _, feed := range r.node.Streams {
		r.store = r.leases.stream(feed)
		r.wantExactlyPublished(0)
	}
}

// publishing publishes at a steady rate until the returned function is called.
func (r *rig) publishing() (stop func()) {
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.up.every(ctx, 200*time.Millisecond)
	}()
	return func() {
		cancel()
		<-done
	}
}

func TestI2_FeedsAreSpreadOverTheDaemons(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := newFleet(t, "a", "b", "c", "d")
		one.after(time.Second)
		stop := one.publishing()
		one.after(time.Second)
		if got := one.owned(); len(got) != 4 {
			t.Fatalf("alone it owns %v", got)
		}
		two := one.join("two")
		two.after(leaseTTL / 2)
		if got := two.owned(); len(got) != 0 {
			t.Errorf("a daemon that has only just come was given %v", got)
		}
		two.after(leaseTTL)
		if got := [2]int{len(one.owned()), len(two.owned())}; got != [2]int{2, 2} {
			t.Fatalf("they own %v, want two each", got)
		}
		if n := one.total(observe.LeaseReleased); n != 2 {
			t.Errorf("%d leases were released, want 2", n)
		}
		first := one.owned()
		one.after(5 * leaseTTL)
		if got := one.owned(); !slices.Equal(got, first) || one.total(observe.LeaseLost)+two.total(observe.LeaseLost)+two.total(observe.LeaseReleased) > 0 {
			t.Errorf("they do not rest: %v, then %v", first, got)
		}
		// Feeds of a daemon that stops in good order are handed over at once.
		if err := one.stop(); err != nil {
			t.Fatal(err)
		}
		two.after(time.Second)
		if got := two.owned(); len(got) != 4 {
			t.Errorf("a second after the other stopped, it owns %v", got)
		}
		stop()
		two.after(time.Second)
		two.wantExact()
	})
}

func TestI6_AnotherDaemonTakesOverWithinTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := newFleet(t, feedName)
		one.after(time.Second)
		two := one.join("two")
		stop := one.publishing()
		two.after(2 * leaseTTL)
		if s := two.status(); s.State != messages.StateStandby || s.Owner != "one" || !slices.Equal(s.Standbys, []string{"two"}) {
			t.Fatalf("the second says %s, owner %q, standbys %v", s.State, s.Owner, s.Standbys)
		}
		if s := one.status(); s.Owner != "one" || !slices.Equal(s.Standbys, []string{"two"}) {
			t.Fatalf("the first says owner %q, standbys %v", s.Owner, s.Standbys)
		}
		one.leases.cutOff(one.node.ID, true)
		two.after(leaseTTL + 2*time.Second)
		two.wantState(messages.StateLive)
		one.wantState(messages.StateStandby)
		one.wantOnce(observe.LeaseLost)
		one.leases.cutOff(one.node.ID, false)
		two.after(5 * leaseTTL)
		one.wantState(messages.StateStandby) // a single feed does not move to and fro
		if s := one.status(); s.Owner != "two" || s.Fence != 2 {
			t.Errorf("the first says owner %q at epoch %d", s.Owner, s.Fence)
		}
		stop()
		two.after(time.Second)
		two.wantExact()
	})
}

func TestAPausedFeedStaysWhereItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := newFleet(t, "a", "b")
		one.after(time.Second)
		for _, feed := range one.node.Streams {
			if err := one.daemon.Pause(t.Context(), feed); err != nil {
				t.Fatal(err)
			}
		}
		two := one.join("two")
		two.after(5 * leaseTTL)
		if got := two.owned(); len(got) > 0 {
			t.Fatalf("paused feeds went to the other: %v", got)
		}
		for _, feed := range one.node.Streams {
			if err := one.daemon.Resume(t.Context(), feed); err != nil {
				t.Fatal(err)
			}
		}
		two.after(2 * time.Second)
		if got := [2]int{len(one.owned()), len(two.owned())}; got != [2]int{1, 1} {
			t.Errorf("they own %v, want one each", got)
		}
	})
}

// Daemons that are listed but take no feed leave no feed without an owner.
func TestAFeedIsNotLeftToADaemonThatDoesNotTakeIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leases := newLeaseStore()
		for i := range 9 {
			ghost := messages.Node{ID: fmt.Sprint("ghost ", i), Name: "ghost", Streams: []string{feedName}}
			if err := leases.Announce(t.Context(), ghost, 100*365*24*time.Hour); err != nil {
				t.Fatal(err)
			}
		}
		r := newRig(t, func(r *rig) {
			sharing(leases, "one")(r)
			r.share([]string{feedName})
		})
		r.after(leaseTTL + time.Second)
		r.wantState(messages.StateLive)
	})
}

func TestADaemonThatIsNoCandidateOwnsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := newFleet(t, feedName)
		one.after(time.Second)
		reader := newRig(t, func(r *rig) {
			sharing(one.leases, "reader")(r)
			r.up = one.up
			r.cfg.HA.Enabled, r.cfg.HA.Candidate, r.node = false, false, messages.Node{Name: "reader"}
		})
		reader.after(time.Second)
		if s := reader.status(); s.State != messages.StateStandby || s.Owner != "one" || len(s.Standbys) > 0 {
			t.Errorf("the reader says %s, owner %q, standbys %v", s.State, s.Owner, s.Standbys)
		}
		if err := one.stop(); err != nil {
			t.Fatal(err)
		}
		reader.after(5 * leaseTTL)
		reader.wantState(messages.StateStandby)
		if owner := one.leases.owner(feedName); owner != "" {
			t.Errorf("the lease is %q's", owner)
		}
	})
}

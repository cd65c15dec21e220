package supervisor_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tempestd/internal/jetstream"
	"tempestd/internal/observe"
	"tempestd/messages"
)

func TestFilterIsChangedOnTheOpenConnectionWhereTheUpstreamCan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.up.publish(10)
		r.after(time.Minute)
		changed := r.cfg.Feeds[0]
		changed.DIDs = []string{"did:plc:a"}
		if err := r.daemon.UpdateFilter(t.Context(), changed); err != nil {
			t.Fatal(err)
		}
		r.after(time.Minute)
		if got := r.up.last().filter.DIDs; len(got) != 1 || r.up.dialCount() != 1 {
			t.Fatalf("the connection's filter has DIDs %v after %d dials", got, r.up.dialCount())
		}
		// The next connection asks for the changed filter.
		r.up.publish(10)
		r.after(time.Second)
		r.up.last().fault <- errLost
		r.after(time.Minute)
		if _, seq, _ := r.up.dials[1].cursor.Sequence(); seq != 20 || len(r.up.last().filter.DIDs) != 1 {
			t.Fatalf("it resumed from %v with %v", r.up.dials[1].cursor, r.up.last().filter)
		}
		r.wantExactlyPublished(0)
	})
}

func TestI2_FilterIsChangedByAReconnectWhereItMust(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(r *rig) { r.up.fixedFilter = true })
		ctx, cancel := context.WithCancel(t.Context())
		go r.up.every(ctx, time.Millisecond)
		for i := range 10 {
			r.after(3 * time.Second)
			changed := r.cfg.Feeds[0]
			if i%2 == 0 {
				changed.Collections = []string{"app.bsky.feed.post"}
			}
			if err := r.daemon.UpdateFilter(t.Context(), changed); err != nil {
				t.Fatal(err)
			}
			r.after(time.Second)
		}
		cancel()
		r.after(time.Second)
		r.wantExactlyPublished(0)
		if s := r.status(); s.Reconnects != 10 || s.Gaps != 0 {
			t.Fatalf("%d reconnects, %d gaps", s.Reconnects, s.Gaps)
		}
	})
}

// A changed filter makes the feed ask again for events from before its beginning. None of those is
// stored, because they would stand behind later events.
func TestI2_WhatWasBeforeTheFeedBeganStaysOutWhenItsFilterChanges(t *testing.T) {
	for _, oversized := range []bool{false, true} {
		t.Run(fmt.Sprintf("oversized=%v", oversized), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(r *rig) {
					r.up.fixedFilter = true
					if oversized {
						r.up.oversized = 10
					}
					for range 50 {
						r.up.publish(1)
						time.Sleep(10 * time.Millisecond)
					}
				})
				for range 50 {
					r.up.publish(1)
					r.after(10 * time.Millisecond)
				}
				for _, collections := range [][]string{{"app.bsky.feed.post"}, nil} {
					changed := r.cfg.Feeds[0]
					changed.Collections = collections
					if err := r.daemon.UpdateFilter(t.Context(), changed); err != nil {
						t.Fatal(err)
					}
					r.after(time.Second)
				}
				r.up.publish(20)
				r.after(time.Minute)
				gaps := 0
				for i, e := range r.store.all() {
					var entry struct {
						Kind   string
						Cursor int
						Gap    struct{ Event struct{ Seq int } }
					}
					if err := json.Unmarshal(e, &entry); err != nil {
						t.Fatal(err)
					}
					seq := entry.Cursor
					if entry.Kind == "gap" {
						gaps++
						seq = entry.Gap.Event.Seq
					}
					if seq != 51+i {
						t.Fatalf("entry %d is %s", i, e)
					}
				}
				if n := len(r.store.all()); n != 70 || oversized != (gaps > 0) {
					t.Errorf("%d entries, %d gaps", n, gaps)
				}
			})
		})
	}
}

// A feed that has stored nothing asks for the moment at which it began when its filter changes. That
// a server itself began after that moment is no loss. If the feed was away for hours it may be one.
func TestI4_AFilterThatChangesBeforeAnythingIsStored(t *testing.T) {
	for away, gaps := range map[time.Duration]uint64{0: 0, 5 * time.Hour: 1} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, func(r *rig) { r.up.fixedFilter, r.up.tells = true, true })
			r.up.last().mu.Lock()
			r.up.last().stall = true // it has nothing that is wanted
			r.up.last().mu.Unlock()
			r.after(time.Second)
			if away > 0 {
				if err := r.stop(); err != nil {
					t.Fatal(err)
				}
				r.after(away)
			}
			r.up.publish(5)
			r.after(time.Second)
			changed := r.cfg.Feeds[0]
			changed.Collections = []string{"app.bsky.feed.post"}
			if away > 0 {
				r.cfg.Feeds[0] = changed
				r.start()
			} else if err := r.daemon.UpdateFilter(t.Context(), changed); err != nil {
				t.Fatal(err)
			}
			r.after(time.Minute)
			r.up.publish(5)
			r.after(time.Second)
			if s := r.status(); s.State != messages.StateLive || s.Gaps != gaps || s.Stored != 10+gaps {
				t.Errorf("after %v: %s, %d gaps, %d entries", away, s.State, s.Gaps, s.Stored)
			}
		})
	}
}

// A feed that its supervisor restarted uses the filter that it was given since the daemon started.
func TestAChangedFilterOutlivesItsFeedActor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.up.publish(10)
		r.after(time.Second)
		changed := r.cfg.Feeds[0]
		changed.Collections = []string{"app.bsky.feed.like"} // of which the upstream has none
		if err := r.daemon.UpdateFilter(t.Context(), changed); err != nil {
			t.Fatal(err)
		}
		r.up.publishIdentity()
		r.after(time.Second)
		broken := true
		r.store.failWith(func() error {
			if broken {
				panic("injected")
			}
			return nil
		})
		for range 20 {
			r.up.publishIdentity()
			r.after(time.Second)
		}
		r.store.set(func() { broken = false })
		r.after(time.Minute)
		if n := r.events(observe.ActorEscalated); n == 0 {
			t.Fatal("the feed was not begun anew")
		}
		if got := r.up.last().filter.Collections; !slices.Equal(got, changed.Collections) {
			t.Errorf("it asks for %v", got)
		}
		r.wantExactlyPublished(0)
	})
}

// A feed that follows an account, and does not know yet whom that follows, reads nothing. Its position
// stays, so nothing passes by meanwhile.
func TestI4_AFeedWaitsUntilItKnowsWhomToFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(r *rig) { r.cfg.Feeds[0].DIDs = []string{jetstream.Nobody} })
		use := func(dids ...string) {
			t.Helper()
			changed := r.cfg.Feeds[0]
			changed.DIDs = dids
			if err := r.daemon.UpdateFilter(t.Context(), changed); err != nil {
				t.Fatal(err)
			}
		}
		waits := func(dials int) {
			t.Helper()
			r.after(time.Hour)
			if s := r.status(); s.State != messages.StatePaused || !strings.Contains(s.Reason, "whom its account follows") || r.up.dialCount() != dials {
				t.Fatalf("%s: %s, %d dials", s.State, s.Reason, r.up.dialCount())
			}
		}
		waits(0)
		for _, command := range []func(context.Context, string) error{r.daemon.Reconnect, r.daemon.Pause, r.daemon.Resume} {
			if err := command(t.Context(), r.status().Feed); err != nil {
				t.Fatal(err)
			}
		}
		waits(0)
		use("did:plc:a")
		r.up.publish(10)
		r.after(time.Minute)
		if s := r.status(); s.State != messages.StateLive || s.Gaps+s.Reconnects != 0 || !slices.Equal(r.up.last().filter.DIDs, []string{"did:plc:a"}) {
			t.Fatalf("%+v", s)
		}
		use(jetstream.Nobody) // its account follows nobody any more
		r.after(time.Minute)
		r.up.last().fault <- errLost
		waits(1)
		position := r.status().Position
		use("did:plc:a", "did:plc:b")
		r.after(time.Minute)
		cursor := r.up.dials[len(r.up.dials)-1].cursor
		if s := r.status(); cursor.IsLive() || len(r.up.last().filter.DIDs) != 2 || s.State != messages.StateLive || s.Gaps > 0 {
			t.Errorf("resumed at %v of %+v with %v: %s, %d gaps", cursor, position, r.up.last().filter, s.State, s.Gaps)
		}
	})
}

// A filter changes, and another host goes on, which sends the feed's young stream from before its
// beginning. None of that is stored, however few events a batch has.
func TestI3_AFailoverAfterAChangedFilterStoresNothingFromBeforeTheFeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(r *rig) {
			feed := &r.cfg.Feeds[0]
			feed.BatchEvents = 1
			feed.Endpoints = endpoints("ws://127.0.0.1:6008/subscribe", "ws://127.0.0.2:6008/subscribe")
			r.up.fixedFilter, r.up.undated = true, true
			r.up.publish(20)
			time.Sleep(time.Second)
		})
		r.after(time.Second)
		for range 8 {
			r.up.publish(1)
			r.after(500 * time.Millisecond)
		}
		r.up.set(func() { r.up.refuse = r.up.firstIsAway })
		changed := r.cfg.Feeds[0]
		changed.Collections = []string{"app.bsky.feed.post"} // which is everything
		if err := r.daemon.UpdateFilter(t.Context(), changed); err != nil {
			t.Fatal(err)
		}
		for range 60 {
			r.up.publish(1)
			r.after(time.Second)
		}
		r.after(time.Minute)
		if s := r.status(); s.State != messages.StateLive || s.Gaps != 0 {
			t.Errorf("%s, %d gaps", s.State, s.Gaps)
		}
		r.wantExactlyPublished(20)
	})
}

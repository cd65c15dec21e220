package supervisor_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
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
		// The next connection asks for it, and rewinds: the position was reached with it.
		r.up.publish(10)
		r.after(time.Second)
		r.up.last().fault <- errLost
		r.after(time.Minute)
		if _, seq, _ := r.up.dials[1].cursor.Sequence(); seq != 1 || len(r.up.last().filter.DIDs) != 1 {
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
			before := r.up.conns[len(r.up.conns)-2].next // what the ended connection had read
			if _, seq, ok := r.up.dials[len(r.up.dials)-1].cursor.Sequence(); !ok || int(seq) != before {
				t.Fatalf("it resumed from %v, want the exact number %d", r.up.dials[len(r.up.dials)-1].cursor, before)
			}
		}
		cancel()
		r.after(time.Second)
		r.wantExactlyPublished(0)
		if s := r.status(); s.Reconnects != 10 {
			t.Fatalf("%d reconnects", s.Reconnects)
		}
	})
}

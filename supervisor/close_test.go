package supervisor_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tempestd/internal/observe"
	"tempestd/messages"
)

// A feed stops at once when an operator closes its stream, whatever the feed is doing. It stops for
// good: it does not connect after a restart either.
func TestCloseEndsTheFeed(t *testing.T) {
	for _, c := range []struct {
		when    string
		prepare func(r *rig)
	}{
		{"events come", func(r *rig) { r.up.publish(10); r.after(time.Second) }},
		{"nothing comes", func(r *rig) { r.after(time.Hour) }},
		{"it waits for its backoff", func(r *rig) { r.up.last().fault <- errLost; r.after(100 * time.Millisecond) }},
		{"it is paused", func(r *rig) {
			if err := r.daemon.Pause(r.t.Context(), feedName); err != nil {
				r.t.Fatal(err)
			}
			r.after(time.Second)
		}},
	} {
		t.Run(c.when, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, nil)
				r.after(time.Second)
				c.prepare(r)
				dials := r.up.dialCount()
				info, err := r.daemon.Close(t.Context(), feedName, "moved")
				if err != nil || info.ClosedAt == nil || info.ClosedReason != "moved" {
					t.Fatalf("closed with %+v, %v", info, err)
				}
				synctest.Wait()
				r.wantState(messages.StateStopped)
				if s := r.status(); !strings.Contains(s.Reason, "moved") {
					t.Errorf("the feed stopped because %q", s.Reason)
				}
				select {
				case <-r.up.last().done:
				default:
					t.Error("the upstream is still connected")
				}

				stored := len(r.store.all())
				r.up.publish(10)
				r.after(time.Hour)
				if n := len(r.store.all()); n != stored {
					t.Errorf("%d entries were stored after the end", n-stored)
				}
				again, err := r.daemon.Close(t.Context(), feedName, "another reason")
				if err != nil || again.ClosedReason != "moved" || !again.ClosedAt.Equal(*info.ClosedAt) {
					t.Errorf("closed again: %+v, %v", again, err)
				}
				for _, err := range []error{r.daemon.Reconnect(t.Context(), feedName), r.daemon.Pause(t.Context(), feedName), r.daemon.Resume(t.Context(), feedName)} {
					if !errors.Is(err, messages.ErrNotNow) {
						t.Errorf("a command about it: %v", err)
					}
				}
				if ready := r.daemon.Ready(t.Context()); !ready.Ready {
					t.Errorf("not ready: %v", ready.Reasons)
				}
				if err := r.daemon.Healthy(t.Context()); err != nil {
					t.Error(err)
				}
				if err := r.stop(); err != nil {
					t.Errorf("it stopped with %v", err)
				}

				r.start()
				r.after(time.Hour)
				r.wantState(messages.StateStopped)
				if n := r.up.dialCount(); n != dials {
					t.Errorf("%d dials for a stream that is closed", n-dials)
				}
				if n := r.events(observe.ActorFailed) + r.events(observe.ActorRestarted); n > 0 {
					t.Errorf("%d actors failed\n%s", n, r.log)
				}
			})
		})
	}
}

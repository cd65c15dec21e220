package supervisor_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"tempestd/messages"
)

func TestFeedRemembersWhatItDid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.up.publish(300)
		r.after(20 * time.Second)
		r.up.last().CloseNow()
		r.after(40 * time.Second)

		h, err := r.daemon.History(t.Context(), feedName, messages.HistoryQuery{})
		if err != nil {
			t.Fatal(err)
		}
		var states []messages.FeedState
		for _, transition := range h.Transitions {
			states = append(states, transition.To)
		}
		want := []messages.FeedState{"connecting", "live", "disconnected", "reconnecting", "live"}
		if len(states) != len(want) {
			t.Fatalf("it went through %v, want %v", states, want)
		}
		for i := range want {
			if states[i] != want[i] {
				t.Errorf("it went through %v, want %v", states, want)
				break
			}
		}
		events := uint64(0)
		for _, s := range h.Samples {
			events += s.Events
		}
		if events != 300 {
			t.Errorf("the samples hold %d events, want 300", events)
		}
		if _, err := r.daemon.History(t.Context(), "sea", messages.HistoryQuery{}); !errors.Is(err, messages.ErrNoFeed) {
			t.Errorf("a feed that does not exist: %v", err)
		}
	})
}

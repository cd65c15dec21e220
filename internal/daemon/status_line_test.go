package daemon

import (
	"testing"
	"time"

	"tempestd/messages"
)

func TestStatusLineSaysWhatIsWrongFirst(t *testing.T) {
	at := func(minute int) time.Time { return time.Date(2026, 11, 29, 14, minute, 0, 0, time.UTC) }
	live := func(name string) messages.FeedStatus {
		return messages.FeedStatus{Feed: name, State: messages.StateLive, EventsPerSec: 100, Since: at(0)}
	}
	away := func(name string, minute int, reason string) messages.FeedStatus {
		return messages.FeedStatus{Feed: name, State: messages.StateDisconnected, Reason: reason, Since: at(minute)}
	}
	for _, c := range []struct {
		feeds []messages.FeedStatus
		want  string
	}{
		{nil, "no feeds"},
		{[]messages.FeedStatus{live("sky")}, "sky live, 100 events/s"},
		{[]messages.FeedStatus{away("sky", 3, "refused")}, "sky disconnected since 2026-11-29T14:03:00Z: refused, 0 events/s"},
		{[]messages.FeedStatus{live("a"), live("b")}, "2 of 2 feeds live, 200 events/s"},
		{[]messages.FeedStatus{live("a"), away("b", 5, ""), away("c", 4, "refused")},
			"1 of 3 feeds live, 100 events/s; c disconnected since 2026-11-29T14:04:00Z: refused; b disconnected since 2026-11-29T14:05:00Z"},
		{[]messages.FeedStatus{away("a", 1, ""), away("b", 1, ""), away("c", 1, ""), away("d", 1, ""), away("e", 1, "")},
			"0 of 5 feeds live, 0 events/s; a disconnected since 2026-11-29T14:01:00Z; b disconnected since 2026-11-29T14:01:00Z; " +
				"c disconnected since 2026-11-29T14:01:00Z; and 2 more"},
	} {
		if got := statusLine(c.feeds); got != c.want {
			t.Errorf("said %q\nwant %q", got, c.want)
		}
	}
}

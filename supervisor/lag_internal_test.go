package supervisor

import (
	"testing"
	"time"

	"tempestd/messages"
)

// Where events come in step with the heartbeats, each of those finds the newest events read and not
// stored. The feed has reached the tip all the same.
func TestI9_AFeedIsAtTheTipWhenEventsComeInStepWithTheHeartbeats(t *testing.T) {
	var l freshness
	open := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	beat := func(n uint64, at time.Time, newest time.Time) {
		l.heartbeat(&messages.Heartbeat{Epoch: 1, At: at, Frames: n, LastFrame: at, NewestUS: newest.UnixMicro(), LatestUS: newest.UnixMicro()}, open, messages.Position{}, 0, time.Minute)
	}
	commit := func(n int, at time.Time) { l.committed(&messages.Committed{Epoch: 1, Frames: n, At: at}) }
	at := open
	commit(1, at)
	for n := uint64(2); n < 10; n++ { // a replay: everything is old
		at = at.Add(time.Second)
		beat(n, at, at.Add(-time.Hour))
		commit(1, at.Add(time.Millisecond))
	}
	if !l.tip.IsZero() {
		t.Fatalf("a replay is at the tip since %v", l.tip)
	}
	at = at.Add(time.Second)
	beat(10, at, at)
	if !l.tip.IsZero() {
		t.Fatal("events that are not stored are at the tip")
	}
	commit(1, at.Add(time.Millisecond))
	if !l.tip.Equal(at) {
		t.Errorf("at the tip at %v, want %v", l.tip, at)
	}
}

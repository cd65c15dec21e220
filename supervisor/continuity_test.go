package supervisor

import (
	"testing"
	"time"

	"tempestd/actors"
	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// The writer's reports about an older connection may come late. They say nothing about the new one.
func TestReportsAboutAnOlderConnectionCountForNothing(t *testing.T) {
	c := continuity{}
	c.planned(2, jetstream.Plan{Proof: jetstream.ProofExact})
	c.committed(&messages.Committed{Epoch: 1, Moved: true}, time.Second)
	c.proven(&messages.Proven{Epoch: 1})
	if c.moved || !c.unproven || c.noOverlap(&messages.NoOverlap{Epoch: 1}) || c.reach.Late != 0 {
		t.Errorf("after reports about epoch 1: %+v", c)
	}
	c.committed(&messages.Committed{Epoch: 2, Moved: true}, time.Second)
	if !c.moved || !c.noOverlap(&messages.NoOverlap{Epoch: 2}) || c.reach.Late != 1 {
		t.Errorf("after reports about epoch 2: %+v", c)
	}
}

func TestConnectionsThatEndWhereTheyBeganAreCounted(t *testing.T) {
	c := continuity{}
	for n := 1; n <= 3; n++ {
		c.planned(messages.Epoch(n), jetstream.Plan{})
		c.ended("a", &actors.Ended{Lived: time.Second, Reason: "cut"}, time.Second)
		if moved := c.judge(); moved || c.reach.Cut != n || c.stuck() != (n > 1) {
			t.Errorf("after %d of them: moved %v, %+v", n, moved, c.reach)
		}
	}
	c.planned(4, jetstream.Plan{})
	c.committed(&messages.Committed{Epoch: 4, Moved: true}, time.Second)
	c.ended("a", &actors.Ended{Lived: time.Second, Reason: "cut"}, time.Second)
	if !c.judge() || c.reach.Cut != 0 {
		t.Errorf("after one that moved the position: %+v", c.reach)
	}
}

// A position that was stored late was reached when it was read. Otherwise another host is asked for
// what it sent after that.
func TestI2_APositionIsAsOldAsTheEventThatWasRead(t *testing.T) {
	c := continuity{}
	c.planned(1, jetstream.Plan{})
	c.committed(&messages.Committed{Epoch: 1, Moved: true, Age: 100 * time.Second}, 130*time.Second)
	if r := c.resume(messages.Checkpoint{}, true, "b", 150*time.Second); r.Since != 120*time.Second || r.Awake != 120*time.Second {
		t.Errorf("reached %v ago, awake %v ago", r.Since, r.Awake)
	}
}

// A replay's events come faster than they were made. Live ones keep to the clock's pace, for seconds.
func TestAReplayIsNotTakenForLive(t *testing.T) {
	var d liveDetector
	for s := range 20 {
		us := int64(s) * time.Minute.Microseconds()
		if d.observe(&messages.Heartbeat{NewestUS: us, PresentUS: us}, time.Duration(s)*time.Second) {
			t.Fatalf("a minute of events each second counts as live after %d s", s)
		}
	}
	for s := range 5 {
		us := 20*time.Minute.Microseconds() + int64(s)*time.Second.Microseconds()
		if live := d.observe(&messages.Heartbeat{NewestUS: us, PresentUS: us}, time.Duration(20+s)*time.Second); live != (s >= 3) {
			t.Errorf("%d s after the end of the replay: live is %v", s, live)
		}
	}
}

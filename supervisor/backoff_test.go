package supervisor_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"tempestd/supervisor"
)

var schedule = []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second}

func newBackoff() *supervisor.Backoff {
	return supervisor.NewBackoff(schedule, rand.New(rand.NewPCG(1, 2)))
}

func TestBackoffFollowsTheScheduleWithHalfJitterAndACap(t *testing.T) {
	b := newBackoff()
	for i := range 20 {
		want := schedule[min(i, len(schedule)-1)]
		if got := b.Next(0, 0, false); got < want/2 || got > want {
			t.Fatalf("wait %d is %v, want %v to %v", i, got, want/2, want)
		}
	}
}

func TestBackoffIsResetByAHealthyPeriodAndNotByASuccessfulDial(t *testing.T) {
	b := newBackoff()
	for range 4 {
		b.Next(time.Second, 0, false) // each connection was dialled, and dropped after a second
	}
	if got := b.Next(29*time.Second, 0, false); got < 15*time.Second {
		t.Fatalf("after a short life the wait is %v, want the cap", got)
	}
	if got := b.Next(30*time.Second, 0, false); got > time.Second {
		t.Fatalf("after a healthy period the wait is %v, want the first entry", got)
	}
}

func TestBackoffHonoursTheUpstream(t *testing.T) {
	b := newBackoff()
	if got := b.Next(0, 90*time.Second, false); got < 90*time.Second || got > 99*time.Second {
		t.Errorf("Retry-After 90 s gives %v", got)
	}
	if got := b.Next(0, 24*time.Hour, false); got > 20*time.Minute {
		t.Errorf("Retry-After of a day gives %v, want a bound", got)
	}
	if got := b.Next(0, 0, true); got < 2*time.Minute {
		t.Errorf("a permanent refusal gives %v, want minutes", got)
	}
}

func TestIntensityForgetsWhatIsOutsideItsWindow(t *testing.T) {
	i := supervisor.Intensity{Max: 2, Window: time.Minute}
	now := time.Unix(1_800_000_000, 0)
	for n, c := range []struct {
		after    time.Duration
		exceeded bool
	}{{0, false}, {time.Second, false}, {time.Second, true}, {2 * time.Minute, false}, {time.Second, false}, {time.Second, true}} {
		now = now.Add(c.after)
		if got := i.Exceeded(now); got != c.exceeded {
			t.Fatalf("failure %d: exceeded %v, want %v", n+1, got, c.exceeded)
		}
	}
}

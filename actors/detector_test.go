package actors_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"tempestd/actors"
)

// drive gives a detector a heartbeat each second. It keeps the times of the last and the next
// event.
type drive struct {
	d      actors.Detector
	now    time.Time
	next   time.Time
	last   time.Time
	frames uint64
}

func newDrive() *drive {
	v := &drive{now: time.Unix(1_800_000_000, 0)}
	v.d.Connected(v.now, "h")
	return v
}

// run lets d pass, with events after the intervals that interval returns. It returns when the
// detector first suspected the connection, if it did.
func (v *drive) run(d time.Duration, interval func() time.Duration) (suspectAfter time.Duration, suspected bool) {
	start := v.now
	end := v.now.Add(d)
	if interval != nil {
		v.next = v.now.Add(interval())
	}
	for v.now.Before(end) {
		v.now = v.now.Add(time.Second)
		for interval != nil && !v.next.After(v.now) {
			v.frames++
			v.last = v.next
			v.next = v.next.Add(interval())
		}
		v.d.Observe(v.now, v.frames, v.last, v.last.UnixMicro(), v.now.UnixMicro())
		if v.d.Suspect(v.now) {
			return v.now.Sub(start), true
		}
	}
	return 0, false
}

// poisson returns the intervals of independent arrivals.
func poisson(seed uint64, mean time.Duration) func() time.Duration {
	r := rand.New(rand.NewPCG(seed, 1))
	return func() time.Duration { return time.Duration(r.ExpFloat64() * float64(mean)) }
}

func TestDetectorFindsABusyFeedDeadWithinTenSeconds(t *testing.T) {
	v := newDrive()
	if after, suspected := v.run(10*time.Minute, poisson(1, 2*time.Millisecond)); suspected {
		t.Fatalf("a healthy feed of 500 events/s is suspected after %v", after)
	}
	after, suspected := v.run(time.Minute, nil)
	if !suspected || after > 10*time.Second {
		t.Fatalf("silence of a feed of 500 events/s: suspected %v after %v, want within 10 s", suspected, after)
	}
}

func TestDetectorLeavesQuietFeedsAlone(t *testing.T) {
	for name, interval := range map[string]func() time.Duration{
		"one an hour, regular": func() time.Duration { return time.Hour },
		"one an hour":          poisson(2, time.Hour),
		"one a minute":         poisson(3, time.Minute),
		"one a second":         poisson(4, time.Second),
	} {
		t.Run(name, func(t *testing.T) {
			v := newDrive()
			if after, suspected := v.run(7*24*time.Hour, interval); suspected {
				t.Fatalf("suspected after %v", after)
			}
		})
	}
}

func TestDetectorDoesNotTakeTheRateFromAReplay(t *testing.T) {
	v := newDrive()
	// A thousand events of the last twelve hours arrive within one heartbeat. Then one comes about
	// every 43 s, as before.
	v.now = v.now.Add(time.Second)
	first := v.now.Add(-12 * time.Hour)
	v.d.Observe(v.now, 1, v.now, first.UnixMicro(), v.now.UnixMicro())
	v.now = v.now.Add(time.Second)
	v.d.Observe(v.now, 1000, v.now, v.now.UnixMicro(), v.now.UnixMicro())
	v.frames = 1000
	if after, suspected := v.run(24*time.Hour, poisson(5, 43*time.Second)); suspected {
		t.Fatalf("suspected after %v", after)
	}
}

func TestDetectorGrowsPatientWhenReconnectingBringsNothing(t *testing.T) {
	v := newDrive()
	v.run(time.Hour, poisson(6, 100*time.Millisecond))
	reconnects := 0
	for night := v.now.Add(8 * time.Hour); v.now.Before(night); {
		if _, suspected := v.run(night.Sub(v.now), nil); suspected {
			reconnects++
			v.d.Suspected()
			v.d.Connected(v.now, "h")
			v.frames = 1 // the overlap: one event that the stream already holds
			v.d.Observe(v.now, v.frames, v.now, v.last.UnixMicro(), v.now.UnixMicro())
		}
	}
	if reconnects == 0 || reconnects > 20 {
		t.Fatalf("%d reconnects in a silent night, want a few", reconnects)
	}
	v.run(time.Minute, poisson(7, 100*time.Millisecond))
	if after, suspected := v.run(time.Minute, nil); !suspected || after > 20*time.Second {
		t.Fatalf("after the night a stall is suspected %v after %v, want soon", suspected, after)
	}
}

func TestDetectorExcusesOurOwnSilence(t *testing.T) {
	v := newDrive()
	v.run(10*time.Minute, poisson(8, 2*time.Millisecond))
	for range 600 { // ten minutes of backpressure
		v.now = v.now.Add(time.Second)
		v.d.Excuse(v.now)
		if v.d.Suspect(v.now) {
			t.Fatal("backpressure is suspected")
		}
	}
}

func TestSleepDetector(t *testing.T) {
	var d actors.SleepDetector
	wall, mono := time.Unix(1_800_000_000, 0), time.Duration(0)
	step := func(w, m time.Duration) time.Duration {
		wall, mono = wall.Add(w), mono+m
		return d.Observe(wall, mono)
	}
	for _, c := range []struct {
		wall, mono, slept time.Duration
	}{
		{time.Second, time.Second, 0},
		{time.Second, time.Second, 0},
		{2 * time.Second, time.Second, 0},                 // slewing
		{time.Hour, time.Second, time.Hour - time.Second}, // asleep
		{time.Second, time.Second, 0},
		{-time.Hour, time.Second, 0},  // the clock was set back
		{time.Minute, time.Minute, 0}, // the process did not run: both clocks moved
	} {
		if got := step(c.wall, c.mono); got != c.slept {
			t.Errorf("wall %v, mono %v: slept %v, want %v", c.wall, c.mono, got, c.slept)
		}
	}
}

package oracle

import (
	"testing"
	"testing/synctest"
	"time"
)

// A clock that is set shows another time, and measures the same durations.
func TestSettingTheClockChangesNoDuration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newWallClock(0)
		began := c.Now()
		if !began.Equal(time.Now()) {
			t.Fatalf("%s, want %s", began, time.Now())
		}
		c.set(-20 * time.Hour)
		time.Sleep(3 * time.Second)
		if got := c.Now().UnixNano() - began.UnixNano(); time.Duration(got) != 3*time.Second-20*time.Hour {
			t.Errorf("the clock shows %s later", time.Duration(got))
		}
		if got := c.Since(began); got != 3*time.Second {
			t.Errorf("%s passed", got)
		}
	})
}

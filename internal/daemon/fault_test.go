package daemon_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/daemon"
	"tempestd/internal/observe"
)

// once panics at the first call with a point.
func once(at string) func(point string) {
	var struck sync.Once
	return func(point string) {
		if point == at {
			struck.Do(func() { panic("injected") })
		}
	}
}

// A panic in a goroutine beside the feeds is reported, and the goroutine starts again. The feeds
// are not affected.
func TestAPanicBesideTheFeedsEndsNothing(t *testing.T) {
	for _, point := range []string{"daemon.ready", "daemon.watchdog", "daemon.status", "daemon.reload"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			sim := newSim(t)
			d := startWith(t, configure(t.TempDir(), sim.URL()), daemon.Options{Fault: once(point)})
			d.log.await(t, "task.failed", 1)
			d.log.await(t, "feed.live", 1)
			d.finish(t)
			if n := len(d.log.of("task.failed")); n != 1 {
				t.Errorf("told %d times", n)
			}
			if got := d.log.of("actor."); len(got) > 0 {
				t.Errorf("the actors said %v", got)
			}
		})
	}
}

// Without its listener the daemon cannot do any visible work. So it ends in good order and reports
// the reason.
func TestAPanicOfTheListenerEndsTheDaemonInGoodOrder(t *testing.T) {
	sim := newSim(t)
	err := daemon.Run(t.Context(), configure(t.TempDir(), sim.URL()),
		daemon.Options{Clock: clockwork.NewRealClock(), Observer: observe.Discard(), Fault: once("daemon.serve")})
	if err == nil || !strings.Contains(err.Error(), "injected") {
		t.Errorf("ended with %v", err)
	}
}

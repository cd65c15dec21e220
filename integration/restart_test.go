package integration_test

import (
	"testing"
	"time"
)

// A daemon with a large stream is live soon after a kill. The test logs the time; BenchmarkRestart
// measures it.
func TestRestartToLive(t *testing.T) {
	t.Parallel()
	entries := 1_000_000
	if raceEnabled {
		// The race detector slows everything several times and makes the time meaningless.
		entries = 50_000
	}
	sim, d := newFull(t, program, entries)
	d.kill()
	t.Logf("live %v after the restart, with %d entries stored", d.restart().Round(time.Millisecond), entries)
	d.exact(sim)
}

// newFull returns a running daemon that has stored that many entries.
func newFull(t testing.TB, path string, entries int) (*simulator, *daemon) {
	t.Helper()
	sim := simulate(t, 100)
	d := newDaemon(t, sim.url(), nil)
	d.binary = path
	d.startLive()
	// A much larger step would make the simulator disconnect a reader that is too slow.
	const step = 50_000
	for stored := 0; stored < entries; stored += step {
		sim.produce(step)
		d.awaitStored(uint64(stored + step))
	}
	return sim, d
}

// restart starts the daemon and returns the time from the start of the process to its first live
// feed.
func (d *daemon) restart() time.Duration {
	d.t.Helper()
	began := time.Now()
	d.start()
	at, err := time.Parse(time.RFC3339Nano, d.await("feed.live").text("time"))
	if err != nil {
		d.t.Fatal(err)
	}
	return at.Sub(began)
}

package integration_test

import (
	"testing"
	"time"
)

// A daemon with a large stream is live again soon after the plug was pulled. How soon is reported, and measured by BenchmarkRestart.
func TestRestartToLive(t *testing.T) {
	t.Parallel()
	entries := 1_000_000
	if raceEnabled {
		entries = 150_000 // the detector makes everything several times slower, and the figure worthless
	}
	sim, d := newFull(t, program, entries)
	d.kill()
	t.Logf("live %v after the restart, with %d entries stored", d.restart().Round(time.Millisecond), entries)
	d.exact(sim)
}

// newFull gives a daemon that has stored that many entries, and goes on.
func newFull(t testing.TB, path string, entries int) (*simulator, *daemon) {
	t.Helper()
	sim := simulate(t, 100)
	d := newDaemon(t, sim.url(), nil)
	d.binary = path
	d.startLive()
	const step = 50_000 // far more at once, and the simulator would lose its patience with a slow reader
	for stored := 0; stored < entries; stored += step {
		sim.produce(step)
		d.awaitStored(uint64(stored + step))
	}
	return sim, d
}

// restart starts the daemon and gives the time to its first live feed, that of the process's start included.
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

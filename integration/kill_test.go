package integration_test

import (
	"encoding/json"
	"testing"
	"time"
)

// The daemon is killed twenty times, while it opens its store, dials, replays or appends. At the
// end the stream holds what was sent.
func TestI2_KilledTwentyTimes(t *testing.T) {
	t.Parallel()
	random := seeded(t)
	sim := simulate(t, 2000)
	d := newDaemon(t, sim.url(), nil)
	d.startLive()
	// Before the first entry there is no position to resume from, and what was sent until then
	// would be lost.
	d.awaitStored(1)
	for kills := 1; kills <= 20; kills++ {
		after(between(random, 50*time.Millisecond, 1500*time.Millisecond))
		d.kill()
		d.start()
		if kills == 20 || random.IntN(2) == 0 {
			d.await("feed.live") // otherwise the next kill may come before the feed is live
		}
	}
	d.exact(sim)
}

// The simulator is killed as a process, and crashes as a server that gives its last events new
// numbers, in turn and under load.
func TestI2_SimulatorKilled(t *testing.T) {
	t.Parallel()
	random := seeded(t)
	sim := simulate(t, 2000)
	d := newDaemon(t, sim.url(), nil)
	d.startLive()
	d.awaitStored(1)
	for round := range 6 {
		after(between(random, 100*time.Millisecond, time.Second))
		if round%2 == 0 {
			sim.inject("crash:300ms")
			d.await("feed.disconnected")
		} else {
			sim.kill()
			d.await("feed.disconnected")
			sim.restart()
		}
		d.await("feed.live")
	}
	d.exact(sim)
	if generation := sim.stats().Generation; generation != 3 {
		t.Errorf("the history has %d crashes, want 3", generation)
	}
}

// The position from which a killed daemon resumes is never ahead of its stream. The daemon starts
// without an upstream to check that.
func TestI1_CheckpointNeverLeads(t *testing.T) {
	t.Parallel()
	random := seeded(t)
	sim := simulate(t, 2000)
	d := newDaemon(t, sim.url(), nil)
	d.startLive()
	d.awaitStored(1)
	upstream := d.written["feeds."+feed+".endpoints"]
	for range 10 {
		after(between(random, 10*time.Millisecond, 500*time.Millisecond))
		d.kill()
		d.configure(settings{"feeds." + feed + ".endpoints": `["ws://` + freeAddr(t) + `"]`})
		d.start()
		covered, err := time.Parse(time.RFC3339Nano, d.await("feed.resume").text("covered"))
		if err != nil {
			t.Fatal(err)
		}
		if newest := d.newestTime(); covered.UnixMicro() > newest {
			t.Errorf("the checkpoint covers %d µs that are not in the stream", covered.UnixMicro()-newest)
		}
		d.kill()
		d.configure(settings{"feeds." + feed + ".endpoints": upstream})
		d.startLive()
	}
	d.exact(sim)
}

// newestTime returns the upstream time of the stream's newest entry, in Unix µs.
func (d *daemon) newestTime() int64 {
	d.t.Helper()
	newest := d.info().Newest.String()
	page, err := d.Frames(d.t.Context(), feed, newest, newest, 1)
	if err != nil || len(page.Entries) != 1 {
		d.t.Fatalf("entry %s: %v, %v", newest, page.Entries, err)
	}
	var event struct {
		TimeUS int64 `json:"time_us"`
	}
	if err := json.Unmarshal(page.Entries[0].Event, &event); err != nil {
		d.t.Fatal(err)
	}
	return event.TimeUS
}

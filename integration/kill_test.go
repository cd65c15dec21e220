package integration_test

import (
	"encoding/json"
	"testing"
	"time"
)

// The plug is pulled twenty times, at moments when a daemon opens its store, dials, replays or appends. What is stored at the end is what was sent.
func TestI2_KilledTwentyTimes(t *testing.T) {
	t.Parallel()
	random := seeded(t)
	sim := simulate(t, 2000)
	d := newDaemon(t, sim.url(), nil)
	d.startLive()
	d.awaitStored(1) // before that there is nothing to resume from, and what it was sent until then would be lost for good
	for kills := 1; kills <= 20; kills++ {
		after(between(random, 50*time.Millisecond, 1500*time.Millisecond))
		d.kill()
		d.start()
		if kills == 20 || random.IntN(2) == 0 {
			d.await("feed.live") // otherwise the next moment may come before
		}
	}
	d.exact(sim)
}

// The upstream dies as a process, and as a server that numbers its last events anew, in turn and under load.
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

// What a daemon that was killed would resume after is in its stream: seen from one that starts without an upstream.
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

// newestTime is the upstream time of the stream's newest entry, Unix µs.
func (d *daemon) newestTime() int64 {
	d.t.Helper()
	newest := d.info().Newest.String()
	page, err := d.Frames(d.t.Context(), feed, newest, newest, 1)
	if err != nil || len(page.Frames) != 1 {
		d.t.Fatalf("entry %s: %v, %v", newest, page.Frames, err)
	}
	var event struct {
		TimeUS int64 `json:"time_us"`
	}
	if err := json.Unmarshal(page.Frames[0].Event, &event); err != nil {
		d.t.Fatal(err)
	}
	return event.TimeUS
}

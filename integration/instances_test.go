package integration_test

import (
	"fmt"
	"testing"
	"time"

	"tempestd/internal/jetsim"
	"tempestd/messages"
)

// TestI2_InstancesBehindAName has three instances of a service that answer under one name in turns.
// Each numbers and stamps the same events in its own way and has several readers. Readers move and
// lag, and instances crash. Nothing is lost, no event is stored twice, and there is no gap entry,
// whichever instance answers.
func TestI2_InstancesBehindAName(t *testing.T) {
	t.Parallel()
	for generation, newer := range map[string][]jetsim.Newer{"older": nil, "newer": jetsim.AllNewer()} {
		for _, w := range wires[:2] {
			t.Run(generation+" "+w.name, func(t *testing.T) {
				t.Parallel()
				instances(t, w.path, newer)
			})
		}
	}
}

func instances(t *testing.T, path string, newer []jetsim.Newer) {
	random := seeded(t)
	network := jetsim.Options{Seed: 12, Rate: 400, Lag: 2 * time.Second, Newer: newer, Readers: 3, Segment: 3000}
	low, high, far := network, network, network
	low.FirstSeq, high.FirstSeq, far.FirstSeq = 1, 7_000_000_000, 50_000
	high.Skew = 3 * time.Second
	far.Skew = -4 * time.Second
	fleet, _, _ := listening(t, low, high, far)
	at := fleet.Members()[0]
	k := newLink(t, at.Addr())
	d := newDaemon(t, k.url(path), settings{"feeds." + feed + ".backoff": `["20ms", "50ms", "100ms"]`})
	d.startLive()
	d.awaitStored(300)
	done := map[string]int{}
	for range 16 {
		var before messages.FeedStatus
		eventually(t, "the feed is live", func() bool { before = d.status(); return before.State == messages.StateLive })
		inject := func(name string, lasts time.Duration) {
			done[name]++
			if err := at.Inject(jetsim.Fault{Name: name, For: lasts}); err != nil {
				t.Fatal(err)
			}
		}
		restarted := false
		switch what := random.IntN(8); what {
		case 0, 1, 2:
			at = fleet.Members()[what]
			done["another instance"]++
			k.leadTo(at.Addr())
		case 3:
			inject(jetsim.FaultMigrate, 0)
		case 4:
			inject(jetsim.FaultStale, between(random, 100*time.Millisecond, time.Second))
		case 5:
			inject(jetsim.FaultCrash, between(random, 100*time.Millisecond, time.Second))
		case 6: // another instance, while the daemon is stopped
			restarted = true
			done["stop"]++
			d.stop()
			at = fleet.Members()[random.IntN(3)]
			k.leadTo(at.Addr())
			d.startLive()
		case 7:
			restarted = true
			done["kill"]++
			d.kill()
			d.startLive()
		}
		stored := before.Stored
		if restarted {
			stored = 0
		}
		eventually(t, fmt.Sprintf("the feed goes on: %v", done), func() bool {
			now := d.status()
			return now.State == messages.StateLive && now.Stored > stored+50
		})
	}
	report := d.exactOfFleet(fleet, nil)
	t.Logf("%v; %v; %d reconnects since the last start", done, report, d.status().Reconnects)
}

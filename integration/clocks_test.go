package integration_test

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"testing"
	"time"

	"tempestd/internal/jetsim"
	"tempestd/messages"
)

// TestI2_HostsWhoseClocksAreWrong uses a feed with two hosts. Their clocks are up to an hour wrong
// and step ahead and back, while connections end, hosts are down or crash, and the daemon is
// stopped and killed. The generation of each host is random too, and whether it numbers its events
// and sends its clock.
func TestI2_HostsWhoseClocksAreWrong(t *testing.T) {
	t.Parallel()
	random := seeded(t)
	for range 3 {
		seed := random.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			wrongClocks(t, rand.New(rand.NewPCG(seed, 1)))
		})
	}
}

func wrongClocks(t *testing.T, random *rand.Rand) {
	network := jetsim.Options{Seed: 11, Rate: 300, Lag: 2 * time.Second, Segment: 5000}
	var hosts []jetsim.Options
	for range 2 {
		h := network
		h.Skew = between(random, -time.Hour, time.Hour).Round(time.Second)
		h.NoDate = random.IntN(2) == 0
		if random.IntN(2) == 0 {
			h.Newer = jetsim.AllNewer()
		}
		h.Legacy = random.IntN(4) == 0
		hosts = append(hosts, h)
		t.Logf("a host that is %v ahead, tells its clock: %v, newer: %v, legacy: %v", h.Skew, !h.NoDate, h.Newer != nil, h.Legacy)
	}
	fleet, members, endpoints := listening(t, hosts...)
	d := newDaemon(t, "", settings{
		"feeds." + feed + ".endpoints": endpoints,
		"feeds." + feed + ".backoff":   `["20ms", "50ms", "100ms"]`,
	})
	d.startLive()
	d.awaitStored(300)
	live := func() (s messages.FeedStatus, at *jetsim.Sim) {
		eventually(t, "the feed is live", func() bool { s = d.status(); return s.State == messages.StateLive })
		where, err := url.Parse(s.Endpoint)
		if err != nil {
			t.Fatal(err)
		}
		return s, members[where.Host]
	}
	var done []string
	for range 14 {
		s, at := live()
		name := ""
		inject := func(f jetsim.Fault) {
			name = f.String()
			if err := at.Inject(f); err != nil {
				t.Fatal(err)
			}
		}
		switch random.IntN(9) {
		case 0:
			inject(jetsim.Fault{Name: jetsim.FaultClockAhead, For: between(random, time.Second, 20*time.Minute)})
		case 1:
			inject(jetsim.Fault{Name: jetsim.FaultClockBack, For: between(random, time.Second, 20*time.Minute)})
		case 2: // while it is down
			back := between(random, time.Second, 20*time.Minute)
			inject(jetsim.Fault{Name: jetsim.FaultRefuse, For: between(random, 200*time.Millisecond, 2*time.Second)})
			inject(jetsim.Fault{Name: jetsim.FaultClockBack, For: back})
		case 3:
			inject(jetsim.Fault{Name: jetsim.FaultRefuse, For: between(random, 200*time.Millisecond, 3*time.Second)})
		case 4:
			inject(jetsim.Fault{Name: jetsim.FaultCrash, For: between(random, 100*time.Millisecond, time.Second)})
		case 5:
			inject(jetsim.Fault{Name: jetsim.FaultClose})
		case 6:
			inject(jetsim.Fault{Name: jetsim.FaultReset})
		case 7:
			name = "stop"
			d.stop()
			after(between(random, 0, time.Second))
			d.start()
			d.await("daemon.ready")
		case 8:
			name = "kill"
			d.kill()
			d.start()
			d.await("daemon.ready")
		}
		done = append(done, name)
		now, _ := live()
		stored := now.Stored
		if now.Epoch == s.Epoch {
			stored = s.Stored
		}
		eventually(t, "the feed goes on after "+name, func() bool {
			now, _ := live()
			return now.Stored > stored+50 || now.Stored < stored
		})
	}
	report := d.exactOfFleet(fleet, nil)
	t.Logf("%v; %v; %d reconnects since the last start", done, report, d.status().Reconnects)
}

package integration_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
	"time"

	"tempestd/internal/jetsim"
	"tempestd/messages"
)

// listening starts the servers of one network. It returns them also by their addresses, and their
// addresses in order as the value of the key endpoints.
func listening(t *testing.T, servers ...jetsim.Options) (fleet *jetsim.Fleet, members map[string]*jetsim.Sim, endpoints string) {
	t.Helper()
	fleet, err := jetsim.NewFleet(servers...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := fleet.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := fleet.Listen(); err != nil {
		t.Fatal(err)
	}
	members = make(map[string]*jetsim.Sim)
	var urls []string
	for _, m := range fleet.Members() {
		members[m.Addr()] = m
		urls = append(urls, quoted("ws://"+m.Addr()))
	}
	return fleet, members, "[" + strings.Join(urls, ", ") + "]"
}

// exactOfFleet ends the flow of events and compares the stream with what any of the network's
// servers have sent, as far as the query of the subscription wants it.
func (d *daemon) exactOfFleet(fleet *jetsim.Fleet, query url.Values) jetsim.Report {
	d.t.Helper()
	report := d.unionOfFleet(fleet, query)
	if !report.OK() || report.Gaps > 0 {
		d.t.Errorf("%v\n%s", report, strings.Join(report.Examples, "\n"))
		for _, g := range d.gaps("") {
			d.t.Logf("%+v", g)
		}
	}
	return report
}

// unionOfFleet ends the flow of events, waits until the stream has what the servers have sent, and
// compares.
func (d *daemon) unionOfFleet(fleet *jetsim.Fleet, query url.Values) (report jetsim.Report) {
	d.t.Helper()
	fleet.StopProducing()
	d.t.Cleanup(func() {
		if d.t.Failed() {
			d.t.Logf("%v\n%s", report, strings.Join(report.Examples, "\n"))
		}
	})
	// A comparison reads the whole stream, so there is one for each number of entries at which the
	// stream stays for a moment.
	before, compared := uint64(0), uint64(math.MaxUint64)
	eventually(d.t, "everything is stored", func() bool {
		stored := d.status().Stored
		pauses := stored == before && stored != compared
		if before = stored; !pauses {
			return false
		}
		compared = stored
		var err error
		if report, err = fleet.Verify(d.entries(), jetsim.VerifyOptions{AllowTail: true, Query: query}); err != nil {
			d.t.Fatal(err)
		}
		return report.Pending == 0
	})
	return report
}

// fleetFailovers is how often the fleet test ends the daemon's connection. It is less with the race
// detector, which makes each failover slow.
func fleetFailovers() int {
	if raceEnabled {
		return 60
	}
	return 200
}

// TestI2_Failovers moves a feed between three servers of one network. They number the same events
// differently, stamp them up to eleven minutes apart, and lag behind each other. The current server
// closes, cuts, resets, refuses or crashes, and a crash gives its last events new numbers and
// times.
func TestI2_Failovers(t *testing.T) {
	t.Parallel()
	network := jetsim.Options{Seed: 7, Rate: float64(affordable(2000))}
	// No server has an event before the feed is live. Events from before the beginning of a stream
	// do not belong to it, but each server would replay them in its own order.
	network.Lag = 5 * time.Second
	first, late, behind := network, network, network
	late.Skew, late.Lag = 4*time.Minute, network.Lag+2*time.Second
	behind.Skew, behind.Lag = -7*time.Minute, network.Lag+500*time.Millisecond
	fleet, members, endpoints := listening(t, first, late, behind)
	d := newDaemon(t, "", settings{
		"feeds." + feed + ".endpoints": endpoints,
		"feeds." + feed + ".backoff":   `["20ms", "50ms"]`,
		"log.level":                    `"info"`,
	})
	d.startLive()
	d.awaitStored(1000)
	random := seeded(t)
	switches := map[string]int{}
	for range fleetFailovers() {
		var s messages.FeedStatus
		// A fault during a dial would affect no connection.
		eventually(t, "the feed is live", func() bool {
			s = d.status()
			return s.State == messages.StateLive
		})
		host := strings.SplitN(strings.TrimPrefix(s.Endpoint, "ws://"), "/", 2)[0]
		fault := fleetFault(random)
		if err := members[host].Inject(fault); err != nil {
			t.Fatal(err)
		}
		switches[fault.Name]++
		eventually(t, fmt.Sprintf("the feed is live again after %v at %s", fault, host), func() bool {
			now := d.status()
			return now.Epoch > s.Epoch && now.State == messages.StateLive
		})
		after(between(random, 0, 100*time.Millisecond))
	}
	report := d.exactOfFleet(fleet, nil)
	s := d.status()
	t.Logf("%v; faults %v; %d reconnects, %d replayed and dropped, %d restarts", report, switches, s.Reconnects, s.Duplicates, s.Restarts)
	if s.Restarts > 0 {
		t.Errorf("%d restarts", s.Restarts)
	}
}

// fleetFault returns a random fault that ends a connection.
func fleetFault(r *rand.Rand) jetsim.Fault {
	names := []string{jetsim.FaultClose, jetsim.FaultEOF, jetsim.FaultReset, jetsim.FaultRefuse, jetsim.FaultRefuse, jetsim.FaultCrash}
	f := jetsim.Fault{Name: names[r.IntN(len(names))]}
	switch f.Name {
	case jetsim.FaultRefuse:
		f.For = between(r, 200*time.Millisecond, time.Second)
	case jetsim.FaultCrash:
		f.For = between(r, 100*time.Millisecond, 500*time.Millisecond)
	}
	return f
}

// TestBlindHostIsLeft has a server that loses most of its own upstream: it still sends identity
// events, but none of the commits that the feed wants. The feed changes to another server.
func TestBlindHostIsLeft(t *testing.T) {
	t.Parallel()
	network := jetsim.Options{Seed: 8, Rate: 500}
	fleet, _, endpoints := listening(t, network, network)
	blind, seeing := fleet.Members()[0], fleet.Members()[1]
	d := newDaemon(t, "", settings{
		"feeds." + feed + ".endpoints":   endpoints,
		"feeds." + feed + ".collections": `["app.bsky.feed.*", "app.bsky.graph.follow"]`,
		"feeds." + feed + ".blind_after": `"10s"`,
	})
	d.startLive()
	d.awaitStored(500)
	if err := blind.Inject(jetsim.Fault{Name: jetsim.FaultBlind, For: time.Hour}); err != nil {
		t.Fatal(err)
	}
	d.await("watchdog.stalled", "cause", "blind")
	d.await("feed.live")
	if s := d.status(); !strings.Contains(s.Endpoint, seeing.Addr()) {
		t.Errorf("it went on at %s", s.Endpoint)
	}
	d.awaitStored(d.status().Stored + 500)
	query := url.Values{"wantedCollections": {"app.bsky.feed.*", "app.bsky.graph.follow"}}
	t.Logf("%v", d.exactOfFleet(fleet, query))
}

package integration_test

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
	"time"

	"tempestd/internal/jetsim"
	"tempestd/messages"
)

// fleetFailovers is how often the fleet test ends the daemon's connection; fewer where the race detector makes each one slow.
func fleetFailovers() int {
	if raceEnabled {
		return 60
	}
	return 200
}

// TestI2_Failovers lets a feed go from one to another of three servers of one network, which number the same events differently, stamp them up to eleven minutes
// apart, and lag behind each other; whichever it is at closes, cuts, resets, refuses or crashes, and numbers and stamps its last events anew.
func TestI2_Failovers(t *testing.T) {
	network := jetsim.Options{Seed: 7, Rate: 2000}
	// No server has an event before the feed is live: what came before a stream began has no place in it, and each server would
	// replay it in an order of its own.
	network.Lag = 5 * time.Second
	first, late, behind := network, network, network
	late.Skew, late.Lag = 4*time.Minute, network.Lag+2*time.Second
	behind.Skew, behind.Lag = -7*time.Minute, network.Lag+500*time.Millisecond
	fleet, err := jetsim.NewFleet(first, late, behind)
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
	members := map[string]*jetsim.Sim{}
	var endpoints []string
	for _, m := range fleet.Members() {
		members[m.Addr()] = m
		endpoints = append(endpoints, quoted("ws://"+m.Addr()))
	}
	d := newDaemon(t, "", settings{
		"feeds." + feed + ".endpoints": "[" + strings.Join(endpoints, ", ") + "]",
		"feeds." + feed + ".backoff":   `["20ms", "50ms"]`,
		"log.level":                    `"info"`,
	})
	d.startLive()
	d.awaitStored(1000)
	random := seeded(t)
	switches := map[string]int{}
	for range fleetFailovers() {
		var s messages.FeedStatus
		eventually(t, "the feed is live", func() bool { // a fault that comes while it dials hits nobody
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
	fleet.StopProducing()
	var report jetsim.Report
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%v\n%s", report, strings.Join(report.Examples, "\n"))
		}
	})
	eventually(t, "everything is stored", func() bool {
		report, err = fleet.Verify(d.entries(), jetsim.VerifyOptions{AllowTail: true})
		return err != nil || report.Pending == 0
	})
	if err != nil {
		t.Fatal(err)
	}
	s := d.status()
	t.Logf("%v; faults %v; %d reconnects, %d replayed and dropped, %d restarts", report, switches, s.Reconnects, s.Duplicates, s.Restarts)
	if !report.OK() || report.Gaps > 0 || s.Restarts > 0 {
		t.Errorf("%v\n%s", report, strings.Join(report.Examples, "\n"))
	}
}

// fleetFault is something that ends a connection.
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

// TestBlindHostIsLeft has a server lose most of its own upstream: identity events go on, and none of the commits that the feed wants.
func TestBlindHostIsLeft(t *testing.T) {
	network := jetsim.Options{Seed: 8, Rate: 500}
	fleet, err := jetsim.NewFleet(network, network)
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
	blind, seeing := fleet.Members()[0], fleet.Members()[1]
	d := newDaemon(t, "", settings{
		"feeds." + feed + ".endpoints":   fmt.Sprintf("[%q, %q]", "ws://"+blind.Addr(), "ws://"+seeing.Addr()),
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
	fleet.StopProducing()
	query := url.Values{"wantedCollections": {"app.bsky.feed.*", "app.bsky.graph.follow"}}
	var report jetsim.Report
	eventually(t, "everything is stored", func() bool {
		report, err = fleet.Verify(d.entries(), jetsim.VerifyOptions{AllowTail: true, Query: query})
		return err != nil || report.Pending == 0
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%v", report)
	if !report.OK() || report.Gaps > 0 {
		t.Errorf("%v\n%s", report, strings.Join(report.Examples, "\n"))
	}
}

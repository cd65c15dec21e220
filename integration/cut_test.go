package integration_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"tempestd/internal/jetsim"
)

// wires are the protocols and encodings of an upstream.
var wires = []struct{ name, path, compress string }{
	{"v1", "/subscribe", "off"},
	{"v2", "/xrpc/network.bsky.jetstream.subscribeEvents", "off"},
	{"v1 zstd", "/subscribe", "zstd"},
	{"v2 zstd", "/xrpc/network.bsky.jetstream.subscribeEvents", "zstd"},
}

// TestI2_ALinkThatCuts has a link that cuts every connection after some bytes or messages, down to
// one and a half messages, while events arrive. The feed catches up, stores everything once, and
// reads little more than it stores.
func TestI2_ALinkThatCuts(t *testing.T) {
	t.Parallel()
	cuts := []struct {
		name   string
		rule   cut
		events int
		most   float64 // bytes read per byte stored
	}{
		{"300 kB", cut{bytes: 300_000}, 6000, 1.5},
		{"20 kB", cut{bytes: 20_000}, 1500, 2},
		{"100 events", cut{messages: 100}, 3000, 1.5},
		{"one and a half", cut{messages: 1, within: true}, 20, 8},
	}
	for _, w := range wires {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			sim := simulate(t, 100, "--sync-events")
			k := newLink(t, sim.addr)
			d := newDaemon(t, k.url(w.path), settings{
				"feeds." + feed + ".compress":        quoted(w.compress),
				"feeds." + feed + ".zstd_dictionary": quoted(write(t, "v1.zdict", sim.v1Dictionary())),
				"feeds." + feed + ".backoff":         `["10ms", "20ms"]`,
			})
			d.startLive()
			d.awaitStored(1000)
			perEvent := float64(k.passed.Load()) / float64(d.status().Stored)
			for _, c := range cuts {
				before := k.connections.Load()
				k.cuts(c.rule)
				sim.produce(c.events)
				eventually(t, "the rule holds", func() bool { return k.connections.Load() > before+1 })
				stored, dials, passed := d.status().Stored, k.connections.Load(), k.passed.Load()
				d.awaitStored(stored + uint64(c.events))
				read, gained := k.passed.Load()-passed, d.status().Stored-stored
				ratio := float64(read) / (perEvent * float64(gained))
				t.Logf("%s: %d events over %d connections, %.2f bytes read for each byte stored", c.name, gained, k.connections.Load()-dials, ratio)
				if ratio > c.most {
					t.Errorf("%s: %.2f bytes are read for each byte stored, more than %.1f", c.name, ratio, c.most)
				}
			}
			k.cuts(cut{})
			d.exactOf(sim, jetsim.VerifyOptions{Protocol: jetsim.Protocol(w.name[:2])})
		})
	}
}

// v1Dictionary returns the dictionary that v1 clients need.
func (s *simulator) v1Dictionary() string {
	s.t.Helper()
	resp := s.control(http.MethodGet, "v1-dictionary")
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

// TestI4_AMessageThatNoConnectionCarries has a link that ends every connection inside a message,
// because the message is larger than the link's limit. The feed skips the message and stores a gap
// entry about it.
func TestI4_AMessageThatNoConnectionCarries(t *testing.T) {
	t.Parallel()
	for _, w := range wires[:2] {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			sim := simulate(t, 100, "--large-every", "1000", "--large-bytes", "300000", "--protocol", w.name[:2])
			k := newLink(t, sim.addr)
			d := newDaemon(t, k.url(w.path), settings{"feeds." + feed + ".backoff": `["10ms", "20ms"]`, "feeds." + feed + ".compress": `"off"`})
			d.startLive()
			d.awaitStored(100)
			k.cuts(cut{bytes: 100_000})
			sim.produce(3000)
			d.catchUp(sim)
			report, err := sim.sent().Verify(d.entries(), jetsim.VerifyOptions{})
			if err != nil {
				t.Fatal(err)
			}
			skipped := int64(len(d.gaps("skipped")))
			t.Logf("%v; %d connections", report, k.connections.Load())
			if lost := report.Lost; lost == 0 || lost != skipped || report.Gaps != skipped || k.connections.Load() > 20*lost {
				t.Errorf("%d events were passed over in %d gaps over %d connections", lost, skipped, k.connections.Load())
			}
			if report.Lost = 0; !report.OK() {
				t.Errorf("%v\n%s", report, strings.Join(report.Examples, "\n"))
			}
		})
	}
}

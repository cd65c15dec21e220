package integration_test

import (
	"strings"
	"testing"

	"tempestd/internal/jetsim"
	"tempestd/messages"
)

// TestI4_AMessageAboveTheLimit has a server that sends messages above the size that the daemon asks
// for. The daemon skips each message without ending the connection, and stores one gap entry with
// what is known about the event. Reconnects by number and by time, a stop and a kill do not change
// that.
func TestI4_AMessageAboveTheLimit(t *testing.T) {
	t.Parallel()
	for _, w := range wires {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			sim := simulate(t, 50, "--ignore-size", "--large-every", "40", "--large-bytes", "1100000", "--segment", "100000")
			d := newDaemon(t, "ws://"+sim.addr+w.path, settings{
				"feeds." + feed + ".compress":         quoted(w.compress),
				"feeds." + feed + ".zstd_dictionary":  quoted(write(t, "v1.zdict", sim.v1Dictionary())),
				"feeds." + feed + ".max_message_size": `"1MiB"`,
			})
			d.startLive()
			some := func() {
				t.Helper()
				at := sim.stats().NewestSeq
				sim.produce(100)
				eventually(t, "the feed goes on", func() bool { return d.status().Position.Seq > at+100 })
			}
			some()
			if n := d.status().Reconnects; n > 0 {
				t.Errorf("%d reconnects: a message is passed on the connection it comes on", n)
			}
			if err := d.Reconnect(t.Context(), feed); err != nil {
				t.Fatal(err)
			}
			d.await("feed.live")
			some()
			d.stop()
			d.startLive()
			some()
			d.kill()
			d.startLive()
			some()
			sim.inject("crash:100ms")
			d.await("feed.live")
			some()
			d.stop()
			// With another filter the daemon resumes by time.
			d.configure(settings{"feeds." + feed + ".kinds": `["commit", "identity", "account"]`})
			d.startLive()
			some()
			d.catchUp(sim)
			report, err := sim.sent().Verify(d.entries(), jetsim.VerifyOptions{Protocol: jetsim.Protocol(w.name[:2])})
			if err != nil {
				t.Fatal(err)
			}
			passed := map[string]messages.Gap{}
			for _, g := range d.gaps("") {
				if g.Cause != messages.GapOversized || g.Event == nil {
					t.Fatalf("a gap of %+v", g)
				}
				e := *g.Event
				if e.Seq == 0 || e.TimeUS == 0 || e.Bytes < 1_000_000 || !strings.HasPrefix(e.DID, "did:plc:") || e.RKey == "" {
					t.Errorf("it tells too little: %+v", e)
				}
				if other, twice := passed[e.DID+e.Rev+e.RKey]; twice {
					t.Errorf("%+v is twice among the gaps: %+v", e, other)
				}
				passed[e.DID+e.Rev+e.RKey] = g
			}
			lost := report.Lost
			if report.Lost = 0; !report.OK() || lost == 0 || int(lost) != len(passed) {
				t.Errorf("%d events were passed over, %d are told; %v\n%s", lost, len(passed), report, strings.Join(report.Examples, "\n"))
			}
			t.Logf("%v; %d passed over", report, lost)
		})
	}
}

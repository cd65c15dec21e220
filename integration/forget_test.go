package integration_test

import (
	"strings"
	"testing"

	"tempestd/internal/jetsim"
)

// TestI4_HistoryThatTheServerDroppedIsAGapEntry has a server that drops events that the daemon
// never got, while the daemon is stopped. v1 does not report that. v2 refuses a sequence number and
// sends an info frame for a time.
func TestI4_HistoryThatTheServerDroppedIsAGapEntry(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"v1", "v2"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			sim := simulate(t, 2000)
			d := newDaemon(t, "ws://"+sim.addr, settings{"feeds." + feed + ".protocol": quoted(protocol)})
			d.startLive()
			for range 2 {
				d.awaitStored(1000)
				d.stop()
				away := sim.stats().Contents + 2000
				eventually(t, "the network goes on", func() bool { return sim.stats().Contents >= away })
				sim.control("POST", "forget/1000000").Body.Close()
				d.startLive()
				d.awaitStored(1000)
			}
			d.catchUp(sim)
			report, err := sim.sent().Verify(d.entries(), jetsim.VerifyOptions{Protocol: jetsim.Protocol(protocol)})
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%v", report)
			if !report.OK() || report.Dropped == 0 || report.Gaps == 0 || report.NeedlessGaps > 0 {
				t.Errorf("%v\n%s", report, strings.Join(report.Examples, "\n"))
			}
		})
	}
}

package main

import (
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/lipgloss"

	"tempestd/internal/demo"
	"tempestd/internal/jetsim"
	"tempestd/messages"
	"tempestd/persistence"
)

func TestDemoPrintsTheComparison(t *testing.T) {
	p := run(t, "demo", "--for", "1s", "--rate", "300", "--faults")
	if p.code != 0 || !strings.HasPrefix(p.out.String(), "sent=") || !strings.HasSuffix(p.out.String(), " lost=0 duplicated=0 out_of_order=0\n") {
		t.Errorf("exit %d\n%s%s", p.code, p.out, p.err)
	}
	for _, want := range []string{"--for 1s leaves no time for: garbage, close, eof, crash, half-open, stall\n", "feed.live", ": live, ", "faults: none"} {
		if !strings.Contains(p.err.String(), want) {
			t.Errorf("%q is missing in\n%s", want, p.err)
		}
	}
}

func TestDemoViewShowsASnapshotWithinItsWidth(t *testing.T) {
	shown := newDemoView(io.Discard, demo.Options{For: 20 * time.Second}).render(demo.Snapshot{
		Phase: demo.Running, Elapsed: 5 * time.Second, Upstream: "ws://127.0.0.1:1/subscribe",
		Sim:    jetsim.Stats{Contents: 2500, Faults: map[string]int64{"stall": 1}, Down: true},
		Feed:   messages.FeedStatus{State: messages.StateReconnecting, Since: time.Now(), Stored: 2400, Reconnects: 2},
		Stream: persistence.StreamInfo{Entries: 2400, Bytes: 1 << 20},
		Recent: []persistence.Entry{{Event: json.RawMessage(`{"did":"did:plc:a","kind":"identity"}`)}},
		Log:    []string{"12:00:00.0 feed.disconnected reason=" + strings.Repeat("x", 100)},
	}, 60)
	for _, want := range []string{"5 of 20s", "sent 2,500  down", "stall=1", "reconnecting", "2,400 entries, 1.0 MiB", "identity did:plc:a", "feed.disconnected"} {
		if !strings.Contains(shown, want) {
			t.Errorf("%q is missing in\n%s", want, shown)
		}
	}
	if w := lipgloss.Width(shown); w > 60 {
		t.Errorf("%d columns wide:\n%s", w, shown)
	}
}

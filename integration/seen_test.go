package integration_test

import (
	"maps"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Every fault is visible: each end of a connection that the simulator causes is one log event with
// its cause, and every log event is counted.
func TestI9_EveryEndIsLoggedAndCounted(t *testing.T) {
	t.Parallel()
	sim := simulate(t, 500)
	d := newDaemon(t, sim.url(), settings{
		"feeds." + feed + ".ping_interval":    `"4s"`,
		"feeds." + feed + ".stale_after":      `"20s"`,
		"feeds." + feed + ".max_message_size": `"64KiB"`, // the oversized frame is twice that, and takes no time
	})
	d.startLive()
	d.awaitStored(100)
	faults := []struct{ fault, event, field, cause string }{
		{"close", "feed.disconnected", "reason", "closed by the server with code 1001: server shutting down"},
		{"eof", "feed.disconnected", "reason", "the stream ended within a message"},
		{"reset", "feed.disconnected", "reason", "connection reset by the server"},
		{"oversize", "frame.bad", "error", "not an event: larger than max_message_size, and no JSON object"},
		{"refuse:1m", "feed.disconnected", "reason", "refused with 503 Service Unavailable: service unavailable"},
		// The kind of the end depends on the moment of the crash.
		{"crash:300ms", "feed.disconnected", "", ""},
		{"half-open", "watchdog.stalled", "cause", "half_open"},
		{"stall:1m", "watchdog.stalled", "cause", "silence"},
	}
	for _, f := range faults {
		sim.inject(f.fault)
		if f.field != "" {
			d.await(f.event, f.field, f.cause)
		} else {
			d.await(f.event)
		}
		if f.fault == "refuse:1m" {
			sim.inject("refuse:1ms") // however late the daemon came, it was refused: that is enough
		}
		if f.event != "frame.bad" { // a bad frame ends no connection
			d.await("feed.live")
		}
		// The feed may give up the first connection after a crash because of its sequence numbers.
		d.awaitStored(d.status().Stored + 1)
	}
	if err := d.Reconnect(t.Context(), feed); err != nil {
		t.Fatal(err)
	}
	d.await("feed.force_reconnect", "cause", "operator")
	d.await("feed.live")
	sim.inject("garbage")
	d.await("frame.bad")
	d.exact(sim)

	stats, status := sim.stats(), d.status()
	connected := len(d.records("feed.live", "from", "connecting")) + len(d.records("feed.live", "from", "reconnecting"))
	if int64(connected) != stats.Connections {
		t.Errorf("%d connections are logged, the simulator had %d", connected, stats.Connections)
	}
	refused := 0
	for _, r := range d.records("feed.disconnected") {
		if strings.HasPrefix(r.text("reason"), "refused with ") {
			refused++
		}
	}
	if int64(refused) != stats.Refused {
		t.Errorf("%d refusals are logged, the simulator made %d", refused, stats.Refused)
	}
	for event, want := range map[string]uint64{"feed.disconnected": status.Reconnects, "feed.reconnecting": status.Reconnects,
		"watchdog.stalled": status.Stalls, "actor.restarted": 0} {
		if got := uint64(len(d.records(event))); got != want {
			t.Errorf("%s is logged %d times, want %d", event, got, want)
		}
	}
	const garbage = 1 + 10 // the oversized frame, and the frames of one injection
	if status.Bad != garbage {
		t.Errorf("%d bad frames, want %d", status.Bad, garbage)
	}
	logged, counted := map[string]int{}, map[string]int{}
	eventually(t, "every event that is logged is counted, and the other way round", func() bool {
		logged, counted = d.logged(), d.counted(t)
		return maps.Equal(logged, counted)
	})
	t.Logf("%v", counted)
}

// logged returns how often each event is in the log.
func (d *daemon) logged() map[string]int {
	events := map[string]int{}
	named := regexp.MustCompile(`"event":"([^"]+)"`)
	for _, line := range d.log.all() {
		if m := named.FindStringSubmatch(line); m != nil {
			events[m[1]]++
		}
	}
	return events
}

// counted returns how often the metrics have counted each event.
func (d *daemon) counted(t *testing.T) map[string]int {
	t.Helper()
	events := map[string]int{}
	series := regexp.MustCompile(`(?m)^tempestd_events_total\{event="([^"]+)",feed="[^"]*"\} (\d+)$`)
	for _, m := range series.FindAllStringSubmatch(d.get(t, "/metrics").body, -1) {
		if n, _ := strconv.Atoi(m[2]); n > 0 {
			events[m[1]] += n
		}
	}
	return events
}

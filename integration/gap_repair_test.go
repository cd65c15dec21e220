package integration_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"math"
	"slices"
	"syscall"
	"testing"
	"time"

	"tempestd/internal/jetsim"
	"tempestd/internal/valkeytest"
	"tempestd/messages"
)

// repaired is an entry without what a repair added, and whether it did.
func repaired(event []byte) (plain []byte, did bool) {
	at := bytes.LastIndex(event, []byte(`,"repair":{"gap":`))
	if at < 0 {
		return event, false
	}
	return append(slices.Clone(event[:at]), '}'), true
}

// inOrder are the stream's events in the order of their numbers, without marks of repairs and
// without gap entries.
func (d *daemon) inOrder() (events iter.Seq2[[]byte, error], recovered int) {
	d.t.Helper()
	type numbered struct {
		Kind   string
		Cursor int64
		event  []byte
	}
	var all []numbered
	for event, err := range d.entries() {
		if err != nil {
			d.t.Fatal(err)
		}
		plain, did := repaired(event)
		n := numbered{event: plain}
		if err := json.Unmarshal(plain, &n); err != nil {
			d.t.Fatal(err)
		}
		if n.Kind == "gap" {
			continue
		}
		if did {
			recovered++
		}
		all = append(all, n)
	}
	slices.SortStableFunc(all, func(a, b numbered) int { return int(a.Cursor - b.Cursor) })
	return func(yield func([]byte, error) bool) {
		for _, n := range all {
			if !yield(n.event, nil) {
				return
			}
		}
	}, recovered
}

// wantUnion compares the union of what came live and of what was repaired with everything that the
// simulator sent: byte by byte, each event once.
func (d *daemon) wantUnion(s *simulator) {
	d.t.Helper()
	d.catchUp(s)
	events, recovered := d.inOrder()
	report, err := s.sent().Verify(events, jetsim.VerifyOptions{})
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Logf("%v; %d of them recovered", report, recovered)
	if !report.OK() || report.Stored == 0 || recovered == 0 {
		d.t.Errorf("%v, %d recovered\n%v", report, recovered, report.Examples)
	}
}

// awaitRow waits until the only gap has a state.
func (d *daemon) awaitRow(state messages.GapState) (row messages.GapRow) {
	d.t.Helper()
	eventually(d.t, fmt.Sprintf("the gap is %s", state), func() bool {
		resp := d.get(d.t.(*testing.T), "/v1/feeds/"+feed+"/gaps")
		var list struct{ Gaps []messages.GapRow }
		if err := json.Unmarshal([]byte(resp.body), &list); err != nil || len(list.Gaps) != 1 {
			return false
		}
		row = list.Gaps[0]
		return row.State == state
	})
	return row
}

// The daemon is away for longer than the socket's retention under load. It is live at once, and
// the archive has what was missed.
func TestI2_I4_WhatWasMissedIsRepairedFromTheArchive(t *testing.T) {
	t.Parallel()
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		whatWasMissed(t, nil)
	})
	t.Run("valkey", func(t *testing.T) {
		t.Parallel()
		whatWasMissed(t, onValkey(valkeytest.Start(t, valkeytest.Options{})))
	})
}

func whatWasMissed(t *testing.T, store settings) {
	sim := simulate(t, 2000, "--archive", "--segment", "2000", "--lookback", "3s", "--newer", "all")
	d := newDaemon(t, "ws://"+sim.addr, settings{"feeds." + feed + ".repair_pace": "20_000"})
	d.configure(store)
	d.startLive()
	d.awaitStored(3000)
	d.stop()
	missed := sim.stats().NewestSeq + 20_000
	eventually(t, "more is sent than the socket keeps", func() bool { return sim.stats().NewestSeq > missed })
	d.startLive()
	d.await("gap.repairing")
	if s := d.status(); s.State != messages.StateLive {
		t.Errorf("the feed is %s while the gap is repaired", s.State)
	}
	row := d.awaitRow(messages.GapRepaired)
	if row.Source != messages.SourceArchive || row.Recovered == 0 || row.Bytes == 0 || row.Missing == "" {
		t.Errorf("%+v", row)
	}
	d.wantUnion(sim)
	d.stop()
	d.startLive() // a closed gap stays closed
	if again := d.awaitRow(messages.GapRepaired); again.Version != row.Version {
		t.Errorf("version %d, then %d", row.Version, again.Version)
	}
}

// The daemon is killed again and again in the middle of a repair. It goes on where it was.
func TestI1_I2_KilledInTheMiddleOfARepair(t *testing.T) {
	t.Parallel()
	sim := simulate(t, 1000, "--archive", "--segment", "1000", "--lookback", "2s", "--newer", "all")
	d := newDaemon(t, "ws://"+sim.addr, settings{"feeds." + feed + ".repair_pace": "200"}) // a batch in five seconds: time for a kill
	d.startLive()
	d.awaitStored(2000)
	d.signal(syscall.SIGKILL)
	d.wait()
	missed := sim.stats().NewestSeq + 12_000
	eventually(t, "more is sent than the socket keeps", func() bool { return sim.stats().NewestSeq > missed })
	d.startLive()
	seen := int64(0)
	for range 4 {
		eventually(t, "the repair goes on", func() bool {
			row := d.awaitRow(messages.GapRepairing)
			more := row.Recovered > seen
			seen = max(seen, row.Recovered)
			return more
		})
		d.signal(syscall.SIGKILL)
		d.wait()
		d.startLive()
	}
	d.configure(settings{"feeds." + feed + ".repair_pace": "0"})
	d.stop()
	d.startLive()
	d.awaitRow(messages.GapRepaired)
	d.wantUnion(sim)
}

// The first endpoint has dropped what was missed, and another one still has it, under other numbers
// and times: nothing is lost.
func TestI2_I4_WhatWasMissedIsRepairedFromAnotherEndpoint(t *testing.T) {
	t.Parallel()
	// The repair waits for half a minute until the other host's events after the gap are stored: few
	// events. The hosts' history is longer than clocks may differ: it surely has the gap's beginning.
	network := jetsim.Options{Seed: 11, Rate: 100, Backlog: 100 * 40, Newer: jetsim.AllNewer()}
	other := network
	other.Skew, other.Lag, other.FirstSeq = 3*time.Second, 500*time.Millisecond, 1_000_001
	fleet, _, endpoints := listening(t, network, other)
	first := fleet.Members()[0]
	d := newDaemon(t, "ws://"+first.Addr(), settings{"feeds." + feed + ".repair_sources": `["socket"]`})
	d.startLive()
	d.awaitStored(200)
	d.stop()
	missed := first.Stats().NewestSeq + 800
	eventually(t, "something is missed", func() bool { return first.Stats().NewestSeq > missed })
	first.Forget(math.MaxInt32)
	d.configure(settings{"feeds." + feed + ".endpoints": endpoints})
	d.startLive()
	row := d.awaitRow(messages.GapRepaired)
	if row.Source != messages.SourceSocket || row.Recovered == 0 || row.Missing != "" {
		t.Errorf("%+v", row)
	}
	report := d.unionOfFleet(fleet, nil)
	t.Logf("%v; %+v", report, row)
	if !report.OK() {
		t.Errorf("%v\n%v", report, report.Examples)
	}
}

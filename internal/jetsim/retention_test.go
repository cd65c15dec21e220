package jetsim_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/jetsim"
)

// gapEntry is a gap entry of a stream.
func gapEntry(host string, from, to int64) []byte {
	return fmt.Appendf(nil, `{"kind":"gap","gap":{"host":%q,"from_us":%d,"to_us":%d,"cause":"server_moved"}}`, host, from, to)
}

func TestForgetRaisesTheFloor(t *testing.T) {
	s := start(t, jetsim.Options{Backlog: 1000})
	all := decode(t, subscribe(t, s, "cursor=0").read(1000))
	connected := subscribe(t, s, "cursor=0")
	connected.read(1)
	if n := s.Forget(400); n != 400 || s.Stats().Dropped != 400 {
		t.Errorf("dropped %d, %+v", n, s.Stats())
	}
	connected.read(999) // a connected reader keeps its segment open
	for _, cursor := range []int64{0, all[399].seq(), all[399].TimeUS, all[0].TimeUS} {
		if f := decode(t, subscribe(t, s, fmt.Sprint("cursor=", cursor)).read(1))[0]; f.seq() != all[400].seq() {
			t.Errorf("cursor %d begins with seq %d, want %d", cursor, f.seq(), all[400].seq())
		}
	}
	if resp, body := get(t, s, "GET", fmt.Sprint(pathV2, "?cursor=", all[399].seq())); resp.StatusCode != 400 {
		t.Errorf("v2 answers %d %s", resp.StatusCode, body)
	}
	// It drops the older half of the rest.
	if err := s.Inject(jetsim.Fault{Name: jetsim.FaultForget}); err != nil {
		t.Fatal(err)
	}
	if f := decode(t, subscribe(t, s, "cursor=0").read(1))[0]; f.seq() != all[700].seq() {
		t.Errorf("then a replay begins with seq %d, want %d", f.seq(), all[700].seq())
	}
	if n := s.Forget(1_000_000); n != 300 {
		t.Errorf("of 300 events %d were dropped", n)
	}
	c := subscribe(t, s, "cursor=0")
	s.Produce(1)
	if f := decode(t, c.read(1))[0]; f.seq() <= all[999].seq() {
		t.Errorf("with nothing left a replay begins with seq %d", f.seq())
	}
}

func TestForgottenHistoryStaysForgotten(t *testing.T) {
	opt := jetsim.Options{Path: filepath.Join(t.TempDir(), "history"), Block: 1_000_000}
	s, err := jetsim.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	s.Produce(500)
	s.Forget(200)
	// Apart from the dropped events, nothing was durable.
	if err := s.Inject(jetsim.Fault{Name: jetsim.FaultCrash, For: time.Hour}); err != nil {
		t.Fatal(err)
	}
	contents := s.Stats().Contents
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = start(t, opt)
	if st := s.Stats(); st.Dropped != 200 || int64(st.Served) != contents {
		t.Errorf("%+v", st)
	}
	rest := subscribe(t, s, "cursor=0").read(int(contents) - 200)
	h, err := jetsim.OpenHistory(opt.Path)
	if err != nil {
		t.Fatal(err)
	}
	for name, verify := range map[string]func() (jetsim.Report, error){
		"the simulator": func() (jetsim.Report, error) { return s.Verify(stream(rest), jetsim.VerifyOptions{}) },
		"the history":   func() (jetsim.Report, error) { return h.Verify(stream(rest), jetsim.VerifyOptions{}) },
	} {
		if r, err := verify(); err != nil || !r.OK() || r.Sent != contents-200 {
			t.Errorf("%s: %v %v", name, r, err)
		}
	}
}

// TestI4_DroppedEventsMustBeCoveredByAGap has a consumer that was away while the server dropped 300
// events.
func TestI4_DroppedEventsMustBeCoveredByAGap(t *testing.T) {
	const n = 1000
	s := start(t, jetsim.Options{Backlog: n, Rate: 0})
	frames := subscribe(t, s, "cursor=0").read(n)
	all := decode(t, frames)
	s.Forget(600)
	before, after := frames[:300], frames[600:]
	with := func(gaps ...[]byte) [][]byte { return slices.Concat(before, gaps, after) }
	lastBefore, firstAfter := all[299].TimeUS, all[600].TimeUS
	for name, fact := range map[string]struct {
		stream [][]byte
		want   jetsim.Report
	}{
		"said":            {with(gapEntry(s.Addr(), lastBefore, firstAfter)), jetsim.Report{Sent: n, Stored: 700, Dropped: 300, Gaps: 1}},
		"said of a URL":   {with(gapEntry(s.URL(), lastBefore, firstAfter)), jetsim.Report{Sent: n, Stored: 700, Dropped: 300, Gaps: 1}},
		"open":            {with(gapEntry("", lastBefore, 0)), jetsim.Report{Sent: n, Stored: 700, Dropped: 300, Gaps: 1}},
		"not said":        {with(), jetsim.Report{Sent: n, Stored: 700, Lost: 300}},
		"half of it said": {with(gapEntry("", lastBefore, all[449].TimeUS)), jetsim.Report{}},
		"and one for nothing": {append(with(gapEntry("", lastBefore, firstAfter)), gapEntry("", all[900].TimeUS, all[910].TimeUS)),
			jetsim.Report{Sent: n, Stored: 700, Dropped: 300, Gaps: 2, NeedlessGaps: 1}},
		"and more is missing": {slices.Concat(before, [][]byte{gapEntry("", lastBefore, all[800].TimeUS)}, frames[650:]),
			// The server still has the events that are missing without a gap entry.
			jetsim.Report{Sent: n, Stored: 650, Dropped: 300, Lost: 50, Gaps: 1}},
		"malformed": {with([]byte(`{"kind":"gap","gap":"wide"}`)), jetsim.Report{Sent: n, Stored: 700, Lost: 300, Gaps: 1, NeedlessGaps: 1}},
	} {
		r := verify(t, s, fact.stream, jetsim.VerifyOptions{})
		if name == "half of it said" {
			// A run of equal times may extend beyond the end of the gap.
			if r.Dropped < 150 || r.Dropped > 160 || r.Lost != 300-r.Dropped || r.OK() {
				t.Errorf("%s: %v", name, r)
			}
			continue
		}
		if r.String() != fact.want.String() || r.OK() != (fact.want.Lost == 0) {
			t.Errorf("%s: %v, want %v", name, r, fact.want)
		}
	}
}

func TestWhatAgedOutIsDroppedToo(t *testing.T) {
	clock := clockwork.NewFakeClockAt(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC))
	s := start(t, jetsim.Options{Clock: clock, Backlog: 1000, Segment: 300})
	frames := subscribe(t, s, "cursor=0").read(1000)
	all := decode(t, frames)
	clock.Advance(37 * time.Hour)
	r := verify(t, s, slices.Concat(frames[:100], [][]byte{gapEntry("", all[99].TimeUS, all[600].TimeUS)}, frames[600:]), jetsim.VerifyOptions{})
	if !r.OK() || r.Dropped != 500 || r.NeedlessGaps != 0 {
		t.Errorf("%v %q", r, r.Examples)
	}
}

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
	connected.read(999) // a reader has its segment open
	for _, cursor := range []int64{0, all[399].seq(), all[399].TimeUS, all[0].TimeUS} {
		if f := decode(t, subscribe(t, s, fmt.Sprint("cursor=", cursor)).read(1))[0]; f.seq() != all[400].seq() {
			t.Errorf("cursor %d begins with seq %d, want %d", cursor, f.seq(), all[400].seq())
		}
	}
	if resp, body := get(t, s, "GET", fmt.Sprint(pathV2, "?cursor=", all[399].seq())); resp.StatusCode != 400 {
		t.Errorf("v2 answers %d %s", resp.StatusCode, body)
	}
	if err := s.Inject(jetsim.Fault{Name: jetsim.FaultForget}); err != nil { // the older half of what is left
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
	if err := s.Inject(jetsim.Fault{Name: jetsim.FaultCrash, For: time.Hour}); err != nil { // nothing was durable but what is gone
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

// TestI4_DroppedEventsMustBeCoveredByAGap looks at a consumer that was away while the server dropped 300 events.
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
			jetsim.Report{Sent: n, Stored: 650, Dropped: 300, Lost: 50, Gaps: 1}}, // the server still has them
		"malformed": {with([]byte(`{"kind":"gap","gap":"wide"}`)), jetsim.Report{Sent: n, Stored: 700, Lost: 300, Gaps: 1, NeedlessGaps: 1}},
	} {
		r := verify(t, s, fact.stream, jetsim.VerifyOptions{})
		if name == "half of it said" {
			if r.Dropped < 150 || r.Dropped > 160 || r.Lost != 300-r.Dropped || r.OK() { // a run of equal times may reach over the edge
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

func TestStreamsOfEitherProtocolAreVerified(t *testing.T) {
	const n = 3000
	s := start(t, jetsim.Options{Backlog: n, Syncs: true})
	raw := subscribeV2(t, s, "cursor=0").read(n)
	var unwrapped, v1 [][]byte
	for _, p := range decodeV2(t, raw) {
		b := asV1(t, p)
		unwrapped = append(unwrapped, b)
		if p.kind() != "sync" {
			v1 = append(v1, b)
		}
	}
	for name, fact := range map[string]struct {
		stream   [][]byte
		protocol jetsim.Protocol
		want     jetsim.Report
	}{
		"v2 as it came":       {raw, jetsim.ProtocolV2, jetsim.Report{Sent: n, Stored: n}},
		"v2 in v1's shape":    {unwrapped, jetsim.ProtocolV2, jetsim.Report{Sent: n, Stored: n}},
		"v1":                  {v1, jetsim.ProtocolV1, jetsim.Report{Sent: int64(len(v1)), Stored: int64(len(v1))}},
		"v1 or v2":            {v1, "", jetsim.Report{Sent: int64(len(v1)), Stored: int64(len(v1))}},
		"v2 or v1":            {raw, "", jetsim.Report{Sent: n, Stored: n}},
		"v2 without syncs":    {v1, jetsim.ProtocolV2, jetsim.Report{Sent: n, Stored: int64(len(v1)), Lost: int64(n - len(v1))}},
		"v1 with syncs":       {unwrapped, jetsim.ProtocolV1, jetsim.Report{Sent: int64(len(v1)), Stored: n, Foreign: int64(n - len(v1))}},
		"in turns":            {slices.Concat(raw[:1000], unwrapped[1000:2000], raw[2000:]), jetsim.ProtocolV2, jetsim.Report{Sent: n, Stored: n}},
		"the same twice over": {append(slices.Clone(raw), unwrapped[n-1]), "", jetsim.Report{Sent: n, Stored: n + 1, Duplicated: 1}},
		"a raw one altered":   {append(slices.Clone(raw[:n-1]), append(slices.Clone(raw[n-1]), ' ')), "", jetsim.Report{Sent: n, Stored: n, Foreign: 1, Lost: 1}},
	} {
		if r := verify(t, s, fact.stream, jetsim.VerifyOptions{Protocol: fact.protocol}); r.String() != fact.want.String() {
			t.Errorf("%s: %v, want %v\n%q", name, r, fact.want, r.Examples)
		}
	}
	if _, err := s.Verify(stream(nil), jetsim.VerifyOptions{Protocol: "v3"}); err == nil {
		t.Error("any protocol is accepted")
	}
}

func TestBlindServerSendsNothingOfBlueskyAndCatchesUp(t *testing.T) {
	clock := clockwork.NewFakeClockAt(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC))
	s := start(t, jetsim.Options{Clock: clock, Syncs: true})
	c := subscribeV2(t, s, "")
	s.Produce(500)
	before := int(s.Stats().Contents)
	frames := c.read(before)
	if err := s.Inject(jetsim.Fault{Name: jetsim.FaultBlind, For: time.Minute}); err != nil {
		t.Fatal(err)
	}
	s.Produce(5000)
	st := s.Stats()
	seen := st.Served - before
	if seen == 0 || st.Contents-int64(before) < 5000 || seen > 300 {
		t.Fatalf("a blind server sees %d of %d events", seen, st.Contents-int64(before))
	}
	noise := c.read(seen)
	for _, p := range decodeV2(t, noise) {
		if len(p.Collection) > 9 && p.Collection[:9] == "app.bsky." {
			t.Fatalf("it sees %+v", p)
		}
	}
	if err := clock.BlockUntilContext(t.Context(), 2); err != nil { // the subscriber's ping and the end of blindness
		t.Fatal(err)
	}
	clock.Advance(time.Minute)
	frames = slices.Concat(frames, noise, c.read(int(st.Contents)-before-seen))
	if r := verify(t, s, frames, jetsim.VerifyOptions{Protocol: jetsim.ProtocolV2}); !r.OK() || r.Sent != st.Contents {
		t.Errorf("%v %q", r, r.Examples)
	}
	if r := verify(t, s, frames[:before+seen], jetsim.VerifyOptions{Protocol: jetsim.ProtocolV2}); r.Lost != st.Contents-int64(before+seen) {
		t.Errorf("without what came late: %v", r)
	}
}

func TestBlindnessEndsWithACrashAndSurvivesTheProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history")
	s, err := jetsim.New(jetsim.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Inject(jetsim.Fault{Name: jetsim.FaultBlind, For: time.Hour}); err != nil {
		t.Fatal(err)
	}
	s.Produce(2000)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = start(t, jetsim.Options{Path: path})
	if st := s.Stats(); int64(st.Served) != st.Contents || st.Contents < 1900 { // the last ones seen bound what is known of
		t.Errorf("%+v", st)
	}
}

func TestBlindFlood(t *testing.T) {
	s := start(t, jetsim.Options{Flood: true})
	if err := s.Inject(jetsim.Fault{Name: jetsim.FaultBlind}); err != nil {
		t.Fatal(err)
	}
	subscribe(t, s, "").read(500)
}

package jetsim_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/jonboulle/clockwork"

	"tempestd/internal/jetsim"
)

// startFleet makes a fleet that listens on loopback ports.
func startFleet(t testing.TB, members ...jetsim.Options) *jetsim.Fleet {
	t.Helper()
	f, err := jetsim.NewFleet(members...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := f.Listen(); err != nil {
		t.Fatal(err)
	}
	return f
}

func verifyFleet(t testing.TB, f *jetsim.Fleet, frames [][]byte, opt jetsim.VerifyOptions) jetsim.Report {
	t.Helper()
	r, err := f.Verify(stream(frames), opt)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestFleetMembersIngestTheSameContentsTheirOwnWay(t *testing.T) {
	clock := clockwork.NewFakeClockAt(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC))
	f := startFleet(t,
		jetsim.Options{Clock: clock, Backlog: 1000},
		jetsim.Options{Clock: clock, Backlog: 1000, Skew: 2 * time.Hour},
		jetsim.Options{Clock: clock, Backlog: 1000, Skew: -time.Hour, FirstSeq: 77, Legacy: true})
	var streams [][][]byte
	var ids [][]string
	for _, s := range f.Members() {
		frames := subscribe(t, s, "cursor=0").read(1000)
		streams = append(streams, frames)
		var own []string
		for _, fr := range decode(t, frames) {
			own = append(own, fr.identity())
		}
		ids = append(ids, own)
	}
	a, b := decode(t, streams[0]), decode(t, streams[1])
	if slices.Equal(ids[0], ids[1]) {
		t.Error("two members have the same order")
	}
	if d := b[0].TimeUS - a[0].TimeUS; d < 110*60e6 || d > 130*60e6 {
		t.Errorf("the skewed member is %v ahead", time.Duration(d)*time.Microsecond)
	}
	if a[0].seq() > 10 || b[0].seq() < 1_000_000 {
		t.Errorf("seqs begin at %d and %d", a[0].seq(), b[0].seq())
	}
	for i := range ids {
		slices.Sort(ids[i])
	}
	if !slices.Equal(ids[0], ids[1]) || !slices.Equal(ids[0], ids[2]) {
		t.Error("the members have different events")
	}
	// The stream of each member is correct.
	for i, frames := range streams {
		if r := verifyFleet(t, f, frames, jetsim.VerifyOptions{}); !r.OK() || r.Sent != 1000 {
			t.Errorf("member %d: %v %q", i, r, r.Examples)
		}
	}
}

func TestFleetVerifyJudgesSwitches(t *testing.T) {
	f := startFleet(t, jetsim.Options{Backlog: 1000}, jetsim.Options{Backlog: 1000})
	a := subscribe(t, f.Members()[0], "cursor=0").read(1000)
	b := subscribe(t, f.Members()[1], "cursor=0").read(1000)
	have := map[string]bool{}
	fresh := func(frames [][]byte) (out [][]byte) {
		for i, fr := range decode(t, frames) {
			if !have[fr.identity()] {
				have[fr.identity()] = true
				out = append(out, frames[i])
			}
		}
		return out
	}
	perfect := slices.Concat(fresh(a[:300]), fresh(b[:600]), fresh(a[200:800]), fresh(b[500:]))
	if r := verifyFleet(t, f, perfect, jetsim.VerifyOptions{}); !r.OK() || r.Sent != 1000 || r.Stored != 1000 {
		t.Fatalf("%v %q", r, r.Examples)
	}
	for name, fact := range map[string]struct {
		stream [][]byte
		want   func(r jetsim.Report) bool
	}{
		"one lost":             {perfect[1:], func(r jetsim.Report) bool { return r.Lost == 1 }},
		"one twice":            {append(slices.Clone(perfect), b[3]), func(r jetsim.Report) bool { return r.Duplicated == 1 }},
		"swapped on one":       {slices.Concat(a[:1], a[2:3], a[1:2], a[3:]), func(r jetsim.Report) bool { return r.OutOfOrder == 1 }},
		"by the other's order": {b, func(r jetsim.Report) bool { return r.OK() }},
		"switched too far":     {slices.Concat(fresh(nil), a[:300], b[600:]), func(r jetsim.Report) bool { return r.Lost > 100 }},
	} {
		if r := verifyFleet(t, f, fact.stream, jetsim.VerifyOptions{}); !fact.want(r) {
			t.Errorf("%s: %v %q", name, r, r.Examples)
		}
	}
}

func TestFleetStreamBeginsWithTheFirstFrameOfAnyMember(t *testing.T) {
	f := startFleet(t, jetsim.Options{Backlog: 500, Skew: time.Hour}, jetsim.Options{Backlog: 500})
	live := subscribe(t, f.Members()[0], "")
	f.Produce(100)
	n := int(f.Members()[0].Stats().Contents) - 500
	frames := live.read(n)
	// Another member replays the earlier events. A consumer that does not store them has lost
	// nothing.
	subscribe(t, f.Members()[1], "cursor=0").read(500 + n)
	if r := verifyFleet(t, f, frames, jetsim.VerifyOptions{}); !r.OK() || r.Sent != int64(n) {
		t.Errorf("%v %q", r, r.Examples)
	}
}

func TestFleetGapsBelongToTheHostTheyName(t *testing.T) {
	f := startFleet(t, jetsim.Options{Backlog: 1000}, jetsim.Options{Backlog: 1000, Skew: 3 * time.Hour})
	a, b := f.Members()[0], f.Members()[1]
	frames := subscribe(t, b, "cursor=0").read(1000)
	all := decode(t, frames)
	b.Forget(500) // the consumer of b was away, so 200 to 500 are missing, although a has them
	said := func(host string) [][]byte {
		return slices.Concat(frames[:200], [][]byte{gapEntry(host, all[199].TimeUS, all[500].TimeUS)}, frames[500:])
	}
	if r := verifyFleet(t, f, said(b.Addr()), jetsim.VerifyOptions{}); !r.OK() || r.Dropped != 300 || r.NeedlessGaps != 0 {
		t.Errorf("of b: %v %q", r, r.Examples)
	}
	if r := verifyFleet(t, f, said(a.Addr()), jetsim.VerifyOptions{}); r.Lost != 300 || r.NeedlessGaps != 1 {
		t.Errorf("of a: %v", r)
	}
}

func TestLaggingMemberStampsMinutesLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const lag = 7 * time.Minute
		f, err := jetsim.NewFleet(jetsim.Options{Rate: 10}, jetsim.Options{Rate: 10, Lag: lag})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		time.Sleep(10 * time.Minute) // virtual time
		f.Produce(50)
		prompt, late := f.Members()[0].Stats(), f.Members()[1].Stats()
		if prompt.Contents < 6040 || late.Contents < 1790 || late.Contents > 1830 {
			t.Errorf("after 10 min the members have %d and %d events", prompt.Contents, late.Contents)
		}
		f.StopProducing()
		prompt, late = f.Members()[0].Stats(), f.Members()[1].Stats()
		if prompt.Contents != late.Contents || late.Served != int(late.Contents) {
			t.Errorf("in the end the members have %d and %d events", prompt.Contents, late.Contents)
		}
		time.Sleep(time.Hour) // the pending ingestion has no effect any more
		if again := f.Members()[1].Stats(); again.Contents != late.Contents {
			t.Errorf("%d more events", again.Contents-late.Contents)
		}
	})
}

func TestFleetMembersFailByThemselves(t *testing.T) {
	f := startFleet(t, jetsim.Options{}, jetsim.Options{}, jetsim.Options{})
	a, b := f.Members()[0], f.Members()[1]
	f.Produce(500)
	if err := a.Inject(jetsim.Fault{Name: jetsim.FaultCrash, For: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	f.Produce(500)
	c := f.Members()[2]
	f.StopProducing()
	n := int(c.Stats().Contents)
	if r := verifyFleet(t, f, subscribe(t, c, "cursor=0").read(n), jetsim.VerifyOptions{}); !r.OK() || n < 1000 {
		t.Errorf("%v %q", r, r.Examples)
	}
}

func TestFleetOfDifferentNetworksIsRefused(t *testing.T) {
	for _, other := range []jetsim.Options{{Seed: 2}, {Accounts: 5}, {Rate: 3}, {Backlog: 3}, {Count: 3}, {Syncs: true}, {Flood: true}, {Lookback: -1}} {
		if f, err := jetsim.NewFleet(jetsim.Options{}, other); err == nil {
			t.Errorf("%+v is accepted", other)
			f.Close()
		}
	}
	if _, err := jetsim.NewFleet(); err == nil {
		t.Error("nobody is a fleet")
	}
	if _, err := jetsim.VerifyFleet(nil, stream(nil), jetsim.VerifyOptions{}); err == nil {
		t.Error("nobody is verified")
	}
	a, b := newSim(t, jetsim.Options{Seed: 1}), newSim(t, jetsim.Options{Seed: 2})
	if _, err := jetsim.VerifyFleet([]*jetsim.History{a.History(), b.History()}, stream(nil), jetsim.VerifyOptions{}); err == nil {
		t.Error("two networks are one")
	}
}

func TestFleetIsVerifiedFromItsFiles(t *testing.T) {
	dir := t.TempDir()
	var opts []jetsim.Options
	for i := range 2 {
		opts = append(opts, jetsim.Options{Path: filepath.Join(dir, fmt.Sprint(i)), Backlog: 300})
	}
	f := startFleet(t, opts...)
	frames := subscribe(t, f.Members()[1], "cursor=0").read(300)
	var histories []*jetsim.History
	for _, o := range opts {
		h, err := jetsim.OpenHistory(o.Path)
		if err != nil {
			t.Fatal(err)
		}
		histories = append(histories, h)
	}
	if r, err := jetsim.VerifyFleet(histories, stream(frames), jetsim.VerifyOptions{}); err != nil || !r.OK() || r.Sent != 300 {
		t.Errorf("%v %v %q", r, err, r.Examples)
	}
}

// TestFailoversOfAPerfectConsumerAreInOrder switches between members at random, with crashes, and
// keeps the new events. Verify must not find any fault.
func TestFailoversOfAPerfectConsumerAreInOrder(t *testing.T) {
	for seed := range uint64(12) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		f := startFleet(t,
			jetsim.Options{Accounts: 40, Block: 50, Segment: 80},
			jetsim.Options{Accounts: 40, Block: 90, Segment: 5000, Skew: time.Hour},
			jetsim.Options{Accounts: 40, Block: 20, Segment: 60, Skew: -time.Hour})
		have := map[string]bool{}
		var held [][]byte
		f.Produce(20)
		for range 1 + rnd.IntN(6) {
			f.Produce(1 + rnd.Int64N(80))
			s := f.Members()[rnd.IntN(3)]
			if rnd.IntN(3) == 0 {
				if err := s.Inject(jetsim.Fault{Name: jetsim.FaultCrash, For: time.Microsecond}); err != nil {
					t.Fatal(err)
				}
			}
			held = append(held, replay(t, s, have)...)
		}
		f.StopProducing()
		held = append(held, replay(t, f.Members()[0], have)...)
		r := verifyFleet(t, f, held, jetsim.VerifyOptions{FromFirstStored: true})
		if !r.OK() || r.Sent != int64(len(held)) {
			t.Fatalf("seed %d: %v %q", seed, r, r.Examples)
		}
	}
}

// replay reads a member from its oldest event to its newest, and returns the new events.
func replay(t testing.TB, s *jetsim.Sim, have map[string]bool) (fresh [][]byte) {
	t.Helper()
	var conn *websocket.Conn
	for s.Stats().Down || int64(s.Stats().Served) < s.Stats().Contents {
		runtime.Gosched() // it is down for a microsecond
	}
	for conn == nil {
		conn, _, _ = websocket.Dial(t.Context(), s.URL()+"?cursor=0", nil)
	}
	defer conn.CloseNow()
	for range s.Stats().Served {
		_, b, err := conn.Read(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		var f frame
		if err := json.Unmarshal(b, &f); err != nil {
			t.Fatal(err)
		}
		if !have[f.identity()] {
			have[f.identity()] = true
			fresh = append(fresh, b)
		}
	}
	return fresh
}

// TestOverReplayOfALargeSegment resumes by a time in a large active segment: the whole segment is
// sent again.
func TestOverReplayOfALargeSegment(t *testing.T) {
	const n = 200_000
	s := start(t, jetsim.Options{Backlog: n, Segment: 2 * n})
	c := subscribe(t, s, fmt.Sprint("cursor=", s.Stats().Newest-1))
	if first := decode(t, c.read(1))[0]; s.Stats().Newest-first.TimeUS < (n-1000)*1000 {
		t.Errorf("it begins %d µs before the newest event", s.Stats().Newest-first.TimeUS)
	}
}

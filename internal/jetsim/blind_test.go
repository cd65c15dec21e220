package jetsim_test

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/jetsim"
)

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
	// Two sleepers: the subscriber's ping and the end of the blindness.
	if err := clock.BlockUntilContext(t.Context(), 2); err != nil {
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
	// The history does not know contents after the last one that was ingested.
	if st := s.Stats(); int64(st.Served) != st.Contents || st.Contents < 1900 {
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

package jetsim_test

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/jetsim"
)

// crashed returns a server that has crashed and is back. before is what a client read up to the end
// before the crash, after what it read afterwards.
func crashed(t *testing.T, opt jetsim.Options) (s *jetsim.Sim, before, after []frame, raw [2][][]byte) {
	t.Helper()
	clock := clockwork.NewFakeClockAt(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC))
	opt.Clock = clock
	s = start(t, opt)
	for range 10 { // several full blocks and a part of one
		s.Produce(157)
	}
	n := int(s.Stats().Contents)
	raw[0] = subscribe(t, s, "cursor=0").read(n)
	if err := s.Inject(jetsim.Fault{Name: jetsim.FaultCrash, For: time.Second}); err != nil {
		t.Fatal(err)
	}
	for s.Stats().Down {
		clock.Advance(time.Second)
	}
	if got := s.Stats().Served; got != n {
		t.Fatalf("%d events are served after the crash, %d before", got, n)
	}
	raw[1] = subscribe(t, s, "cursor=0").read(n)
	return s, decode(t, raw[0]), decode(t, raw[1]), raw
}

func TestCrashKeepsTheSetOfEventsAndReassignsSeqs(t *testing.T) {
	_, before, after, raw := crashed(t, jetsim.Options{Block: 300})
	durable := 0
	for string(raw[0][durable]) == string(raw[1][durable]) {
		durable++
	}
	if forgotten := len(before) - durable; durable < len(before)-300 || forgotten == 0 {
		t.Fatalf("%d of %d events kept their place; a block is 300", durable, len(before))
	}

	bySeq := map[int64]string{}
	ids := map[string]int{}
	for _, f := range before {
		bySeq[f.seq()] = f.identity()
		ids[f.identity()]++
	}
	renamed := 0
	for i, f := range after {
		ids[f.identity()]--
		if i > 0 && f.seq() <= after[i-1].seq() {
			t.Fatalf("seq %d follows %d", f.seq(), after[i-1].seq())
		}
		if id, ok := bySeq[f.seq()]; ok && id != f.identity() {
			renamed++
		}
		if newest := before[len(before)-1].TimeUS; i >= durable && f.TimeUS <= newest {
			t.Fatalf("a reingested event is of %d, not newer than %d", f.TimeUS, newest)
		}
	}
	if renamed == 0 {
		t.Error("no seq names another event")
	}
	for id, n := range ids {
		if n != 0 {
			t.Errorf("event %q: %+d", id, -n)
		}
	}
}

func TestCrashKeepsEveryAccountsOrderAndEveryCommitWhole(t *testing.T) {
	_, before, after, _ := crashed(t, jetsim.Options{Accounts: 100, Block: 1_000_000})
	perAccount := func(fs []frame) map[string][]string {
		m := map[string][]string{}
		for _, f := range fs {
			m[f.DID] = append(m[f.DID], f.identity())
		}
		return m
	}
	if !maps.EqualFunc(perAccount(before), perAccount(after), slices.Equal) {
		t.Error("an account's events changed their order")
	}
	ended := map[string]bool{} // the commits that have ended
	key := func(f frame) string { return f.DID + f.Commit.Rev }
	for i, f := range after {
		if i == 0 || f.Kind != "commit" || key(f) == key(after[i-1]) {
			continue
		}
		if ended[key(f)] {
			t.Fatalf("commit %s is in pieces", key(f))
		}
		ended[key(after[i-1])] = true
	}
	if slices.EqualFunc(before, after, func(a, b frame) bool { return a.identity() == b.identity() }) {
		t.Error("the order across accounts is the same")
	}
}

func TestCrashAgesIntoDurability(t *testing.T) {
	clock := clockwork.NewFakeClockAt(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC))
	s := start(t, jetsim.Options{Clock: clock})
	s.Produce(100)
	clock.Advance(31 * time.Second) // BlockAge is 30 s
	if err := s.Inject(jetsim.Fault{Name: jetsim.FaultCrash}); err != nil {
		t.Fatal(err)
	}
	if st := s.Stats(); !st.Down || int64(st.Served) != st.Contents {
		t.Errorf("after 31 s a crash forgets: %+v", st)
	}
}

func TestNetworkGoesOnWhileTheServerIsDown(t *testing.T) {
	clock := clockwork.NewFakeClockAt(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC))
	s := start(t, jetsim.Options{Clock: clock, Rate: 100})
	if err := s.Inject(jetsim.Fault{Name: jetsim.FaultCrash, For: 10 * time.Second}); err != nil {
		t.Fatal(err)
	}
	// Two sleepers: production and the restart.
	if err := clock.BlockUntilContext(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	clock.Advance(10 * time.Second)
	frames := subscribeOnce(t, s, clock, "cursor=0", 1000)
	for i, f := range decode(t, frames) {
		if f.TimeUS < clock.Now().UnixMicro() {
			t.Fatalf("event %d was witnessed before the server was back", i)
		}
	}
}

// subscribeOnce reads n frames of a server that may still be coming back from a crash.
func subscribeOnce(t *testing.T, s *jetsim.Sim, clock *clockwork.FakeClock, query string, n int) [][]byte {
	t.Helper()
	for s.Stats().Down {
		clock.Advance(0)
	}
	return subscribe(t, s, query).read(n)
}

func TestVerifyAcceptsACrashInTheMiddle(t *testing.T) {
	s, _, _, raw := crashed(t, jetsim.Options{Block: 300})
	s.Produce(200)
	later := subscribe(t, s, "cursor=0").read(int(s.Stats().Contents))

	// A perfect consumer keeps what it had and adds the events that are new to it.
	held := slices.Clone(raw[0])
	have := map[string]bool{}
	for _, f := range decode(t, held) {
		have[f.identity()] = true
	}
	for i, f := range decode(t, later) {
		if !have[f.identity()] {
			held = append(held, later[i])
		}
	}
	if r := verify(t, s, held, jetsim.VerifyOptions{}); !r.OK() || r.Stored != s.Stats().Contents {
		t.Errorf("the perfect consumer: %v %q", r, r.Examples)
	}
	// A consumer that was away during the crash has only the later versions.
	if r := verify(t, s, later, jetsim.VerifyOptions{}); !r.OK() {
		t.Errorf("the late consumer: %v %q", r, r.Examples)
	}
	// A consumer that trusts seqs stores the renumbered events twice.
	if r := verify(t, s, append(slices.Clone(raw[0]), later[len(raw[0])-50:]...), jetsim.VerifyOptions{}); r.Duplicated != 50 {
		t.Errorf("the naive consumer: %v", r)
	}
	// An event that was kept cannot follow one that was ingested after the crash.
	swapped := slices.Clone(later)
	swapped[0], swapped[len(swapped)-1] = swapped[len(swapped)-1], swapped[0]
	if r := verify(t, s, swapped, jetsim.VerifyOptions{}); r.OutOfOrder == 0 {
		t.Errorf("ends swapped: %v", r)
	}
}

func TestHistorySurvivesTheSimulator(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history")
	opt := jetsim.Options{Path: path, Seed: 7, Block: 200}
	open := func() *jetsim.Sim {
		t.Helper()
		s, err := jetsim.New(opt)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Listen("127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	s.Produce(1000)
	first := subscribe(t, s, "cursor=0").read(int(s.Stats().Contents))
	if _, err := jetsim.New(opt); err == nil {
		t.Error("two simulators write one history")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	// After an end in good order the history is complete, byte for byte, and can be continued.
	s = open()
	again := subscribe(t, s, "cursor=0").read(len(first))
	if !slices.EqualFunc(first, again, func(a, b []byte) bool { return string(a) == string(b) }) {
		t.Error("the replay after a restart differs")
	}
	s.Produce(500)
	// The process ends while the simulated server is down. The next process ingests what the server
	// had forgotten.
	if err := s.Inject(jetsim.Fault{Name: jetsim.FaultCrash, For: time.Hour}); err != nil {
		t.Fatal(err)
	}
	want := s.Stats()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if want.Served == int(want.Contents) {
		t.Fatal("the crash forgot nothing")
	}
	s = open()
	defer s.Close()
	st := s.Stats()
	if int64(st.Served) != want.Contents || st.Generation != 1 {
		t.Errorf("%+v after %+v", st, want)
	}
	all := subscribe(t, s, "cursor=0").read(st.Served)

	// Another process can verify while this one writes.
	h, err := jetsim.OpenHistory(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := h.Verify(stream(all), jetsim.VerifyOptions{})
	if err != nil || !r.OK() || r.Sent != want.Contents {
		t.Errorf("%v %v %q", r, err, r.Examples)
	}
}

func TestHistoryOfAnotherNetworkIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history")
	newSim(t, jetsim.Options{Path: path, Seed: 7, Backlog: 10}).Close()
	for _, opt := range []jetsim.Options{{Path: path, Seed: 8}, {Path: path, Accounts: 3}, {Path: path, Legacy: true}} {
		if s, err := jetsim.New(opt); err == nil {
			t.Errorf("%+v is accepted", opt)
			s.Close()
		}
	}
	s := newSim(t, jetsim.Options{Path: path})
	if st := s.Stats(); st.Seed != 7 || st.Contents < 10 {
		t.Errorf("without a seed: %s", fmt.Sprintf("%+v", st))
	}
}

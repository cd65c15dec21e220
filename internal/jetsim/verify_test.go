package jetsim_test

import (
	"bytes"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"tempestd/internal/jetsim"
)

func TestReplayThenLiveHoldsEverything(t *testing.T) {
	s := start(t, jetsim.Options{Backlog: 5000})
	c := subscribe(t, s, "cursor=0")
	frames := c.read(5000)
	s.Produce(1000)
	frames = append(frames, c.read(int(s.Stats().Contents)-5000)...)
	r := verify(t, s, frames, jetsim.VerifyOptions{})
	if !r.OK() || r.Sent != s.Stats().Contents || r.Stored != r.Sent {
		t.Fatalf("%v\n%q", r, r.Examples)
	}
}

func TestReportReadsAsOneLine(t *testing.T) {
	r := jetsim.Report{Sent: 5, Stored: 5}
	if got, want := r.String(), "sent=5 stored=5 lost=0 duplicated=0 out_of_order=0"; got != want || !r.OK() {
		t.Errorf("%q, want %q", got, want)
	}
	r.Foreign, r.Gaps = 1, 2
	if got, want := r.String(), "sent=5 stored=5 lost=0 duplicated=0 out_of_order=0 foreign=1 gaps=2"; got != want || r.OK() {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestVerifyCatchesAnyDamage damages a perfect stream in one place, with every kind of damage.
func TestVerifyCatchesAnyDamage(t *testing.T) {
	const n = 150
	s := start(t, jetsim.Options{Backlog: n})
	frames := subscribe(t, s, "cursor=0").read(n)
	damages := map[string]struct {
		do   func(f [][]byte, i, j int) [][]byte
		want jetsim.Report
	}{
		"lost":       {func(f [][]byte, i, _ int) [][]byte { return slices.Delete(f, i, i+1) }, jetsim.Report{Sent: n, Stored: n - 1, Lost: 1}},
		"duplicated": {func(f [][]byte, i, j int) [][]byte { return slices.Insert(f, j, f[i]) }, jetsim.Report{Sent: n, Stored: n + 1, Duplicated: 1}},
		"moved": {func(f [][]byte, i, j int) [][]byte {
			e := f[i]
			return slices.Insert(slices.Delete(f, i, i+1), j, e)
		}, jetsim.Report{Sent: n, Stored: n, OutOfOrder: 1}},
		"altered": {func(f [][]byte, i, _ int) [][]byte {
			f[i] = append(slices.Clone(f[i]), ' ')
			return f
		}, jetsim.Report{Sent: n, Stored: n, Altered: 1}},
		"of another account": {func(f [][]byte, i, _ int) [][]byte {
			f[i] = bytes.Replace(f[i], []byte(`"did:plc:`), []byte(`"did:web:`), 1)
			return f
		}, jetsim.Report{Sent: n, Stored: n, Lost: 1, Foreign: 1}},
		"cut": {func(f [][]byte, i, _ int) [][]byte {
			f[i] = f[i][:len(f[i])/2]
			return f
		}, jetsim.Report{Sent: n, Stored: n, Lost: 1, Foreign: 1}},
		"empty": {func(f [][]byte, i, _ int) [][]byte { return slices.Insert(f, i, nil) }, jetsim.Report{Sent: n, Stored: n + 1, Foreign: 1}},
		"gap":   {func(f [][]byte, i, _ int) [][]byte { return slices.Insert(f, i, []byte(`{"kind":"gap","gap":{}}`)) }, jetsim.Report{Sent: n, Stored: n, Gaps: 1, NeedlessGaps: 1}},
	}
	for name, d := range damages {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				i := rapid.IntRange(0, n-3).Draw(rt, "at")
				j := rapid.IntRange(i+2, n-1).Draw(rt, "to")
				got := verify(t, s, d.do(slices.Clone(frames), i, j), jetsim.VerifyOptions{})
				examples := got.Examples
				got.Examples = nil
				if got.String() != d.want.String() || got.OK() != d.want.OK() {
					rt.Fatalf("%v, want %v\n%q", got, d.want, examples)
				}
			})
		})
	}
}

func TestVerifyOfAFilteredStream(t *testing.T) {
	s := start(t, jetsim.Options{Backlog: 3000})
	query := url.Values{"wantedCollections": {"app.bsky.feed.post", "app.bsky.graph.*"}, "maxMessageSizeBytes": {"900"}}
	opt := jetsim.VerifyOptions{Query: query, Protocol: jetsim.ProtocolV1}
	s.StopProducing()
	c := subscribe(t, s, query.Encode()+"&cursor=0")
	everything := subscribe(t, s, "cursor=0").read(3000)
	full := verify(t, s, everything, opt)
	frames := c.read(3000 - int(full.Foreign)) // unwanted events are foreign
	if r := verify(t, s, frames, opt); !r.OK() || r.Sent != int64(len(frames)) || r.Sent == 0 {
		t.Errorf("%v %q", r, r.Examples)
	}
	if r := verify(t, s, frames[1:], opt); r.Lost != 1 {
		t.Errorf("one lost: %v", r)
	}
	if _, err := s.Verify(stream(nil), jetsim.VerifyOptions{Query: url.Values{"wantedCollections": {"*"}}}); err == nil {
		t.Error("a bad query is accepted")
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

func TestVerifyBeginsWithTheFirstFrameSent(t *testing.T) {
	s := start(t, jetsim.Options{Backlog: 1000})
	if r := verify(t, s, nil, jetsim.VerifyOptions{}); !r.OK() || r.Sent != 0 {
		t.Errorf("nothing was sent: %v", r)
	}
	c := subscribe(t, s, "") // at the live tip
	s.Produce(500)
	live := c.read(int(s.Stats().Contents) - 1000)
	if r := verify(t, s, live, jetsim.VerifyOptions{}); !r.OK() || r.Sent != int64(len(live)) {
		t.Errorf("live: %v", r)
	}
	// A subscriber that comes later may hold events that were sent to no subscriber before, or may
	// hold fewer.
	if r := verify(t, s, subscribe(t, s, "cursor=0").read(1000+len(live)), jetsim.VerifyOptions{}); !r.OK() || r.Sent != int64(1000+len(live)) {
		t.Errorf("from the start: %v", r)
	}
	if r := verify(t, s, live[100:], jetsim.VerifyOptions{}); r.Lost != 100 {
		t.Errorf("later: %v", r)
	}
	if r := verify(t, s, live[100:], jetsim.VerifyOptions{FromFirstStored: true}); !r.OK() || r.Sent != int64(len(live)-100) {
		t.Errorf("from its own first entry: %v", r)
	}
}

func TestVerifyOfAStreamStillBeingFilled(t *testing.T) {
	s := start(t, jetsim.Options{Backlog: 1000})
	frames := subscribe(t, s, "cursor=0").read(1000)
	if r := verify(t, s, frames[:900], jetsim.VerifyOptions{AllowTail: true}); !r.OK() || r.Pending != 100 || r.Sent != 1000 {
		t.Errorf("%v", r)
	}
	if r := verify(t, s, slices.Delete(slices.Clone(frames[:900]), 500, 503), jetsim.VerifyOptions{AllowTail: true}); r.Lost != 3 || r.Pending != 100 {
		t.Errorf("with three lost: %v", r)
	}
}

func TestVerifyReturnsTheIterationsError(t *testing.T) {
	s := newSim(t, jetsim.Options{})
	broken := errors.New("disk on fire")
	if _, err := s.Verify(func(yield func([]byte, error) bool) { yield(nil, broken) }, jetsim.VerifyOptions{}); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

func FuzzVerify(f *testing.F) {
	s, err := jetsim.New(jetsim.Options{Backlog: 100})
	if err != nil {
		f.Fatal(err)
	}
	if err := s.Listen("127.0.0.1:0"); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { s.Close() })
	for _, b := range subscribe(f, s, "cursor=0").read(100) {
		f.Add(b)
	}
	f.Add([]byte(`{"kind":"gap"}`))
	f.Add([]byte(`{"did":"`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := s.Verify(stream([][]byte{b, b}), jetsim.VerifyOptions{})
		if err != nil {
			t.Fatal(err)
		}
		// Two copies of one entry are never two events in good order.
		if r.Gaps != 2 && r.OK() || r.Gaps+r.Stored != 2 || r.Sent != r.Lost+r.Stored-r.Duplicated-r.Foreign {
			t.Errorf("%q twice: %v", b, r)
		}
	})
}

func FuzzOpenHistory(f *testing.F) {
	path := filepath.Join(f.TempDir(), "history")
	s, err := jetsim.New(jetsim.Options{Path: path, Accounts: 10, Backlog: 20, Block: 7})
	if err != nil {
		f.Fatal(err)
	}
	s.Produce(10)
	if err := s.Inject(jetsim.Fault{Name: jetsim.FaultCrash}); err != nil {
		f.Fatal(err)
	}
	if err := s.Close(); err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:len(whole)-5])
	f.Add(whole[:20])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		b = slices.Clone(b)
		if len(b) >= 24 {
			clear(b[17:24]) // a million accounts would be valid, but slow to make
		}
		path := filepath.Join(t.TempDir(), "history")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		h, err := jetsim.OpenHistory(path)
		if err != nil {
			if h != nil || !errors.Is(err, jetsim.ErrBadHistory) {
				t.Fatalf("%v, %v", h, err)
			}
			return
		}
		if _, err := h.Verify(stream(nil), jetsim.VerifyOptions{}); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzSubscribeQuery(f *testing.F) {
	s := newSim(f, jetsim.Options{Backlog: 10})
	for _, q := range []string{"cursor=1", "cursor=%zz", "wantedCollections=app.bsky.*", "wantedDids=did:plc:x&maxMessageSizeBytes=9", "a;b", "compress=true"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, query string) {
		if code := answer(s, query); !slices.Contains([]int{400, 426, 501}, code) {
			t.Errorf("?%q answers %d", query, code)
		}
	})
}

package jetsim_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/coder/websocket"

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
	if want := "sent="; !bytes.HasPrefix([]byte(r.String()), []byte(want)) {
		t.Errorf("report is %q", r)
	}
}

func TestVerifyCatchesWhatIsWrong(t *testing.T) {
	s := start(t, jetsim.Options{Backlog: 3000})
	frames := subscribe(t, s, "cursor=0").read(3000)
	damage := func(f func([][]byte) [][]byte) jetsim.Report {
		return verify(t, s, f(slices.Clone(frames)), jetsim.VerifyOptions{})
	}
	if r := damage(func(f [][]byte) [][]byte { return slices.Delete(f, 1000, 1001) }); r.Lost != 1 || r.OK() || r.OutOfOrder+r.Duplicated != 0 {
		t.Errorf("one lost: %v", r)
	}
	if r := damage(func(f [][]byte) [][]byte { return slices.Insert(f, 2000, f[1000]) }); r.Duplicated != 1 || r.OK() || r.OutOfOrder+r.Lost != 0 {
		t.Errorf("one duplicated: %v", r)
	}
	if r := damage(func(f [][]byte) [][]byte { f[7], f[8] = f[8], f[7]; return f }); r.OutOfOrder != 1 || r.OK() || r.Lost+r.Duplicated != 0 {
		t.Errorf("two swapped: %v", r)
	}
	if r := damage(func(f [][]byte) [][]byte { f[9] = append(slices.Clone(f[9]), ' '); return f }); r.Altered != 1 || r.OK() || r.Lost != 0 {
		t.Errorf("one altered: %v", r)
	}
	if r := damage(func(f [][]byte) [][]byte {
		f[9] = bytes.Replace(f[9], []byte("did:plc:"), []byte("did:plc:x"), 1)
		return f
	}); r.Foreign != 1 || r.Lost != 1 || r.OK() {
		t.Errorf("one of another account: %v", r)
	}
	if r := damage(func(f [][]byte) [][]byte { return slices.Insert(f, 5, []byte(`{"kind":"gap"}`)) }); r.Gaps != 1 || !r.OK() || r.Stored != 3000 {
		t.Errorf("one gap: %v", r)
	}
	if r := damage(func(f [][]byte) [][]byte { return f[:2900] }); r.Lost != 100 {
		t.Errorf("the end missing: %v", r)
	}
}

func TestFaultsEndConnections(t *testing.T) {
	for name, check := range map[string]func(error) bool{
		jetsim.FaultClose: func(err error) bool { return websocket.CloseStatus(err) == websocket.StatusGoingAway },
		jetsim.FaultEOF:   func(err error) bool { return websocket.CloseStatus(err) == -1 },
		jetsim.FaultReset: func(err error) bool { return websocket.CloseStatus(err) == -1 },
		jetsim.FaultCrash: func(err error) bool { return websocket.CloseStatus(err) == -1 },
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, jetsim.Options{Backlog: 100})
			c := subscribe(t, s, "cursor=0")
			c.read(100)
			if err := s.Inject(jetsim.Fault{Name: name}); err != nil {
				t.Fatal(err)
			}
			if _, err := c.rest(); !check(err) {
				t.Errorf("the client sees %v", err)
			}
		})
	}
}

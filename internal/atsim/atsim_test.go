package atsim_test

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/jonboulle/clockwork"
	"go.uber.org/goleak"

	"tempestd/internal/archive/dagcbor"
	"tempestd/internal/atsim"
	"tempestd/internal/jetsim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newSim(t *testing.T) *atsim.Sim {
	t.Helper()
	s, err := atsim.New(atsim.Options{Hosts: 3, Seed: 1, Clock: clockwork.NewRealClock()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// lines are what a simulated Jetstream sends.
func lines(t *testing.T, n int64) [][]byte {
	t.Helper()
	js, err := jetsim.New(jetsim.Options{Seed: 5, Accounts: 50, Backlog: n})
	if err != nil {
		t.Fatal(err)
	}
	defer js.Close()
	if err := js.Listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, js.URL()+"?cursor=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	conn.SetReadLimit(1 << 20)
	var all [][]byte
	for range n {
		_, line, err := conn.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, line)
	}
	return all
}

// What the servers hold is what is left of everything that a simulated Jetstream has sent.
func TestServersHoldWhatASimulatedJetstreamSent(t *testing.T) {
	s := newSim(t)
	type place struct{ did, path string }
	left, revs, inactive := map[place]string{}, map[string]string{}, map[string]bool{}
	for _, line := range lines(t, 5000) {
		if err := s.ApplyLine(line); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		var e struct {
			DID, Kind string
			Commit    struct {
				Rev, Operation, Collection, RKey string
				Record                           json.RawMessage
			}
			Account struct {
				Active bool
				Status string
			}
		}
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		at := place{e.DID, e.Commit.Collection + "/" + e.Commit.RKey}
		switch {
		case e.Kind == "account":
			inactive[e.DID] = !e.Account.Active
			maps.DeleteFunc(left, func(p place, _ string) bool { return e.Account.Status == "deleted" && p.did == e.DID })
		case e.Kind != "commit":
		case e.Commit.Operation == "delete":
			delete(left, at)
		default:
			v, err := dagcbor.FromJSON(e.Commit.Record)
			if err != nil {
				t.Fatal(err)
			}
			block, err := dagcbor.Append(nil, v)
			if err != nil {
				t.Fatal(err)
			}
			left[at] = dagcbor.Sum(dagcbor.CodecDAGCBOR, block).String()
		}
		if e.Kind == "commit" {
			revs[e.DID] = max(revs[e.DID], e.Commit.Rev)
		}
	}
	held := 0
	for did, rev := range revs {
		if s.Rev(did) != rev {
			t.Errorf("%s: the revision %s, want %s", did, s.Rev(did), rev)
		}
		for _, r := range s.Records(did) {
			held++
			if want := left[place{did, r.Collection + "/" + r.RKey}]; r.CID.String() != want {
				t.Errorf("%s: %s/%s is %v, want %s", did, r.Collection, r.RKey, r.CID, want)
			}
		}
	}
	if held != len(left) || held < 3000 || len(inactive) == 0 {
		t.Errorf("%d records are held, want %d; %d accounts changed how they stand", held, len(left), len(inactive))
	}
}

// A seed gives the same events again, and those of another seed are others.
func TestEventsOfASeed(t *testing.T) {
	from := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	text := func(seed uint64) string {
		b, err := json.Marshal(atsim.Generate(seed, 5, 100, from))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if once, again := text(1), text(1); once != again || once == text(2) {
		t.Error("the events are not those of their seed")
	}
	s := newSim(t)
	for _, e := range atsim.Generate(1, 5, 100, from) {
		if err := s.Apply(e); err != nil {
			t.Fatal(err)
		}
	}
	deleted := strings.Count(text(1), `"Operation":"delete"`)
	held := 0
	for n := range 5 {
		held += len(s.Records(atsim.DID(1, n)))
	}
	if deleted < 10 || held < 300 || held > 500-2*deleted+5 {
		t.Errorf("%d records are held after %d deletes", held, deleted)
	}
}

func TestEventsThatAreNone(t *testing.T) {
	s := newSim(t)
	did := atsim.DID(1, 1)
	for _, e := range []atsim.Event{{}, {DID: did, Operation: "move"}, {DID: did, Operation: "create", Collection: "a.b.c", RKey: "x"},
		{DID: did, Operation: "create", Collection: "a.b.c", RKey: "x", Record: []byte(`{"n":1.5}`)}} {
		if err := s.Apply(e); err == nil {
			t.Errorf("%+v is applied", e)
		}
	}
	if err := s.ApplyLine([]byte("{")); err == nil {
		t.Error("half a line is applied")
	}
	if n := len(s.Records(did)); n != 0 {
		t.Errorf("%d records", n)
	}
}

func TestFaultsHaveNames(t *testing.T) {
	var names []string
	for _, f := range atsim.Faults() {
		if f.Effect == "" {
			t.Errorf("%s has no effect", f.Name)
		}
		names = append(names, f.Name)
	}
	if slices.Sort(names); len(slices.Compact(names)) != len(atsim.Faults()) || len(names) < 30 {
		t.Errorf("%d faults, %q", len(atsim.Faults()), names)
	}
}

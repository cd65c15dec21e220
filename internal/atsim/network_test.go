package atsim_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/jonboulle/clockwork"

	"tempestd/internal/accounts"
	"tempestd/internal/atsim"
	"tempestd/internal/config"
	"tempestd/internal/jetsim"
	"tempestd/internal/timeline"
)

// sent is what a socket has sent of an account.
type sent struct {
	records map[string]string // JSON and CID, by path
	rev     string
	active  bool
}

// overSocket reads everything from a socket.
func overSocket(t *testing.T, js *jetsim.Sim, n int64) map[string]*sent {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, js.URL()+"?cursor=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	conn.SetReadLimit(1 << 20)
	all := map[string]*sent{}
	for range n {
		_, line, err := conn.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var e struct {
			DID, Kind string
			Commit    struct {
				Rev, Operation, Collection, RKey, CID string
				Record                                json.RawMessage
			}
			Account struct {
				Active bool
				Status string
			}
		}
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		a := all[e.DID]
		if a == nil {
			a = &sent{records: map[string]string{}, active: true}
			all[e.DID] = a
		}
		path := e.Commit.Collection + "/" + e.Commit.RKey
		switch {
		case e.Kind == "account":
			if a.active = e.Account.Active; e.Account.Status == "deleted" {
				clear(a.records)
			}
		case e.Kind != "commit":
		case e.Commit.Operation == "delete":
			a.rev = e.Commit.Rev
			delete(a.records, path)
		default:
			a.rev = e.Commit.Rev
			a.records[path] = e.Commit.CID + string(e.Commit.Record)
		}
	}
	return all
}

// What a socket has sent is what lists, repositories and the timeline show: the same records, byte
// by byte, with the same CIDs and revs.
func TestANetworkAgrees(t *testing.T) {
	const events = 4000
	clock := clockwork.NewRealClock()
	js, err := jetsim.New(jetsim.Options{Accounts: 30, Backlog: events, Archive: &jetsim.ArchiveOptions{}})
	if err != nil {
		t.Fatal(err)
	}
	defer js.Close()
	if err := js.Listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	s := newSim(t)
	viewer, err := s.Watch(js.Accounts(12), time.Now().AddDate(0, -1, 0))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	enough, seen := errors.New("enough"), 0
	if err := js.Follow(ctx, func(line []byte) error {
		if seen++; seen == events {
			cancel(enough)
		}
		return s.ApplyLine(line)
	}); !errors.Is(err, enough) {
		t.Fatal(err)
	}
	all := overSocket(t, js, events)

	n := accounts.NewNetwork(accounts.NetworkOptions{Clock: clock, Dir: t.TempDir(), Policy: s.Policy(), PLC: s.PLC(), TXT: s.TXT, Origin: s.Origin, Start: math.MaxFloat64})
	defer n.Close()
	active := 0
	for did, a := range all {
		head, err := n.Latest(t.Context(), did)
		if err != nil || (head.State == accounts.Active) != a.active || a.active && head.Rev != a.rev {
			t.Fatalf("%s: %+v, %v; the socket's rev is %s, active %v", did, head, err, a.rev, a.active)
		}
		if !a.active {
			continue
		}
		active++
		got := map[string]string{}
		take := func(r accounts.Record) error {
			got[r.Collection+"/"+r.RKey] = r.CID.String() + string(r.JSON)
			return nil
		}
		d, err := n.Repository(t.Context(), did, nil, take)
		if err != nil || d.Skipped > 0 || d.Rev != a.rev || !maps.Equal(got, a.records) {
			t.Errorf("%s: the repository %+v, %v, has %d records, want %d", did, d, err, len(got), len(a.records))
		}
		clear(got)
		collections, _, err := n.Collections(t.Context(), did)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range collections {
			if l, err := n.List(t.Context(), did, c, accounts.ListOptions{}, take); err != nil || l.Skipped > 0 || !l.Complete() {
				t.Fatalf("%s: the list of %s %+v, %v", did, c, l, err)
			}
		}
		if !maps.Equal(got, a.records) {
			t.Errorf("%s: the lists have %d records, want %d", did, len(got), len(a.records))
		}
	}
	if active < 15 {
		t.Errorf("%d of %d accounts are active", active, len(all))
	}

	account := timeline.New(timeline.Options{Identifier: viewer, Password: config.NewSecret(atsim.ViewerPassword), Clock: clock,
		Store: timeline.FileStore(filepath.Join(t.TempDir(), "session")), Calls: n.Calls, Directory: n.Directory, Accounts: n.Client})
	follows, _, err := account.Follows(t.Context())
	if err != nil || len(follows) != 12 {
		t.Fatalf("%d follows, %v", len(follows), err)
	}
	shown := map[string]string{}
	read, err := account.Timeline(t.Context(), timeline.ReadOptions{Since: time.Now().Add(-time.Hour),
		Wanted: func(did string) bool { return slices.Contains(follows, did) }}, func(r accounts.Record) error {
		shown[r.DID+"/"+r.Collection+"/"+r.RKey] = r.CID.String() + string(r.JSON)
		return nil
	})
	if err != nil || read.Skipped > 0 {
		t.Fatalf("%+v, %v", read, err)
	}
	posts, reposts := 0, 0
	for _, did := range follows {
		a := all[did]
		if a == nil || !a.active {
			continue
		}
		for path, record := range a.records {
			switch got := shown[did+"/"+path]; {
			case strings.HasPrefix(path, "app.bsky.feed.post/"):
				if posts++; got != record {
					t.Errorf("the timeline has %.100s of %s/%s, want %.100s", got, did, path, record)
				}
			case strings.HasPrefix(path, "app.bsky.feed.repost/") && got != "":
				if reposts++; got != record {
					t.Errorf("the timeline has %.100s of %s/%s, want %.100s", got, did, path, record)
				}
			}
			delete(shown, did+"/"+path)
		}
	}
	if posts < 50 || reposts < 20 || len(shown) > 0 {
		t.Errorf("%d posts and %d reposts are shown, and %v that were not sent", posts, reposts, slices.Collect(maps.Keys(shown)))
	}
	t.Logf("%d accounts, %d active; %d posts and %d reposts in the timeline; %v", len(all), active, posts, reposts, s.Requests())
}

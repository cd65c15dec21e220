package accounts_test

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"os"
	"slices"
	"testing"
	"time"

	"tempestd/internal/accounts"
	"tempestd/internal/accounts/guard"
	"tempestd/internal/accounts/pace"
	"tempestd/internal/accounts/xrpc"
	"tempestd/internal/atsim"
)

// show is a record as a line.
func show(collection, rkey string, cid fmt.Stringer, json []byte) string {
	return fmt.Sprintf("%s/%s %v %s", collection, rkey, cid, json)
}

// What lists and repositories give is what the servers hold, to the byte, and signed by either
// curve.
func TestEverythingThatServersHoldIsRead(t *testing.T) {
	r := newRig(t, 3)
	r.fill(t, 12, 150)
	curves := map[string]bool{}
	for n := range 12 {
		did := atsim.DID(seed, n)
		var want []string
		for _, held := range r.sim.Records(did) {
			want = append(want, show(held.Collection, held.RKey, held.CID, held.JSON))
		}
		collections, _, err := r.Collections(t.Context(), did)
		if err != nil || len(collections) < 4 {
			t.Fatal(collections, err)
		}
		var listed []string
		for _, collection := range collections {
			listing, err := r.List(t.Context(), did, collection, accounts.ListOptions{}, func(got accounts.Record) error {
				if got.DID != did || got.Rev != "" {
					t.Errorf("a record of %s, %q", got.DID, got.Rev)
				}
				listed = append(listed, show(got.Collection, got.RKey, got.CID, got.JSON))
				return nil
			})
			if err != nil || !listing.Complete() || listing.Skipped > 0 {
				t.Fatal(listing, err)
			}
		}
		slices.Sort(listed)
		if !slices.Equal(listed, want) {
			t.Errorf("%s: %d records listed, want %d: %q", did, len(listed), len(want), listed[0])
		}
		var downloaded []string
		d, err := r.Repository(t.Context(), did, nil, func(got accounts.Record) error {
			downloaded = append(downloaded, show(got.Collection, got.RKey, got.CID, got.JSON))
			return nil
		})
		if err != nil || d.Rev != r.sim.Rev(did) || d.Records != len(want) || !slices.Equal(downloaded, want) {
			t.Errorf("%s: %+v, %v, want %d records", did, d, err, len(want))
		}
		some := 0
		d, err = r.Repository(t.Context(), did, func(p accounts.Path) bool { return p.Collection == posts }, func(got accounts.Record) error { some++; return nil })
		if err != nil || some == 0 || some != d.Records || some == len(want) {
			t.Errorf("of one collection %d, %+v, %v", some, d, err)
		}
		id, err := r.directory.Lookup(t.Context(), did)
		if err != nil {
			t.Fatal(err)
		}
		curves[id.Key.String()[:4]] = true
	}
	if len(curves) != 2 {
		t.Errorf("the keys begin with %v: want both curves", curves)
	}
	if n := len(r.skipped); n > 0 {
		t.Errorf("%d skipped: %v", n, r.skipped[0])
	}
}

// A list ends at the time that is asked for, with slack, and goes to the end for keys that are
// none.
func TestListsEndAtATime(t *testing.T) {
	r := newRig(t, 1)
	did := atsim.DID(seed, 0)
	r.posts(t, did, 1000)
	for _, row := range []struct {
		since          time.Duration
		records, pages int
		end            accounts.End
	}{
		{10 * time.Minute, 70, 1, accounts.EndOfTime}, // and an hour of slack
		{5 * time.Hour, 360, 4, accounts.EndOfTime},
		{24 * time.Hour, 1000, 11, accounts.EndOfList},
		{0, 1000, 11, accounts.EndOfList},
	} {
		opt := accounts.ListOptions{}
		if row.since > 0 {
			opt.Since = epoch.Add(-row.since)
		}
		got, err := r.List(t.Context(), did, posts, opt, func(accounts.Record) error { return nil })
		if err != nil || got.Records != row.records || got.Pages != row.pages || got.End != row.end || !got.Complete() {
			t.Errorf("%v: %+v, %v; want %+v", row.since, got, err, row)
		}
	}
	for _, key := range []string{"self", "zzzzzzzzzzzzz", "a", "3.x"} {
		r.apply(t, atsim.Event{DID: did, Operation: "create", Collection: "a.b.c", RKey: key, Record: []byte(`{"$type":"a.b.c"}`)})
	}
	got, err := r.List(t.Context(), did, "a.b.c", accounts.ListOptions{Since: epoch}, func(accounts.Record) error { return nil })
	if err != nil || got.Records != 4 || got.End != accounts.EndOfList {
		t.Errorf("keys that are no TIDs: %+v, %v", got, err)
	}
	got, err = r.List(t.Context(), did, posts, accounts.ListOptions{Most: 250}, func(accounts.Record) error { return nil })
	if err != nil || got.Records != 250 || got.End != accounts.EndBound || got.Complete() {
		t.Errorf("bounded: %+v, %v", got, err)
	}
	stop := errors.New("stop")
	if got, err = r.List(t.Context(), did, posts, accounts.ListOptions{}, func(accounts.Record) error { return stop }); !errors.Is(err, stop) || got.Records != 1 {
		t.Errorf("stopped: %+v, %v", got, err)
	}
}

// The cheapest question: 10 000 accounts, of which 50 have missed something. The race detector makes
// each request five times as slow, and gets fewer.
func TestFewRequestsTellWhoMissedSomething(t *testing.T) {
	const missed = 50
	all := 10_000
	if raceEnabled {
		all = 1_500
	}
	r := newRig(t, 8)
	held := map[string]string{}
	for n := range all {
		did, at := atsim.DID(seed, n), epoch.Add(-time.Hour)
		r.apply(t, atsim.Event{DID: did, Rev: atsim.TID(at, 0), Operation: "create", Collection: posts, RKey: atsim.TID(at, 0), Record: []byte(`{"$type":"app.bsky.feed.post"}`)})
		held[did] = r.sim.Rev(did)
	}
	for n := range missed {
		at := epoch.Add(-time.Minute)
		r.apply(t, atsim.Event{DID: atsim.DID(seed, n*7), Rev: atsim.TID(at, 0), Operation: "create", Collection: posts, RKey: atsim.TID(at, 1), Record: []byte(`{"$type":"app.bsky.feed.post","n":1}`)})
	}
	found := 0
	for n := range all {
		did := atsim.DID(seed, n)
		if n%100 == 0 { // a fake clock keeps the timeouts of what is done until they are over
			r.clock.Advance(2 * time.Minute)
		}
		yes, head, err := r.Missed(t.Context(), did, held[did])
		if err != nil || head.State != accounts.Active {
			t.Fatal(head, err)
		}
		if yes != (n%7 == 0 && n < missed*7) {
			t.Errorf("account %d missed something: %v", n, yes)
		}
		if !yes {
			continue
		}
		listing, err := r.List(t.Context(), did, posts, accounts.ListOptions{Since: epoch.Add(-10 * time.Minute)}, func(accounts.Record) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		found += listing.Records
	}
	want := map[string]int{"plc": all, "getLatestCommit": all, "listRecords": 2 * missed}
	if got := r.sim.Requests(); !maps.Equal(got, want) {
		t.Errorf("requests %v, want %v", got, want)
	}
	if found != 2*missed { // the one that was held is within the slack
		t.Errorf("%d records", found)
	}
	t.Logf("%d accounts, %d missed something: %v", all, missed, r.sim.Requests())
}

func TestDeletesAreFoundByComparing(t *testing.T) {
	r := newRig(t, 1)
	did := atsim.DID(seed, 0)
	r.posts(t, did, 350)
	r.apply(t, atsim.Event{DID: did, Operation: "update", Collection: "app.bsky.actor.profile", RKey: "self", Record: []byte(`{"a":1}`)})
	var alive []accounts.Path
	for _, held := range r.sim.Records(did) {
		alive = append(alive, accounts.Path{Collection: held.Collection, RKey: held.RKey})
	}
	var want []accounts.Path
	for _, i := range []int{0, 5, 100, 222, 350} { // the profile is first
		want = append(want, alive[i])
		r.apply(t, atsim.Event{DID: did, Operation: "delete", Collection: alive[i].Collection, RKey: alive[i].RKey})
	}
	r.sim.Inject(atsim.Fault{Name: atsim.FaultWrongCID}) // a record that cannot be read is there all the same
	got, err := r.Gone(t.Context(), did, slices.Values(alive))
	if err != nil || !slices.Equal(got.Gone, want) || len(got.Unknown) > 0 {
		t.Errorf("%+v, %v; want %v", got, err, want)
	}
	before := r.sim.Requests()["listRecords"]
	recent := alive[len(alive)-20:]
	if got, err = r.Gone(t.Context(), did, slices.Values(recent)); err != nil || !slices.Equal(got.Gone, want[4:]) {
		t.Errorf("of the newest %+v, %v", got, err)
	}
	if n := r.sim.Requests()["listRecords"] - before; n != 1 {
		t.Errorf("%d pages for the newest 20", n)
	}

	tally := accounts.NewTally(slices.Values(alive))
	if _, err := r.Repository(t.Context(), did, nil, func(got accounts.Record) error {
		tally.Seen(accounts.Path{Collection: got.Collection, RKey: got.RKey})
		return nil
	}); err != nil || !slices.Equal(tally.Gone(), want) {
		t.Errorf("by the repository %v, %v", tally.Gone(), err)
	}

	r.sim.Inject(atsim.Fault{Name: atsim.FaultRepeatedCursor, Always: true})
	if got, err = r.Gone(t.Context(), did, slices.Values(alive)); err != nil || !slices.Equal(got.Unknown, []string{posts}) || !slices.Equal(got.Gone, want[:1]) {
		t.Errorf("of a list without an end %+v, %v", got, err)
	}
	r.sim.Mend()
	r.sim.Stand(did, "deactivated")
	if got, err = r.Gone(t.Context(), did, slices.Values(alive)); err != nil || got.State != accounts.Deactivated || len(got.Gone) > 0 {
		t.Errorf("of a deactivated account %+v, %v", got, err)
	}
}

func TestWhoHasACollection(t *testing.T) {
	r := newRig(t, 2)
	var want []string
	for n := range 2500 {
		did := atsim.DID(seed, n)
		want = append(want, did)
		r.apply(t, atsim.Event{DID: did, Operation: "create", Collection: "a.b.c", RKey: "self", Record: []byte(`{}`)})
	}
	r.apply(t, atsim.Event{DID: atsim.DID(seed, 9999), Operation: "create", Collection: "a.b.d", RKey: "self", Record: []byte(`{}`)})
	r.sim.Stand(want[0], "deactivated")
	want = want[1:]
	slices.Sort(want)
	var got []string
	end, err := r.Holders(t.Context(), r.sim.Relay(), "a.b.c", func(did string) error { got = append(got, did); return nil })
	if err != nil || end != accounts.EndOfList || !slices.Equal(got, want) {
		t.Errorf("%d accounts, %v, %v; want %d", len(got), end, err, len(want))
	}
	if n := r.sim.Requests()["listReposByCollection"]; n != 3 {
		t.Errorf("%d requests", n)
	}
}

func TestOneRecord(t *testing.T) {
	r := newRig(t, 1)
	r.fill(t, 1, 50)
	did := atsim.DID(seed, 0)
	for _, held := range r.sim.Records(did) {
		got, out, err := r.Record(t.Context(), did, accounts.Path{Collection: held.Collection, RKey: held.RKey})
		if err != nil || out.State != accounts.Active || got == nil || got.CID != held.CID || string(got.JSON) != string(held.JSON) {
			t.Errorf("%+v, %+v, %v", got, out, err)
		}
	}
	if got, out, err := r.Record(t.Context(), did, accounts.Path{Collection: posts, RKey: "none"}); got != nil || err != nil || out.State != accounts.Active {
		t.Errorf("one that is none: %+v, %+v, %v", got, out, err)
	}
}

// mistaken is a network in which a server is asked for another record.
type mistaken struct {
	http.RoundTripper
	rkey string
}

func (m mistaken) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	q := r.URL.Query()
	q.Set("rkey", m.rkey)
	r.URL.RawQuery = q.Encode()
	return m.RoundTripper.RoundTrip(r)
}

// A server that answers with another record than the one asked for has none that is taken.
func TestARecordOfAnotherPathIsRefused(t *testing.T) {
	r := newRig(t, 1)
	r.posts(t, atsim.DID(seed, 0), 3)
	held := r.sim.Records(atsim.DID(seed, 0))
	asked, other := held[0], held[1]
	client := guard.New(r.sim.Policy())
	t.Cleanup(client.CloseIdleConnections)
	confused := accounts.New(accounts.Options{Directory: r.directory, Calls: xrpc.New(xrpc.Options{Clock: r.clock,
		HTTP: &http.Client{Transport: mistaken{client.Transport, other.RKey}}, Pace: pace.New(pace.Options{Clock: r.clock, Start: math.MaxFloat64})})})
	if got, _, err := confused.Record(t.Context(), atsim.DID(seed, 0), accounts.Path{Collection: asked.Collection, RKey: asked.RKey}); !errors.Is(err, accounts.ErrPath) || got != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

// An account that has moved, or has another key, is found: its document is fetched anew, once.
func TestMovedAccountsAreFollowed(t *testing.T) {
	r := newRig(t, 3)
	r.fill(t, 6, 30)
	for n := range 6 {
		did := atsim.DID(seed, n)
		head, err := r.Latest(t.Context(), did)
		if err != nil || head.Moved {
			t.Fatal(head, err)
		}
		for host := range 3 {
			r.sim.Move(did, host)
			before := r.sim.Requests()["plc"]
			d, err := r.Repository(t.Context(), did, nil, func(accounts.Record) error { return nil })
			if err != nil || d.Server != r.sim.Host(host) || d.State != accounts.Active || d.Records == 0 {
				t.Errorf("%+v, %v", d, err)
			}
			if n := r.sim.Requests()["plc"] - before; d.Moved != (n == 1) || n > 1 {
				t.Errorf("moved %v, %d documents fetched", d.Moved, n)
			}
		}
		r.sim.Rotate(did)
		if d, err := r.Repository(t.Context(), did, nil, func(accounts.Record) error { return nil }); err != nil || d.Moved || d.Records == 0 {
			t.Errorf("with a new key %+v, %v", d, err)
		}
	}
}

// The document is dropped when the network tells of a change, and after a day.
func TestDocumentsAreKeptForADay(t *testing.T) {
	r := newRig(t, 2)
	r.fill(t, 1, 1)
	did := atsim.DID(seed, 0)
	ask := func(want int) {
		t.Helper()
		if _, err := r.Latest(t.Context(), did); err != nil {
			t.Error(err)
		}
		if n := r.sim.Requests()["plc"]; n != want {
			t.Errorf("%d documents fetched, want %d", n, want)
		}
	}
	ask(1)
	ask(1)
	r.directory.Drop(did)
	ask(2)
	r.clock.Advance(24*time.Hour - time.Second)
	ask(2)
	r.clock.Advance(time.Second)
	ask(3)
}

func TestStatesOfAccounts(t *testing.T) {
	r := newRig(t, 1)
	r.fill(t, 1, 3)
	did := atsim.DID(seed, 0)
	for status, want := range map[string]accounts.State{"": accounts.Active, "deactivated": accounts.Deactivated, "takendown": accounts.TakenDown,
		"suspended": accounts.Suspended, "deleted": accounts.Deleted, "desynchronized": accounts.Inactive} {
		r.sim.Stand(did, status)
		got, err := r.Status(t.Context(), did)
		if err != nil || got.State != want || (got.Rev != "") != (status == "") {
			t.Errorf("%q: %+v, %v", status, got, err)
		}
	}
	if got, err := r.Status(t.Context(), atsim.DID(seed, 500)); err != nil || got.State != accounts.NotFound {
		t.Errorf("nobody: %+v, %v", got, err)
	}
	r.sim.Tombstone(did)
	r.directory.Drop(did)
	if got, err := r.Status(t.Context(), did); err != nil || got.State != accounts.Tombstoned {
		t.Errorf("given up: %+v, %v", got, err)
	}
}

// A repository that is larger than what is taken ends, and leaves nothing behind.
func TestI5_RepositoriesAreBounded(t *testing.T) {
	dir := t.TempDir()
	r := newRig(t, 1, func(o *accounts.Options) { o.MaxRepository, o.Dir = 20_000, dir })
	r.posts(t, atsim.DID(seed, 0), 300)
	if d, err := r.Repository(t.Context(), atsim.DID(seed, 0), nil, func(accounts.Record) error { return nil }); !errors.Is(err, accounts.ErrBound) || d.Records > 0 {
		t.Errorf("%+v, %v", d, err)
	}
	r.posts(t, atsim.DID(seed, 1), 3)
	if d, err := r.Repository(t.Context(), atsim.DID(seed, 1), nil, func(accounts.Record) error { return nil }); err != nil || d.Records != 3 {
		t.Errorf("a small one: %+v, %v", d, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left are %v, %v", left, err)
	}
}

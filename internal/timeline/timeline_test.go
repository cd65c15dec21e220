package timeline_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"go.uber.org/goleak"

	"tempestd/internal/accounts"
	"tempestd/internal/accounts/guard"
	"tempestd/internal/accounts/identity"
	"tempestd/internal/accounts/pace"
	"tempestd/internal/accounts/xrpc"
	"tempestd/internal/atsim"
	"tempestd/internal/config"
	"tempestd/internal/timeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	seed     = 3
	password = "abcd-efgh-ijkl-mnop"
	posts    = "app.bsky.feed.post"
	reposts  = "app.bsky.feed.repost"
)

var (
	epoch = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	me    = atsim.DID(seed, 0)
)

// rig is an account that follows accounts 1 to 3 of the seed and not account 4, on a clock that
// only the test moves.
type rig struct {
	sim   *atsim.Sim
	clock *clockwork.FakeClock
	opt   timeline.Options
	store *memory
	skips []accounts.Skipped
}

// memory is a Store that can be told to fail.
type memory struct {
	mu    sync.Mutex
	kept  timeline.Session
	saves []timeline.Session
	err   error
}

func (m *memory) Load(context.Context) (timeline.Session, error) { return m.kept, nil }

func (m *memory) Save(_ context.Context, s timeline.Session) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return m.err
	}
	m.kept = s
	m.saves = append(m.saves, s)
	return nil
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{clock: clockwork.NewFakeClockAt(epoch), store: &memory{}}
	var err error
	if r.sim, err = atsim.New(atsim.Options{Hosts: 2, Seed: seed, Clock: r.clock}); err != nil {
		t.Fatal(err)
	}
	client := guard.New(r.sim.Policy())
	t.Cleanup(func() {
		client.CloseIdleConnections()
		if err := r.sim.Close(); err != nil {
			t.Error(err)
		}
	})
	calls := xrpc.New(xrpc.Options{HTTP: client, Clock: r.clock, Pace: pace.New(pace.Options{Clock: r.clock, Start: math.MaxFloat64})})
	directory := identity.New(identity.Options{Calls: calls, Clock: r.clock, PLC: r.sim.PLC(), TXT: r.sim.TXT, Origin: r.sim.Origin})
	r.opt = timeline.Options{Identifier: me, Password: config.NewSecret(password), Store: r.store, Calls: calls, Directory: directory, Clock: r.clock,
		Accounts: accounts.New(accounts.Options{Calls: calls, Directory: directory}), Skipped: func(s accounts.Skipped) { r.skips = append(r.skips, s) }}
	r.sim.Password(me, password)
	for n := 1; n <= 3; n++ {
		at := epoch.Add(-30*24*time.Hour + time.Duration(n)*time.Minute)
		r.apply(t, atsim.Event{DID: me, Collection: "app.bsky.graph.follow", RKey: atsim.TID(at, 0), Operation: "create", Time: at,
			Record: fmt.Appendf(nil, `{"$type":"app.bsky.graph.follow","subject":%q}`, atsim.DID(seed, n))})
	}
	return r
}

func (r *rig) apply(t *testing.T, e atsim.Event) {
	t.Helper()
	if err := r.sim.Apply(e); err != nil {
		t.Fatal(err)
	}
}

// account is one that starts again.
func (r *rig) account() *timeline.Account { return timeline.New(r.opt) }

// write has the accounts 1 to 4 post in turn, one a minute up to now, and repost each fifth post of
// one another. It returns what the timeline has after since, the newest first.
func (r *rig) write(t *testing.T, n int, since time.Time) []string {
	t.Helper()
	var want []string
	last := ""
	for i := range n {
		at := epoch.Add(-time.Duration(n-i) * time.Minute)
		e := atsim.Event{DID: atsim.DID(seed, 1+i%4), Time: at, Operation: "create", Collection: posts, RKey: atsim.TID(at, 0),
			Record: fmt.Appendf(nil, `{"$type":"app.bsky.feed.post","text":"%d"}`, i)}
		if i%5 == 4 {
			e.Collection, e.Record = reposts, fmt.Appendf(nil, `{"$type":"app.bsky.feed.repost","subject":{"uri":%q}}`, last)
		} else {
			last = "at://" + e.DID + "/" + posts + "/" + e.RKey
		}
		r.apply(t, e)
		if i%4 < 3 && !at.Before(since) {
			want = append(want, e.DID+"/"+e.Collection+"/"+e.RKey)
		}
	}
	slices.Reverse(want)
	return want
}

// followed are the accounts of the feed.
func followed(did string) bool { return did != atsim.DID(seed, 4) }

func read(t *testing.T, a *timeline.Account, opt timeline.ReadOptions) (got []string, r timeline.Read, err error) {
	t.Helper()
	opt.Wanted = followed
	r, err = a.Timeline(t.Context(), opt, func(rec accounts.Record) error {
		if again, err := accounts.NewRecord(rec.DID, rec.Collection, rec.RKey, rec.CID.String(), rec.JSON); err != nil || !bytes.Equal(again.JSON, rec.JSON) || rec.Indexed.IsZero() {
			t.Errorf("%+v, %v", rec, err)
		}
		got = append(got, rec.DID+"/"+rec.Collection+"/"+rec.RKey)
		return nil
	})
	return got, r, err
}

func compare(t *testing.T, got, want []string) {
	t.Helper()
	got, want = slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))
	if !slices.Equal(got, want) {
		t.Errorf("%d records, want %d", len(got), len(want))
	}
}

// slack is how much further back the client reads.
const slack = 5 * time.Minute

func TestTimelineIsReadBackToATime(t *testing.T) {
	for name, fault := range map[string]string{"a server of today": "", "one that knows no since": atsim.FaultOldTimeline} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			if fault != "" {
				r.sim.Inject(atsim.Fault{Name: fault, Always: true})
			}
			since := epoch.Add(-8 * time.Hour)
			want := r.write(t, 1000, since.Add(-slack))
			got, result, err := read(t, r.account(), timeline.ReadOptions{Since: since})
			if err != nil || result.End != accounts.EndOfTime || result.Pages > 6 || result.Posts+result.Reposts != len(want) || result.Reposts == 0 {
				t.Errorf("%+v, %v, want %d records", result, err, len(want))
			}
			compare(t, got, want)

			// A later read begins where this one did.
			at := epoch.Add(time.Minute)
			e := atsim.Event{DID: atsim.DID(seed, 1), Time: at, Operation: "create", Collection: posts, RKey: atsim.TID(at, 0), Record: []byte(`{"n":1}`)}
			r.apply(t, e)
			got, later, err := read(t, r.account(), timeline.ReadOptions{Since: epoch.Add(-10 * time.Hour), StartCursor: result.StartCursor})
			if fault != "" {
				if err != nil || result.StartCursor != "" || len(got) <= len(want) {
					t.Errorf("%+v, %v, %d records", later, err, len(got))
				}
				return
			}
			if err != nil || later.Pages != 1 || later.End != accounts.EndOfTime || len(got) != 1 || got[0] != e.DID+"/"+posts+"/"+e.RKey {
				t.Errorf("%+v, %v, %q", later, err, got)
			}
			got, later, err = read(t, r.account(), timeline.ReadOptions{Since: since, StartCursor: "of another server"})
			if err != nil || len(got) != len(want)+1 {
				t.Errorf("with a cursor that is none: %+v, %v, %d records", later, err, len(got))
			}
		})
	}
}

// What the client makes of every fault of sessions and timelines. 1000 events give 660 items or so,
// of which two pages are read.
func TestEveryFaultOfATimeline(t *testing.T) {
	missing := map[string]bool{}
	for _, f := range atsim.Faults() {
		missing[f.Name] = f.Session
	}
	since := epoch.Add(-2 * time.Hour)
	for _, row := range []struct {
		fault  string
		always bool
		method string
		end    accounts.End
		got    int // records in percent of those there are; 0 with an error
		kind   func(error) bool
		logins int
		skips  int
	}{
		{atsim.FaultExpiredToken, false, "getTimeline", accounts.EndOfTime, 100, nil, 1, 0},
		{atsim.FaultExpiredToken, true, "getTimeline", 0, 0, refused("ExpiredToken"), 1, 0},
		{atsim.FaultRefreshRefused, true, "", accounts.EndOfTime, 100, nil, 1, 0}, // nobody asks
		{atsim.FaultLoginRefused, true, "", 0, 0, refused("AuthenticationRequired"), 1, 0},
		{atsim.FaultSecondFactor, false, "", 0, 0, refused("AuthFactorTokenRequired"), 1, 0},
		{atsim.FaultEchoSecret, true, "createSession", 0, 0, status(403), 1, 0},
		{atsim.FaultEchoSecret, true, "getTimeline", 0, 0, status(403), 1, 0},
		{atsim.FaultOldTimeline, true, "", accounts.EndOfTime, 100, nil, 1, 0},
		{atsim.FaultEarlyEnd, false, "", accounts.EndOfList, 100, nil, 1, 0}, // of one page: it has them all
		{atsim.FaultPlainRepost, true, "", accounts.EndOfTime, 80, nil, 1, 20},
		{atsim.FaultEmptyPage, false, "", accounts.EndOfTime, 100, nil, 1, 0},
		{atsim.FaultEmptyPage, true, "", accounts.EndEmpty, 0, nil, 1, 0},
		{atsim.FaultRepeatedCursor, true, "", accounts.EndOfTime, 100, nil, 1, 0}, // the second page ends it
		{atsim.FaultRedirect, true, "createSession", 0, 0, status(302), 1, 0},
		{atsim.FaultRedirect, true, "getTimeline", 0, 0, status(302), 1, 0},
		{atsim.FaultNotJSON, true, "getTimeline", 0, 0, is(timeline.ErrAnswer), 1, 0},
		{atsim.FaultNotJSON, true, "createSession", 0, 0, is(timeline.ErrAnswer), 1, 0},
		{atsim.FaultCutBody, true, "getTimeline", 0, 0, is(xrpc.ErrUnreachable), 1, 0},
		{atsim.FaultServerError, true, "createSession", 0, 0, status(503), 1, 0}, // a login is tried once
		{atsim.FaultRateLimit, true, "createSession", 0, 0, status(429), 1, 0},
	} {
		missing[row.fault] = false
		name := fmt.Sprintf("%s %v %s", row.fault, row.always, row.method)
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			want := r.write(t, 400, since.Add(-slack))
			r.sim.Inject(atsim.Fault{Name: row.fault, Always: row.always, Method: row.method})
			got, result, err := read(t, r.account(), timeline.ReadOptions{Since: since})
			if row.kind == nil && err != nil || row.kind != nil && !row.kind(err) {
				t.Errorf("the error is %v", err)
			}
			if n := len(got) * 100 / len(want); n > row.got || n < row.got-2 {
				t.Errorf("%d of %d records", len(got), len(want))
			}
			if err == nil && (result.End != row.end || result.Skipped*100/len(want) > row.skips+2 || result.Skipped*100/len(want) < row.skips-2) {
				t.Errorf("%+v", result)
			}
			requests := r.sim.Requests()
			if requests["createSession"] != row.logins || requests["inside"] > 0 {
				t.Errorf("requests %v", requests)
			}
			unseen(t, r, fmt.Sprint(err), fmt.Sprintf("%+v %#v %q", err, err, err), fmt.Sprintf("%+v %#v", result, r.store.kept))
		})
	}
	for name, is := range missing {
		if is {
			t.Errorf("the fault %s is not tried", name)
		}
	}
}

func refused(name string) func(error) bool { return func(err error) bool { return xrpc.Is(err, name) } }

func is(kind error) func(error) bool { return func(err error) bool { return errors.Is(err, kind) } }

func status(n int) func(error) bool {
	return func(err error) bool {
		var e *xrpc.Error
		return errors.As(err, &e) && e.Status == n
	}
}

// unseen fails if a text shows a secret, or a part of one that a server could make a name of.
func unseen(t *testing.T, r *rig, texts ...string) {
	t.Helper()
	secrets := []string{password, "abcdefghijklmnop"}
	for _, s := range r.store.saves {
		for _, token := range []string{s.Access.Reveal(), s.Refresh.Reveal()} {
			if token != "" {
				secrets = append(secrets, token)
			}
		}
	}
	for _, text := range texts {
		for _, secret := range append(secrets, "eyJ") {
			if strings.Contains(text, secret) {
				t.Errorf("%q shows %q", text, secret)
			}
		}
	}
}

func TestFollowsArePaged(t *testing.T) {
	r := newRig(t)
	want := []string{atsim.DID(seed, 3), atsim.DID(seed, 2), atsim.DID(seed, 1)}
	for n := range 450 {
		at := epoch.Add(time.Duration(n) * time.Second)
		did := atsim.DID(seed, 100+n%400) // some twice
		r.apply(t, atsim.Event{DID: me, Collection: "app.bsky.graph.follow", RKey: atsim.TID(at, 0), Operation: "create",
			Record: fmt.Appendf(nil, `{"$type":"app.bsky.graph.follow","subject":%q}`, did)})
		if n >= 50 {
			want = slices.Insert(want, 0, did)
		}
	}
	got, listing, err := r.account().Follows(t.Context())
	if err != nil || !listing.Complete() || !slices.Equal(got, want) {
		t.Errorf("%d follows, %+v, %v, want %d", len(got), listing, err, len(want))
	}
	if n := r.sim.Requests(); n["createSession"] != 0 {
		t.Errorf("requests %v", n)
	}
}

func TestI10_SessionsShowNothing(t *testing.T) {
	s := timeline.Session{DID: me, Access: config.NewSecret("eyJa"), Refresh: config.NewSecret("eyJr")}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("session", "session", s, "options", timeline.Options{Password: config.NewSecret(password)}.Password)
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	shows := []string{log.String(), string(text)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		shows = append(shows, fmt.Sprintf(verb, s), fmt.Sprintf(verb, &s))
	}
	for _, shown := range shows {
		if strings.Contains(shown, "eyJ") || strings.Contains(shown, password) || strings.Contains(shown, "65794a") {
			t.Errorf("%s shows a secret", shown)
		}
	}
}

func TestFileStore(t *testing.T) {
	dir := t.TempDir()
	f := timeline.FileStore(filepath.Join(dir, "session"))
	if s, err := f.Load(t.Context()); err != nil || s != (timeline.Session{}) {
		t.Fatalf("%+v, %v", s, err)
	}
	for n := range 3 {
		want := timeline.Session{DID: me, Server: "https://pds.example", Access: config.NewSecret(fmt.Sprint("a", n)), Refresh: config.NewSecret("r"), Logins: n, NotBefore: epoch}
		if err := f.Save(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		got, err := f.Load(t.Context())
		if err != nil || got.Access.Reveal() != want.Access.Reveal() || got.Refresh.Reveal() != "r" || got.DID != me || got.Server != want.Server || got.Logins != n || !got.NotBefore.Equal(epoch) {
			t.Errorf("%+v, %v", got, err)
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	if info, err := files[0].Info(); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(string(f), []byte(`{"access":"eyJsecret`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Load(t.Context()); err == nil || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
}

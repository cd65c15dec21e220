package daemon_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/accounts"
	"tempestd/internal/atsim"
	"tempestd/internal/client"
	"tempestd/internal/config"
	"tempestd/internal/daemon"
	"tempestd/internal/jetsim"
	"tempestd/internal/observe"
	"tempestd/internal/timeline"
	"tempestd/messages"
)

// feedLog keeps the events about gaps, by feed.
type feedLog struct {
	mu     sync.Mutex
	events map[string][]string
}

func (l *feedLog) Enabled(context.Context, slog.Level) bool { return true }
func (l *feedLog) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *feedLog) WithGroup(string) slog.Handler            { return l }
func (l *feedLog) Handle(_ context.Context, r slog.Record) error {
	of := map[string]string{}
	r.Attrs(func(a slog.Attr) bool {
		of[a.Key] = a.Value.String()
		return true
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	if name, gap := strings.CutPrefix(of["event"], "gap."); gap {
		l.events[of["feed"]] = append(l.events[of["feed"]], name)
	}
	return nil
}

// said are the events about a feed's gap, each run of them once.
func (l *feedLog) said(feed string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(slices.Compact(slices.Clone(l.events[feed])), " ")
}

// around is the network of a daemon with many feeds: each follows one account, or what one account
// follows.
type around struct {
	t    *testing.T
	js   *jetsim.Sim
	net  *atsim.Sim
	cfg  *config.Config
	log  *feedLog
	dids map[string]string // by feed

	applied atomic.Int64 // events that the accounts' servers know
}

const appPass = "app-pass"

func newAround(t *testing.T, accountsOf int) *around {
	t.Helper()
	a := &around{t: t, dids: map[string]string{}, log: &feedLog{events: map[string][]string{}}}
	var err error
	if a.js, err = jetsim.New(jetsim.Options{Accounts: accountsOf, Backlog: 1500, Segment: 100, Block: 50, Archive: &jetsim.ArchiveOptions{}, Newer: jetsim.AllNewer()}); err != nil {
		t.Fatal(err)
	}
	if err := a.js.Listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	if a.net, err = atsim.New(atsim.Options{Hosts: 4, Seed: 3, Clock: clockwork.NewRealClock()}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	followed := make(chan struct{})
	go func() {
		defer close(followed)
		_ = a.js.Follow(ctx, func(line []byte) error {
			a.applied.Add(1)
			if bytes.Contains(line, []byte(`"kind":"account"`)) {
				return nil // how an account stands is for the faults
			}
			return a.net.ApplyLine(line)
		})
	}()
	t.Cleanup(func() {
		stop()
		<-followed
		for _, err := range []error{a.js.Close(), a.net.Close()} {
			if err != nil {
				t.Error(err)
			}
		}
	})
	a.cfg = configure(t.TempDir(), "ws://"+a.js.Addr())
	a.cfg.Network.PLC, a.cfg.Network.Local = a.net.PLC(), true
	return a
}

// feed adds a feed of an account's events, or of what it follows.
func (a *around) feed(name, did string, source messages.GapSource, follows []string, collections ...string) {
	a.t.Helper()
	feed := *config.Default()
	f := feed.Feeds[0]
	f.Name, f.Endpoints, f.Start, f.Collections = name, a.cfg.Feeds[0].Endpoints, config.StartEarliest{}, collections
	f.Backoff = []time.Duration{50 * time.Millisecond}
	f.Repair.Sources = []messages.GapSource{source}
	a.dids[name] = did
	if f.DIDs = []string{did}; follows != nil {
		f.DIDs = nil
		f.Account = config.Account{Identifier: did, Password: config.NewSecret(appPass), Follows: true, Refresh: time.Hour}
		a.net.Password(did, appPass)
		for n, to := range follows {
			at := time.Now().AddDate(0, -1, 0).Add(time.Duration(n) * time.Second)
			err := a.net.Apply(atsim.Event{DID: did, Time: at, Rev: atsim.TID(at, 0), Operation: "create", Collection: "app.bsky.graph.follow", RKey: atsim.TID(at, 0),
				Record: fmt.Appendf(nil, `{"$type":"app.bsky.graph.follow","subject":%q}`, to)})
			if err != nil {
				a.t.Fatal(err)
			}
		}
	}
	a.cfg.Feeds = append(a.cfg.Feeds, f)
}

// start starts the daemon. Its requests have no pace, and end after a second.
func (a *around) start() *running {
	a.t.Helper()
	ctx, stop := context.WithCancelCause(context.Background())
	ready, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- daemon.Run(ctx, a.cfg, daemon.Options{Version: "test", Clock: clockwork.NewRealClock(), Ready: func(addr string) { ready <- addr },
			Observer: observe.New(slog.New(a.log), observe.NewMetrics(), observe.Strict()),
			Network: func(o *accounts.NetworkOptions) {
				o.Policy, o.Start, o.Timeout = a.net.Policy(), math.MaxFloat64, 4*time.Second
			}})
	}()
	select {
	case addr := <-ready:
		c, err := client.New(addr, "")
		if err != nil {
			a.t.Fatal(err)
		}
		return &running{Client: c, stop: stop, ended: ended}
	case err := <-ended:
		a.t.Fatalf("ended before it was ready: %v", err)
	}
	return nil
}

// eventually waits until a condition holds.
func (a *around) eventually(what func() string, holds func() bool) {
	a.t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			a.t.Fatalf("it does not come: %s", what())
		}
	}
}

// row is the ledger's row of a feed's only gap.
func (a *around) row(d *running, feed string) (row messages.GapStatus) {
	a.t.Helper()
	list, err := d.Gaps(a.t.Context(), client.GapQuery{Feed: feed})
	if err != nil {
		a.t.Fatal(err)
	}
	if len(list.Gaps) == 1 {
		return list.Gaps[0]
	}
	return row
}

// fold is what a reader of a feed's stream believes that there is, with CIDs by path. doubled are
// the creations that it has twice, and unknown the deletes of an unknown time.
func (a *around) fold(d *running, feed string) (state map[string]string, doubled, unknown int) {
	a.t.Helper()
	state = map[string]string{}
	seen := map[string]bool{}
	for after := "0-0"; ; {
		page, err := d.Tail(a.t.Context(), feed, after, 0, 1000, messages.ConsumerFilter{})
		if err != nil {
			a.t.Fatal(err)
		}
		for _, f := range page.Entries {
			after = f.ID.String()
			var e struct {
				DID, Kind string
				Commit    struct{ Operation, Collection, RKey, CID string }
				Repair    struct{ Time string }
			}
			if err := json.Unmarshal(f.Event, &e); err != nil {
				a.t.Fatal(err)
			}
			path := e.DID + "/" + e.Commit.Collection + "/" + e.Commit.RKey
			switch {
			case e.Kind != "commit":
			case e.Commit.Operation == "delete":
				delete(state, path)
				if e.Repair.Time == "unknown" {
					unknown++
				}
			default:
				if id := path + " " + e.Commit.CID; seen[id] {
					doubled++
				} else {
					seen[id] = true
				}
				state[path] = e.Commit.CID
			}
		}
		if len(page.Entries) == 0 {
			return state, doubled, unknown
		}
	}
}

// there is what an account has of some collections; of all without one.
func (a *around) there(did string, collections ...string) map[string]string {
	state := map[string]string{}
	for _, r := range a.net.Records(did) {
		if len(collections) == 0 || slices.Contains(collections, r.Collection) {
			state[did+"/"+r.Collection+"/"+r.RKey] = r.CID.String()
		}
	}
	return state
}

// same checks that the fold of a feed is what its account has, and that nothing is doubled. It returns
// how many deletes were found by comparing.
func (a *around) same(d *running, what, feed string) (unknown int) {
	a.t.Helper()
	at := slices.IndexFunc(a.cfg.Feeds, func(f config.Feed) bool { return f.Name == feed })
	var got, want map[string]string
	var doubled int
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		got, doubled, unknown = a.fold(d, feed)
		if want = a.there(a.dids[feed], a.cfg.Feeds[at].Collections...); maps.Equal(got, want) && doubled == 0 {
			return unknown
		}
	}
	lacks, dead := 0, 0
	for path, cid := range want {
		if got[path] != cid {
			lacks++
		}
	}
	for path := range got {
		if want[path] == "" {
			dead++
		}
	}
	a.t.Errorf("%s: %d records, want %d; %d are missing, %d are gone, %d are doubled", what, len(got), len(want), lacks, dead, doubled)
	return unknown
}

// session makes a session of an account whose refresh token is used up, and puts it where the daemon
// keeps that of a feed.
func (a *around) session(feed string) {
	a.t.Helper()
	dir := filepath.Join(a.cfg.DataDir, "accounts")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		a.t.Fatal(err)
	}
	store := timeline.FileStore(filepath.Join(dir, feed+".session.json"))
	n := accounts.NewNetwork(accounts.NetworkOptions{Clock: clockwork.NewRealClock(), Policy: a.net.Policy(), PLC: a.net.PLC(), Start: math.MaxFloat64})
	defer n.Close()
	account := timeline.New(timeline.Options{Identifier: a.dids[feed], Password: config.NewSecret(appPass), Clock: clockwork.NewRealClock(), Store: store,
		Calls: n.Calls, Directory: n.Directory, Accounts: n.Client})
	read := func() {
		a.t.Helper()
		if _, err := account.Timeline(a.t.Context(), timeline.ReadOptions{Since: time.Now()}, func(accounts.Record) error { return nil }); err != nil {
			a.t.Fatal(err)
		}
	}
	read()
	before, err := store.Load(a.t.Context())
	if err != nil {
		a.t.Fatal(err)
	}
	a.net.Inject(atsim.Fault{Name: atsim.FaultExpiredToken, Method: "getTimeline", DID: a.dids[feed]})
	read()
	if err := store.Save(a.t.Context(), before); err != nil {
		a.t.Fatal(err)
	}
}

// Every fault of accounts' servers and of sessions, each for one feed of a daemon that was away for
// longer than the socket remembers: what the ledger and the log say. The others are not affected,
// and the live feeds go on.
func TestI4_EveryFaultOfARepair(t *testing.T) {
	const posts, likes, reposts = "app.bsky.feed.post", "app.bsky.feed.like", "app.bsky.feed.repost"
	fault := func(name, method string, always bool) func(*around, string) {
		return func(a *around, did string) {
			a.net.Inject(atsim.Fault{Name: name, DID: did, Method: method, Always: always, For: 12 * time.Second})
		}
	}
	type kind uint8
	const (
		lists kind = iota
		whole
		session
	)
	type faultCase struct {
		name   string
		kind   kind
		change func(*around, string)
		state  messages.GapState
		says   string // in missing or why
		log    string
	}
	cases := []faultCase{
		{"none", lists, nil, messages.GapRepaired, "", "repairing repaired"},
		{"429 with reset", lists, fault(atsim.FaultRateLimit, "listRecords", false), messages.GapRepaired, "", "repairing waiting repaired"},
		{"moved PDS", lists, fault(atsim.FaultMoved, "listRecords", false), messages.GapRepaired, "", "repairing repaired"},
		{"tombstoned DID", lists, func(a *around, did string) { a.net.Tombstone(did) }, messages.GapRepaired, "1 accounts that are tombstoned", "repairing repaired"},
		{"deactivated", lists, fault(atsim.FaultDeactivated, "", true), messages.GapRepaired, "1 accounts that are deactivated", "repairing repaired"},
		{"empty page", lists, fault(atsim.FaultEmptyPage, "listRecords", false), messages.GapRepaired, "", "repairing repaired"},
		{"nothing but empty pages", lists, fault(atsim.FaultEmptyPage, "listRecords", true), messages.GapUnrepairable, "lists that ended early", "repairing unrepairable"},
		{"repeated cursor", lists, fault(atsim.FaultRepeatedCursor, "listRecords", true), messages.GapRepaired, "", "repairing repaired"},
		{"endless list", lists, fault(atsim.FaultEndlessList, "listRecords", true), messages.GapRepaired, "", "repairing repaired"},
		{"slow body", lists, fault(atsim.FaultSlowBody, "listRecords", true), messages.GapWaiting, "do not answer", "repairing waiting"},
		{"redirect inside", lists, fault(atsim.FaultRedirect, "listRecords", true), messages.GapUnrepairable, "must not be called", "repairing unrepairable"},
		{"whole repository", whole, nil, messages.GapRepaired, "", "repairing repaired"},
		{"wrong block hash", whole, fault(atsim.FaultWrongHash, "getRepo", true), messages.GapUnrepairable, "not sound", "repairing unrepairable"},
		{"truncated CAR", whole, fault(atsim.FaultTruncatedCAR, "getRepo", true), messages.GapUnrepairable, "not sound", "repairing unrepairable"},
		{"cyclic tree", whole, fault(atsim.FaultCyclicTree, "getRepo", true), messages.GapUnrepairable, "not sound", "repairing unrepairable"},
		{"deep tree", whole, fault(atsim.FaultDeepTree, "getRepo", true), messages.GapUnrepairable, "not sound", "repairing unrepairable"},
		{"ExpiredToken in the middle", session, fault(atsim.FaultExpiredToken, "getTimeline", false), messages.GapRepaired, "as far as the app view shows", "repairing repaired"},
		{"refresh token used up", session, func(a *around, did string) {
			a.net.Inject(atsim.Fault{Name: atsim.FaultExpiredToken, DID: did, Method: "getTimeline"})
		}, messages.GapWaiting, "no login is tried", "repairing waiting"},
		{"login refused", session, fault(atsim.FaultLoginRefused, "createSession", true), messages.GapWaiting, "AuthenticationRequired", "repairing waiting"},
		{"timeline ends early", session, fault(atsim.FaultEarlyEnd, "getTimeline", true), messages.GapPartly, "the timeline ended", "repairing partly"},
	}
	a := newAround(t, len(cases)+10)
	dids := a.js.Accounts(len(cases) + 10)
	name := func(n int) string { return fmt.Sprintf("f%02d", n) }
	for n, c := range cases {
		switch c.kind {
		case lists:
			a.feed(name(n), dids[n], messages.SourceAccounts, nil, posts, likes, reposts)
		case whole:
			a.feed(name(n), dids[n], messages.SourceAccounts, nil)
		case session:
			a.feed(name(n), atsim.DID(3, n), messages.SourceTimeline, dids[:20], posts, reposts)
		}
	}
	a.cfg.Feeds = a.cfg.Feeds[1:]
	for n, did := range dids { // a host's wait holds for all its accounts
		host := n % 2
		if n < len(cases) && cases[n].name == "429 with reset" {
			host = 3
		}
		a.net.Move(did, host)
	}
	for n, c := range cases {
		if c.name == "refresh token used up" {
			a.session(name(n))
		}
	}
	states := func(d *running) map[string]messages.FeedStatus {
		t.Helper()
		all, err := d.Feeds(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		m := map[string]messages.FeedStatus{}
		for _, s := range all {
			m[s.Feed] = s
		}
		return m
	}
	began := time.Now()
	d := a.start()
	// What an account does before its feed is live is no part of the stream, and of no gap.
	every := func(ready func(messages.FeedStatus) bool) bool {
		return !slices.ContainsFunc(slices.Collect(maps.Values(states(d))), func(s messages.FeedStatus) bool { return !ready(s) })
	}
	a.eventually(func() string { return fmt.Sprintf("%+v", states(d)) }, func() bool {
		return every(func(s messages.FeedStatus) bool { return s.State == messages.StateLive })
	})
	a.eventually(func() string { return fmt.Sprintf("%+v", states(d)) }, func() bool {
		a.js.Produce(50)
		return every(func(s messages.FeedStatus) bool { return s.Stored >= 5 })
	})
	a.finish(d)
	t.Logf("all feeds were live within %v", time.Since(began).Round(time.Millisecond))

	a.js.Produce(2000)
	a.js.Forget(math.MaxInt32)
	a.js.Produce(300)
	a.eventually(func() string { return "the accounts' servers know everything" }, func() bool { return a.applied.Load() == a.js.Stats().Contents })
	for n, c := range cases {
		if c.change != nil {
			c.change(a, a.dids[name(n)])
		}
	}
	d = a.start()
	defer func() { a.finish(d) }()
	slow := slices.IndexFunc(cases, func(c faultCase) bool { return c.name == "slow body" })
	a.eventually(func() string { return a.log.said(name(slow)) }, func() bool { return a.row(d, name(slow)).State == messages.GapRepairing })
	stored := states(d)[name(slow)].Stored
	a.eventually(func() string { return "events for a feed whose repair is slow" }, func() bool {
		a.js.Produce(50)
		return states(d)[name(slow)].Stored > stored+5
	})
	if s := a.row(d, name(slow)).State; s.Final() {
		t.Errorf("the slow repair was %s before live events came", s)
	}
	var table strings.Builder
	deletes := 0
	for n, c := range cases {
		var row messages.GapStatus
		a.eventually(func() string {
			return fmt.Sprintf("%s: state %s; missing %q, why %q; %s", c.name, row.State, row.Missing, row.Why, a.log.said(name(n)))
		}, func() bool {
			row = a.row(d, name(n))
			return row.State == c.state || row.State.Final()
		})
		said := a.log.said(name(n))
		// On a slow machine the minute without logins is over by now.
		if over := c.state == messages.GapWaiting && row.State == messages.GapRepaired && strings.Contains(said, c.log+" "); over {
			cases[n].state = row.State
		} else {
			if row.State != c.state {
				t.Errorf("%s: %s, want %s", c.name, row.State, c.state)
			}
			if !strings.Contains(row.Missing+row.Why, c.says) {
				t.Errorf("%s: missing %q, why %q; want %q", c.name, row.Missing, row.Why, c.says)
			}
			if !strings.HasSuffix(said, c.log) {
				t.Errorf("%s: the log says %q, want %q", c.name, said, c.log)
			}
		}
		if c.state == messages.GapRepaired && c.kind != session && !strings.Contains(c.says, "accounts that are") {
			deletes += a.same(d, c.name, name(n))
		}
		fmt.Fprintf(&table, "\n| %s | %s | %s | %d | %s | %s | %s |", c.name, row.State, row.Source, row.Recovered, row.Missing, row.Why, a.log.said(name(n)))
	}
	t.Log(table.String())
	t.Logf("in %v, with %d deletes found by comparing", time.Since(began).Round(time.Millisecond), deletes)
	if deletes == 0 {
		t.Error("no delete was found")
	}
	for n, c := range cases {
		f := states(d)[name(n)].Follows
		switch {
		case (f == nil) != (c.kind != session):
			t.Errorf("%s: the account's status is %+v", c.name, f)
		case f == nil:
		case f.Follows != 20 || f.RefreshedAt.IsZero() || f.Trouble != "" || f.NextLoginAt.IsZero() != (f.SessionTrouble == ""),
			c.state != messages.GapWaiting && f.SessionTrouble != "", c.name == "login refused" && f.SessionTrouble == "":
			t.Errorf("%s: the account's status is %+v", c.name, f)
		}
	}
	for feed, s := range states(d) {
		if s.State != messages.StateLive {
			t.Errorf("%s is %s: %s", feed, s.State, s.Reason)
		}
	}
	if n := a.net.Requests()["inside"]; n > 0 {
		t.Errorf("%d requests reached this machine", n)
	}
}

func (a *around) finish(d *running) {
	a.t.Helper()
	d.Close()
	d.stop(errors.New("the test is over"))
	if err := <-d.ended; err != nil {
		a.t.Errorf("ended with %v", err)
	}
}

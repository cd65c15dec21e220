package jetsim_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"pgregory.net/rapid"

	"tempestd/internal/jetsim"
)

// Each test checks one observed fact about real servers.

func TestRefusalsBeforeTheUpgrade(t *testing.T) {
	s := newSim(t, jetsim.Options{Backlog: 10})
	var many, dids strings.Builder
	for i := range 101 {
		fmt.Fprintf(&many, "&wantedCollections=app.bsky.feed.x%c%c", 'a'+i/26, 'a'+i%26)
	}
	for i := range 10_001 {
		fmt.Fprintf(&dids, "&wantedDids=did:web:host%d.example", i)
	}
	for query, want := range map[string]string{
		"cursor=-1":                      "400 subscribe: invalid cursor: negative value -1\n",
		"cursor=abc":                     "400 subscribe: invalid cursor: \"abc\"\n",
		"cursor=1.5e15":                  "400 subscribe: invalid cursor: \"1.5e15\"\n",
		"cursor=9223372036854775808":     "400 subscribe: invalid cursor: \"9223372036854775808\"\n",
		"wantedCollections=app.bsky.fo*": "400 subscribe: invalid options: invalid collection: app.bsky.fo*\n",
		"wantedCollections=*":            "400 subscribe: invalid options: invalid collection: *\n",
		"wantedCollections=":             "400 subscribe: invalid options: invalid collection: \n",
		"wantedCollections=app.bsky.feed.like,app.bsky.feed.x": "400 subscribe: invalid options: invalid collection: app.bsky.feed.like,app.bsky.feed.x\n",
		"wantedDids=nobody": "400 subscribe: invalid options: invalid DID: nobody\n",
		many.String()[1:]:   "400 subscribe: invalid options: too many wanted collections: > 100\n",
		dids.String()[1:]:   "400 number of URL query parameters exceeded limit\n", /* Go's own cap comes first */
		"cursor=%zz":        "400 invalid URL escape \"%zz\"\n",
	} {
		resp, body := get(t, s, "GET", "/subscribe?"+query)
		if got := fmt.Sprint(resp.StatusCode, " ", body); got != want {
			t.Errorf("?%.60s answers %q, want %q", query, got, want)
		}
		if ct := resp.Header.Get("Content-Type"); !strings.HasPrefix(ct, "text/plain") {
			t.Errorf("?%.60s answers in %q", query, ct)
		}
	}
}

func TestWhatIsAcceptedReachesTheUpgrade(t *testing.T) {
	s := newSim(t, jetsim.Options{Backlog: 10})
	for _, query := range []string{
		"", "cursor=", "cursor=0", "cursor=5&cursor=abc", "cursor=999999999999999", "wantedCollections=.*", "wantedCollections=app.*",
		"maxMessageSizeBytes=garbage", "maxMessageSizeBytes=-1", "compress=TRUE", "compress=true", "requireHello=1", "requireHello=true", "zstdDictionary=abc", "unknown=1&maxSize=9",
	} {
		if resp, body := get(t, s, "GET", "/subscribe?"+query); resp.StatusCode != http.StatusUpgradeRequired {
			t.Errorf("?%s answers %d %q, want 426", query, resp.StatusCode, body)
		}
	}
}

func TestNotReadyAnswers503(t *testing.T) {
	s := newSim(t, jetsim.Options{NotReady: true})
	if resp, body := get(t, s, "GET", "/subscribe"); resp.StatusCode != 503 || body != "service not ready: bootstrap in progress\n" {
		t.Errorf("answers %d %q", resp.StatusCode, body)
	}
	s.SetReady(true)
	if resp, _ := get(t, s, "GET", "/subscribe"); resp.StatusCode != 426 {
		t.Errorf("a plain GET on a ready server answers %d", resp.StatusCode)
	}
}

func TestHandshakeIsValidated(t *testing.T) {
	s := newSim(t, jetsim.Options{})
	upgrade := []string{"Connection", "keep-alive, Upgrade", "Upgrade", "websocket"}
	for want, headers := range map[int][]string{
		400: append(upgrade[:4:4], "Sec-WebSocket-Version", "12"),
		426: {"Connection", "Upgrade", "Upgrade", "h2c"},
	} {
		if resp, body := get(t, s, "GET", "/subscribe", headers...); resp.StatusCode != want {
			t.Errorf("%v: %d %q, want %d", headers, resp.StatusCode, body, want)
		}
	}
	if resp, body := get(t, s, "GET", "/subscribe", append(upgrade, "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "short")...); resp.StatusCode != 400 {
		t.Errorf("a short key: %d %q", resp.StatusCode, body)
	}
}

// TestCursorMeansWhatTheProtocolSays compares the beginnings of replays with a second model of what
// was observed of real servers.
func TestCursorMeansWhatTheProtocolSays(t *testing.T) {
	const segment = 300
	clock := clockwork.NewFakeClockAt(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC))
	s := start(t, jetsim.Options{Clock: clock, Backlog: 1000, Rate: 100, Segment: segment, Lookback: 7500 * time.Millisecond})
	// The backlog is 10 s long. The oldest of the three full segments ends 7 s ago, inside the
	// lookback, so all are served.
	all := decode(t, subscribe(t, s, "cursor=0").read(1000))
	now := clock.Now().UnixMicro()
	model := func(cursor int64) int {
		switch {
		case cursor < 1e15 && cursor > all[len(all)-1].seq(), cursor > now:
			return len(all) // live
		case cursor >= 1e15 && cursor > all[899].TimeUS:
			return 900 // the start of the active segment
		}
		for i, f := range all {
			if cursor < 1e15 && f.seq() >= cursor || cursor >= 1e15 && f.TimeUS >= cursor {
				return i
			}
		}
		panic("unreachable")
	}
	rapid.Check(t, func(rt *rapid.T) {
		i := rapid.IntRange(0, len(all)-1).Draw(rt, "event")
		d := rapid.Int64Range(-3, 3).Draw(rt, "off by")
		cursor := max(0, rapid.SampledFrom([]int64{all[i].seq(), all[i].TimeUS, now, 999_999_999_999_999, 1e15, 0}).Draw(rt, "near")+d)
		want := model(cursor)
		if want == len(all) {
			return // there would be no event: TestFutureCursorsAreSilentlyLive
		}
		c := subscribe(t, s, fmt.Sprint("cursor=", cursor))
		got := decode(t, c.read(1))[0]
		_ = c.conn.CloseNow()
		if got.seq() != all[want].seq() {
			rt.Fatalf("cursor %d begins with seq %d, want %d", cursor, got.seq(), all[want].seq())
		}
	})
}

func TestFutureCursorsAreSilentlyLive(t *testing.T) {
	s := start(t, jetsim.Options{Backlog: 50})
	inAnHour := time.Now().Add(time.Hour).UnixMicro()
	for _, query := range []string{"", "cursor=", "cursor=999999999999999", "cursor=next", fmt.Sprint("cursor=", inAnHour)} {
		before := s.Stats()
		query = strings.Replace(query, "next", fmt.Sprint(before.NewestSeq+1), 1)
		c := subscribe(t, s, query)
		s.Produce(1)
		if f := decode(t, c.read(1))[0]; f.seq() <= before.NewestSeq {
			t.Errorf("?%s begins with seq %d; the newest was %d", query, f.seq(), before.NewestSeq)
		}
	}
}

func TestNoReplayIgnoresCursors(t *testing.T) {
	s := start(t, jetsim.Options{Backlog: 50, NoReplay: true})
	newest := s.Stats().NewestSeq
	c := subscribe(t, s, "cursor=0")
	s.Produce(1)
	if f := decode(t, c.read(1))[0]; f.seq() <= newest {
		t.Errorf("begins with seq %d", f.seq())
	}
}

func TestOldCursorsStartSilentlyAtTheFloor(t *testing.T) {
	clock := clockwork.NewFakeClockAt(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC))
	s := start(t, jetsim.Options{Clock: clock, Backlog: 1000, Rate: 100, Segment: 300, Lookback: 36 * time.Hour})
	all := decode(t, subscribe(t, s, "cursor=0").read(1000))
	s.StopProducing()
	for _, fact := range []struct {
		pass  time.Duration
		floor int
	}{
		{36*time.Hour - 8*time.Second, 0}, // the oldest segment's newest event is 36 h - 1 s old
		{2 * time.Second, 300},            // now it is 36 h + 1 s old
		// All full segments are too old, so only the newest of them is served,
		{36 * time.Hour, 600},
		{100 * 24 * time.Hour, 600}, // however old it is
	} {
		clock.Advance(fact.pass)
		for _, cursor := range []int64{0, 1, all[0].seq(), all[0].TimeUS, 1e15} {
			c := subscribe(t, s, fmt.Sprint("cursor=", cursor))
			if f := decode(t, c.read(1))[0]; f.seq() != all[fact.floor].seq() {
				t.Errorf("after %v cursor %d begins with seq %d, want %d", fact.pass, cursor, f.seq(), all[fact.floor].seq())
			}
			_ = c.conn.CloseNow()
		}
	}
}

func TestLegacyServerHasNoCursorFieldAndComparesStrings(t *testing.T) {
	s := start(t, jetsim.Options{Backlog: 500, Legacy: true})
	all := decode(t, subscribe(t, s, "cursor=0").read(500))
	for i, f := range all {
		if f.Cursor != nil {
			t.Fatalf("frame %d has a cursor", i)
		}
		if i > 0 && f.TimeUS <= all[i-1].TimeUS {
			t.Fatalf("frame %d repeats its time", i)
		}
	}
	// A time is exact, even in the active segment.
	if f := decode(t, subscribe(t, s, fmt.Sprint("cursor=", all[321].TimeUS)).read(1))[0]; f.TimeUS != all[321].TimeUS {
		t.Errorf("begins at %d, want %d", f.TimeUS, all[321].TimeUS)
	}
	// A seq is compared as a string too: "20000" comes after every time, so nothing is replayed.
	c := subscribe(t, s, "cursor=20000")
	s.Produce(1)
	if f := decode(t, c.read(1))[0]; f.TimeUS <= all[499].TimeUS {
		t.Error("a seq-like cursor replays")
	}
}

func TestFiltersSelectAsServersDo(t *testing.T) {
	s := start(t, jetsim.Options{Backlog: 4000, Accounts: 50})
	frames := subscribe(t, s, "cursor=0").read(4000)
	all := decode(t, frames)
	account := all[0].DID
	commit := func(f frame) bool { return f.Kind == "commit" }
	for query, want := range map[string]func(i int, f frame) bool{
		"wantedCollections=app.bsky.feed.like": func(_ int, f frame) bool { return !commit(f) || f.Commit.Collection == "app.bsky.feed.like" },
		"wantedCollections=app.bsky.graph.*&wantedCollections=fm.teal.*": func(_ int, f frame) bool {
			return !commit(f) || strings.HasPrefix(f.Commit.Collection, "app.bsky.graph.") || strings.HasPrefix(f.Commit.Collection, "fm.teal.")
		},
		"wantedCollections=.*":    func(_ int, f frame) bool { return !commit(f) },
		"wantedDids=" + account:   func(_ int, f frame) bool { return f.DID == account },
		"maxMessageSizeBytes=500": func(i int, _ frame) bool { return len(frames[i]) <= 500 },
		"maxMessageSizeBytes=0":   func(int, frame) bool { return true },
	} {
		var wanted []int
		for i, f := range all {
			if want(i, f) {
				wanted = append(wanted, i)
			}
		}
		got := subscribe(t, s, query+"&cursor=0").read(len(wanted))
		for i, w := range wanted {
			if string(got[i]) != string(frames[w]) {
				t.Errorf("?%s: frame %d is %s, want %s", query, i, got[i], frames[w])
				break
			}
		}
	}
}

func TestRateIsKeptAndTimesFollowTheClock(t *testing.T) {
	clock := clockwork.NewFakeClockAt(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC))
	s := start(t, jetsim.Options{Clock: clock, Rate: 200, Count: 999})
	c := subscribe(t, s, "")
	for range 10 {
		// Two sleepers: production's timer and the subscriber's ping.
		if err := clock.BlockUntilContext(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
		clock.Advance(500 * time.Millisecond)
	}
	all := decode(t, c.read(999))
	began := clock.Now().Add(-5 * time.Second).UnixMicro()
	for i, f := range all {
		// Operations of one commit have the time of its first operation.
		if ideal := began + int64(i)*5000; f.TimeUS > ideal || f.TimeUS < ideal-9*5000 {
			t.Fatalf("event %d is of %d µs after the start, want %d", i, f.TimeUS-began, ideal-began)
		}
	}
	if n := s.Stats().Contents; n != 999 {
		t.Errorf("%d events, want Count", n)
	}
}

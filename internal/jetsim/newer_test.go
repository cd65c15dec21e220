package jetsim_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/jonboulle/clockwork"

	"tempestd/internal/atproto"
	"tempestd/internal/jetsim"
	"tempestd/internal/jetstream"
	"tempestd/messages"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// generations runs a test against a server of each generation.
func generations(t *testing.T, test func(t *testing.T, newer []jetsim.Newer)) {
	t.Run("older", func(t *testing.T) { test(t, nil) })
	t.Run("newer", func(t *testing.T) { test(t, jetsim.AllNewer()) })
}

// v2Frame is the content of a v2 frame, decoded by encoding/json.
type v2Frame struct {
	Type    string `json:"$type"`
	Payload struct {
		Type        string `json:"$type"`
		Name        string `json:"name"`
		Message     string `json:"message"`
		Seq         int64  `json:"seq"`
		Time        string `json:"time"`
		WitnessedAt string `json:"witnessedAt"`
	} `json:"payload"`
}

func payloads(t testing.TB, frames [][]byte) []v2Frame {
	t.Helper()
	out := make([]v2Frame, len(frames))
	for i, b := range frames {
		if err := json.Unmarshal(b, &out[i]); err != nil {
			t.Fatalf("frame %d: %v: %s", i, err, b)
		}
	}
	return out
}

// A newer server adds to every v2 event, as the last member, the time when it witnessed the event.
// v1 is unchanged.
func TestWitnessedAt(t *testing.T) {
	generations(t, func(t *testing.T, newer []jetsim.Newer) {
		s := start(t, jetsim.Options{Backlog: 2000, Syncs: true, Newer: newer})
		raw := subscribeV2(t, s, "cursor=0").read(2000)
		kinds := map[string]bool{}
		for i, f := range payloads(t, raw) {
			kinds[f.Payload.Type] = true
			want := ""
			if newer != nil {
				want = f.Payload.Time
			}
			if f.Payload.WitnessedAt != want || newer != nil && !strings.HasSuffix(string(raw[i]), `,"witnessedAt":"`+want+`"}}`) {
				t.Fatalf("it was witnessed at %q, want %q: %s", f.Payload.WitnessedAt, want, raw[i])
			}
		}
		if len(kinds) != 4 {
			t.Errorf("the kinds are %v", kinds)
		}
		for _, b := range subscribe(t, s, "cursor=0").read(1000) {
			if strings.Contains(string(b), "witnessedAt") {
				t.Fatalf("v1 sends %s", b)
			}
		}
		// A stream that holds v1 frames, v2 frames in v1's shape, and v2 frames as sent is equal to
		// what was sent.
		var entries [][]byte
		for i, b := range raw {
			if i%2 == 0 {
				var e, err = []byte(nil), error(nil)
				if e, err = jetstream.Unwrap(nil, b, new(messages.Event)); err != nil {
					t.Fatal(err)
				}
				b = e
			}
			entries = append(entries, b)
		}
		if r := verify(t, s, entries, jetsim.VerifyOptions{Protocol: jetsim.ProtocolV2}); !r.OK() || r.Stored != 2000 {
			t.Errorf("%v: %q", r, r.Examples)
		}
	})
}

// A number beyond the next one belongs to another instance. Only a newer server reports that. Both
// generations begin at the live tip.
func TestANumberBeyondTheNextOne(t *testing.T) {
	generations(t, func(t *testing.T, newer []jetsim.Newer) {
		s := start(t, jetsim.Options{Backlog: 50, Newer: newer})
		next := s.Stats().NewestSeq + 1
		for _, c := range []struct {
			cursor int64
			told   bool
		}{{next, false}, {next + 10, true}, {999_999_999_999_999, true}, {time.Now().Add(time.Hour).UnixMicro(), false}} {
			sub := subscribeV2(t, s, fmt.Sprint("cursor=", c.cursor))
			one := subscribe(t, s, fmt.Sprint("cursor=", c.cursor))
			if newer != nil && c.told {
				info := payloads(t, sub.read(1))[0].Payload
				if info.Name != atproto.FutureCursor || info.Type != "network.bsky.jetstream.subscribeEvents#info" || !strings.Contains(info.Message, fmt.Sprint(c.cursor)) {
					t.Errorf("at %d it says %+v", c.cursor, info)
				}
			}
			newest := s.Stats().NewestSeq
			s.Produce(1)
			if f := payloads(t, sub.read(1))[0].Payload; f.Seq <= newest {
				t.Errorf("at %d it begins with seq %d, the newest was %d", c.cursor, f.Seq, newest)
			}
			if f := decode(t, one.read(1))[0]; f.seq() <= newest {
				t.Errorf("at %d v1 begins with seq %d", c.cursor, f.seq())
			}
		}
	})
}

// A time before the oldest event: only a newer server reports that it cannot go back so far.
func TestATimeBeforeTheOldestEvent(t *testing.T) {
	generations(t, func(t *testing.T, newer []jetsim.Newer) {
		s := start(t, jetsim.Options{Clock: clockwork.NewFakeClockAt(noon), Backlog: 50, Newer: newer})
		first := payloads(t, subscribeV2(t, s, "cursor=0").read(1))[0].Payload
		sub := subscribeV2(t, s, fmt.Sprint("cursor=", noon.Add(-time.Hour).UnixMicro()))
		got := payloads(t, sub.read(1))[0].Payload
		if newer != nil {
			if got.Name != atproto.OutdatedCursor {
				t.Errorf("it says %+v", got)
			}
			got = payloads(t, sub.read(1))[0].Payload
		}
		if got != first {
			t.Errorf("it begins with %+v, want %+v", got, first)
		}
		at, _ := time.Parse(time.RFC3339Nano, first.Time)
		if got := payloads(t, subscribeV2(t, s, fmt.Sprint("cursor=", at.UnixMicro())).read(1))[0].Payload; got != first {
			t.Errorf("at the oldest event's time it says %+v", got)
		}
	})
}

// After a crash the forgotten events get new numbers: on an older server numbers that were given
// before, on a newer server never.
func TestNumbersAfterACrash(t *testing.T) {
	generations(t, func(t *testing.T, newer []jetsim.Newer) {
		_, before, after, _ := crashed(t, jetsim.Options{Block: 300, Newer: newer})
		given := map[int64]string{}
		for _, f := range before {
			given[f.seq()] = f.identity()
		}
		again, holes := 0, 0
		for i, f := range after {
			if id, ok := given[f.seq()]; ok && id != f.identity() {
				again++
			}
			if i > 0 && f.seq() > after[i-1].seq()+leastHole {
				holes++
			}
		}
		if (again > 0) != (newer == nil) || (holes > 0) != (newer != nil) {
			t.Errorf("%d numbers were given again, and there are %d holes", again, holes)
		}
	})
}

// leastHole is more than compaction leaves out.
const leastHole = 10

// An older server resolves a time in the active segment to the start of the segment, a newer server
// to the start of the block.
func TestATimeOfTheActiveSegment(t *testing.T) {
	const segment, block = 500, 100
	generations(t, func(t *testing.T, newer []jetsim.Newer) {
		s := start(t, jetsim.Options{Clock: clockwork.NewFakeClockAt(noon), Backlog: 1250, Rate: 100, Segment: segment, Block: block, Newer: newer})
		all := decode(t, subscribe(t, s, "cursor=0").read(1250))
		for _, i := range []int{600, 999, 1003, 1101, 1249} {
			want := i
			for all[want-1].TimeUS == all[i].TimeUS {
				want--
			}
			switch {
			case i < 1000: // in a sealed segment: exact on both
			case newer == nil:
				want = 1000
			default:
				want = want / block * block
			}
			if got := decode(t, subscribe(t, s, fmt.Sprint("cursor=", all[i].TimeUS)).read(1))[0]; got.seq() != all[want].seq() {
				t.Errorf("at the time of event %d it begins with seq %d, want event %d, seq %d", i, got.seq(), want, all[want].seq())
			}
		}
	})
}

// Several readers are behind a name. A reader that moves closes its connections with 1001, and
// cursors stay valid. A reader that lags answers 503 while the others serve.
func TestSeveralReadersBehindAName(t *testing.T) {
	clock := clockwork.NewFakeClockAt(noon)
	s := start(t, jetsim.Options{Clock: clock, Backlog: 100, Readers: 2})
	one, two := subscribe(t, s, ""), subscribe(t, s, "")
	inject := func(name string, d time.Duration) {
		t.Helper()
		if err := s.Inject(jetsim.Fault{Name: name, For: d}); err != nil {
			t.Fatal(err)
		}
	}
	inject(jetsim.FaultMigrate, 0)
	if _, err := one.rest(); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("the one that moves ends with %v", err)
	}
	newest := s.Stats().NewestSeq
	s.Produce(1)
	last := decode(t, two.read(1))[0]
	again := subscribe(t, s, fmt.Sprint("cursor=", newest))
	if got := decode(t, again.read(2)); got[0].seq() != newest || got[1].seq() != last.seq() {
		t.Errorf("resumed, it begins with %d, %d, want %d, %d", got[0].seq(), got[1].seq(), newest, last.seq())
	}
	inject(jetsim.FaultStale, time.Minute)
	if _, err := two.rest(); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("the one that falls behind ends with %v", err)
	}
	for round := range 2 {
		for i, want := range []int{503, 426} {
			if resp, body := get(t, s, "GET", "/subscribe"); resp.StatusCode != want {
				t.Errorf("round %d, request %d: %d %q, want %d", round, i, resp.StatusCode, body, want)
			}
		}
		resp, body := get(t, s, "GET", "/xrpc/network.bsky.jetstream.subscribeEvents")
		if resp.StatusCode != 503 || body != `{"error":"ServiceUnavailable","message":"service not ready: reader is behind"}` {
			t.Errorf("v2: %d %q", resp.StatusCode, body)
		}
		get(t, s, "GET", "/subscribe") // the turn of the other reader
	}
	clock.Advance(time.Minute)
	for range 2 {
		if resp, _ := get(t, s, "GET", "/subscribe"); resp.StatusCode != 426 {
			t.Errorf("later: %d", resp.StatusCode)
		}
	}
}

// Every answer has the time of the server's own clock, with its skew and its steps.
func TestTheDateIsTheServersOwn(t *testing.T) {
	clock := clockwork.NewFakeClockAt(noon)
	s := start(t, jetsim.Options{Clock: clock, Backlog: 10, Skew: time.Hour})
	date := func(s *jetsim.Sim) string {
		t.Helper()
		conn, resp, err := websocket.Dial(t.Context(), s.URL(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.CloseNow()
		plain, _ := get(t, s, "GET", "/subscribe")
		if a, b := resp.Header.Get("Date"), plain.Header.Get("Date"); a != b {
			t.Errorf("it tells %q and %q", a, b)
		}
		return resp.Header.Get("Date")
	}
	for _, step := range []struct {
		by   time.Duration
		want time.Duration
	}{{0, time.Hour}, {10 * time.Minute, 70 * time.Minute}, {-2 * time.Hour, -50 * time.Minute}} {
		s.StepClock(step.by)
		if got, want := date(s), noon.Add(step.want).Format(http.TimeFormat); got != want {
			t.Errorf("after a step of %v it is %q, want %q", step.by, got, want)
		}
	}
	if got := date(start(t, jetsim.Options{NoDate: true})); got != "" {
		t.Errorf("a server that does not tell says %q", got)
	}
}

// When the clock steps back, the times of an older server step back too, but not those of a newer
// server. In both cases resumes by time and the verification still work.
func TestAClockThatStepsBack(t *testing.T) {
	generations(t, func(t *testing.T, newer []jetsim.Newer) {
		clock := clockwork.NewFakeClockAt(noon)
		s := start(t, jetsim.Options{Clock: clock, Backlog: 50, Newer: newer})
		sub := subscribe(t, s, "cursor=0")
		raw := sub.read(50)
		before := decode(t, raw)[49]
		if err := s.Inject(jetsim.Fault{Name: jetsim.FaultClockBack, For: 7 * time.Minute}); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			s.Produce(5)
			clock.Advance(time.Second)
		}
		n := int(s.Stats().Contents)
		raw = append(raw, sub.read(n-50)...)
		all := decode(t, raw)
		back := noon.Add(-7 * time.Minute).UnixMicro()
		if stepped := all[50].TimeUS < before.TimeUS; stepped != (newer == nil) || stepped && all[50].TimeUS < back {
			t.Errorf("times go on with %d after %d", all[50].TimeUS, before.TimeUS)
		}
		if !slices.IsSortedFunc(all, func(a, b frame) int { return int(a.seq() - b.seq()) }) {
			t.Error("the numbers do not rise")
		}
		// The times of a newer server are in the future of its own clock now, and are answered as
		// such.
		if newer == nil {
			at := decode(t, subscribe(t, s, fmt.Sprint("cursor=", all[60].TimeUS)).read(1))[0]
			if at.seq() > all[60].seq() {
				t.Errorf("a time is found behind its event: %d, %d", at.seq(), all[60].seq())
			}
		}
		if r := verify(t, s, raw, jetsim.VerifyOptions{Protocol: jetsim.ProtocolV1}); !r.OK() || r.Stored != int64(n) {
			t.Errorf("%v: %q", r, r.Examples)
		}
	})
}

// A step of the clock does not count as time in which the network produces.
func TestAClockThatStepsDoesNotProduce(t *testing.T) {
	clock := clockwork.NewFakeClockAt(noon)
	s := start(t, jetsim.Options{Clock: clock, Rate: 10})
	s.StepClock(time.Hour)
	if err := clock.BlockUntilContext(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	clock.Advance(time.Second)
	if err := clock.BlockUntilContext(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if got := s.Stats(); got.Contents > 30 || got.Newest < noon.Add(time.Hour).UnixMicro() {
		t.Errorf("%d events, the newest of %d", got.Contents, got.Newest)
	}
}

// A server that ignores the size limit sends large events to every subscriber, again at every
// resume.
func TestAServerThatIgnoresTheSize(t *testing.T) {
	const large = 100_000
	for _, ignores := range []bool{false, true} {
		s := start(t, jetsim.Options{Backlog: 90, LargeEvery: 10, LargeBytes: large, IgnoreSize: ignores})
		for _, url := range []string{s.URL(), s.URLv2()} {
			for range 2 {
				sub := subscribeWith(t, url+"?cursor=0&maxMessageSizeBytes=65536", nil)
				n, found := 60, 0
				for _, b := range sub.read(n) {
					if len(b) > large {
						found++
					}
				}
				if (found > 0) != ignores || found > 6 {
					t.Errorf("ignores = %v: %d large events of %d", ignores, found, n)
				}
				sub.conn.CloseNow()
			}
		}
	}
}

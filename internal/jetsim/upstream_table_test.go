package jetsim_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/atproto"
	"tempestd/internal/jetsim"
	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// heard is what a connection learns from a server: all facts from which a feed decides.
type heard struct {
	t       testing.TB
	events  []messages.Event
	entries [][]byte
	skipped []messages.OversizedEvent
	infos   []string
	bad     int
	date    bool
	end     jetstream.Ending
	refused *jetstream.RefusedError

	enough int
	conn   *jetstream.Conn
	active func() // called when the connection is open
}

func (h *heard) take(b *messages.Batch) {
	for i := range b.Events {
		h.events = append(h.events, b.Events[i])
		h.entries = append(h.entries, bytes.Clone(b.Bytes(i)))
	}
	h.skipped = append(h.skipped, b.Oversized...)
	if b.Reset(); len(h.events)+len(h.skipped) >= h.enough {
		go h.conn.CloseNow() // it waits for the read that calls take
	}
}

func (h *heard) TryHand(b *messages.Batch) (*messages.Batch, bool) { h.take(b); return b, true }
func (h *heard) Hand(b *messages.Batch) *messages.Batch            { h.take(b); return b }
func (h *heard) Bad([]byte, error)                                 { h.bad++ }
func (h *heard) First(messages.Event)                              {}
func (h *heard) Info(name, _ string)                               { h.infos = append(h.infos, name) }

// listen subscribes and reads until enough events have arrived or the connection ends.
func (h *heard) listen(s *jetsim.Sim, p jetstream.Protocol, cursor func(host string) jetstream.Cursor) *heard {
	h.t.Helper()
	url := s.URL()
	if p == jetstream.ProtocolV2 {
		url = s.URLv2()
	}
	e, err := jetstream.ParseEndpoint(url)
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(h.t.Context(), time.Minute)
	defer cancel()
	h.conn, err = jetstream.Dial(ctx, jetstream.Request{Endpoint: e, Cursor: cursor(e.Host())}, jetstream.DialOptions{MaxMessageSize: 65536})
	if errors.As(err, &h.refused) {
		return h
	} else if err != nil {
		h.t.Fatal(err)
	}
	_, h.date = h.conn.ServerDate()
	if h.active != nil {
		h.active()
	}
	rest, err := h.conn.Run(&messages.Batch{}, h, jetstream.Limits{Events: 1, Bytes: 1})
	h.enough = 1 << 30
	h.take(rest)
	h.end = jetstream.Classify(err)
	return h
}

func atTime(us int64) func(string) jetstream.Cursor {
	return func(string) jetstream.Cursor { return jetstream.TimeCursor(us) }
}

func atSeq(seq int64) func(string) jetstream.Cursor {
	return func(host string) jetstream.Cursor { return jetstream.SequenceCursor(host, seq) }
}

func live(string) jetstream.Cursor { return jetstream.Cursor{} }

// TestUpstreamTable runs the rows of docs/upstream.md: the behaviour of each generation of servers,
// over both protocols, as a connection sees it.
func TestUpstreamTable(t *testing.T) {
	const backlog, segment, block = 250, 100, 20
	type server struct {
		*jetsim.Sim
		clock *clockwork.FakeClock
		all   []frame // its events, oldest first
		newer bool
		v2    bool
		p     jetstream.Protocol
	}
	type row struct {
		opt  jetsim.Options
		test func(t *testing.T, s *server)
	}
	inject := func(t *testing.T, s *server, name string) {
		t.Helper()
		if err := s.Inject(jetsim.Fault{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	// begins checks that a subscription begins with event want, or is live if want is len(all), and
	// that info comes before it.
	begins := func(t *testing.T, s *server, cursor func(string) jetstream.Cursor, want int, info string) {
		t.Helper()
		h := &heard{t: t, enough: 1}
		if want == len(s.all) {
			h.active = func() { s.Produce(1) }
		}
		h.listen(s.Sim, s.p, cursor)
		seq := s.Stats().NewestSeq
		if want < len(s.all) {
			seq = s.all[want].seq()
		}
		if len(h.events) == 0 || want < len(s.all) && h.events[0].Seq != seq || want == len(s.all) && h.events[0].Seq <= s.all[want-1].seq() {
			t.Fatalf("it begins with %+v, want event %d, seq %d; %+v %+v", h.events, want, seq, h.end, h.refused)
		}
		if got := strings.Join(h.infos, ","); got != info {
			t.Errorf("it says %q, want %q", got, info)
		}
	}
	either := func(ok bool, yes string) string {
		if ok {
			return yes
		}
		return ""
	}
	ends := func(t *testing.T, s *server, fault string) *heard {
		t.Helper()
		h := &heard{t: t, enough: 1 << 30, active: func() { inject(t, s, fault) }}
		return h.listen(s.Sim, s.p, live)
	}
	rows := map[string]row{
		"live": {test: func(t *testing.T, s *server) { begins(t, s, live, len(s.all), "") }},
		"seq":  {test: func(t *testing.T, s *server) { begins(t, s, atSeq(s.all[155].seq()), 155, "") }},
		"seq-hole": {test: func(t *testing.T, s *server) {
			i := 1
			for s.all[i].seq() == s.all[i-1].seq()+1 {
				i++
			}
			begins(t, s, atSeq(s.all[i].seq()-1), i, "")
		}},
		"seq-ahead": {test: func(t *testing.T, s *server) {
			begins(t, s, atSeq(s.all[len(s.all)-1].seq()+1), len(s.all), "") // the next number
			s.all = append(s.all, decode(t, subscribe(t, s.Sim, fmt.Sprint("cursor=", s.Stats().NewestSeq)).read(1))...)
			begins(t, s, atSeq(1_000_000), len(s.all), either(s.newer && s.v2, atproto.FutureCursor))
		}},
		"seq-old": {test: func(t *testing.T, s *server) {
			s.Forget(120)
			if !s.v2 {
				begins(t, s, atSeq(s.all[3].seq()), 120, "")
				return
			}
			h := (&heard{t: t, enough: 1}).listen(s.Sim, s.p, atSeq(s.all[3].seq()))
			if h.refused == nil || h.refused.Name != atproto.CursorTooOld || !jetstream.ResumeByTime(h.refused) || h.refused.Permanent {
				t.Errorf("it is refused with %+v", h.refused)
			}
		}},
		"time": {test: func(t *testing.T, s *server) {
			begins(t, s, atTime(s.all[first(s.all, 120)].TimeUS), first(s.all, 120), "")
		}},
		"time-active": {test: func(t *testing.T, s *server) {
			want := 200
			if s.newer {
				want = first(s.all, 230) / block * block
			}
			begins(t, s, atTime(s.all[230].TimeUS), want, "")
		}},
		"time-old": {test: func(t *testing.T, s *server) {
			s.Forget(120)
			begins(t, s, atTime(s.all[3].TimeUS), 120, either(s.v2, atproto.OutdatedCursor))
		}},
		"time-first": {test: func(t *testing.T, s *server) {
			begins(t, s, atTime(s.all[0].TimeUS-1_000_000), 0, either(s.newer && s.v2, atproto.OutdatedCursor))
		}},
		"time-ahead": {test: func(t *testing.T, s *server) {
			begins(t, s, atTime(s.clock.Now().Add(time.Hour).UnixMicro()), len(s.all), "")
		}},
		"witnessed": {test: func(t *testing.T, s *server) {
			h := (&heard{t: t, enough: 50}).listen(s.Sim, s.p, atSeq(1))
			for i, entry := range h.entries {
				if has := bytes.Contains(entry, []byte(`,"witnessedAt":"`)); has != (s.newer && s.v2) || h.events[i].TimeUS != s.all[i].TimeUS {
					t.Fatalf("it stands at %d, want %d: %s", h.events[i].TimeUS, s.all[i].TimeUS, entry)
				}
			}
		}},
		"crash": {test: func(t *testing.T, s *server) {
			given := s.all[len(s.all)-1].seq()
			inject(t, s, jetsim.FaultCrash)
			for s.Stats().Down {
				s.clock.Advance(time.Second)
			}
			s.Produce(1)
			again := s.Stats().NewestSeq <= given+20
			if again == s.newer {
				t.Errorf("the newest number is %d, before the crash it was %d", s.Stats().NewestSeq, given)
			}
		}},
		"clock": {test: func(t *testing.T, s *server) {
			inject(t, s, jetsim.FaultClockBack)
			h := (&heard{t: t, enough: 1, active: func() { s.Produce(1) }}).listen(s.Sim, s.p, live)
			if back := h.events[0].TimeUS < s.all[len(s.all)-1].TimeUS; back == s.newer {
				t.Errorf("after %d comes %d", s.all[len(s.all)-1].TimeUS, h.events[0].TimeUS)
			}
		}},
		"date": {test: func(t *testing.T, s *server) {
			if h := (&heard{t: t, enough: 1}).listen(s.Sim, s.p, atSeq(1)); !h.date {
				t.Error("the handshake tells no date")
			}
		}},
		"close": {test: func(t *testing.T, s *server) {
			if h := ends(t, s, jetsim.FaultMigrate); !h.end.Clean || h.end.Code != 1001 {
				t.Errorf("the ending is %+v", h.end)
			}
		}},
		"stale": {test: func(t *testing.T, s *server) {
			inject(t, s, jetsim.FaultStale)
			h := (&heard{t: t, enough: 1}).listen(s.Sim, s.p, live)
			if h.refused == nil || !h.refused.Passing || h.refused.Permanent || h.refused.Status != 503 {
				t.Errorf("it is refused with %+v", h.refused)
			}
		}},
		"refused": {test: func(t *testing.T, s *server) {
			inject(t, s, jetsim.FaultRefuse)
			for range 2 {
				h := (&heard{t: t, enough: 1}).listen(s.Sim, s.p, live)
				if h.refused == nil || h.refused.Permanent || h.refused.RetryAfter != time.Second || h.refused.Passing != (h.refused.Status == 503) {
					t.Errorf("it is refused with %+v", h.refused)
				}
			}
		}},
		"eof": {test: func(t *testing.T, s *server) {
			if h := ends(t, s, jetsim.FaultEOF); h.end.Clean || h.end.Cause != jetstream.CauseMidFrame {
				t.Errorf("the ending is %+v", h.end)
			}
		}},
		"too-slow": {test: func(t *testing.T, s *server) {
			h := ends(t, s, jetsim.FaultTooSlow)
			if h.end.Clean || s.v2 != (h.end.Name == "ConsumerTooSlow") {
				t.Errorf("the ending is %+v", h.end)
			}
		}},
		"large": {opt: jetsim.Options{LargeEvery: 10, LargeBytes: 100_000}, test: func(t *testing.T, s *server) {
			if h := (&heard{t: t, enough: 50}).listen(s.Sim, s.p, atSeq(1)); len(h.skipped) != 0 || len(h.events) < 50 {
				t.Errorf("%d events, skipped %+v", len(h.events), h.skipped)
			}
		}},
		"large-sent": {opt: jetsim.Options{LargeEvery: 10, LargeBytes: 100_000, IgnoreSize: true}, test: func(t *testing.T, s *server) {
			h := (&heard{t: t, enough: 100}).listen(s.Sim, s.p, atSeq(1))
			if len(h.skipped) == 0 {
				t.Fatal("nothing is skipped")
			}
			sent := map[int64]frame{}
			for _, f := range s.all {
				sent[f.seq()] = f
			}
			for _, e := range h.skipped {
				if f := sent[e.Seq]; e.RKey != f.Commit.Rkey || e.DID != f.DID || e.TimeUS != f.TimeUS || e.Fingerprint == 0 {
					t.Errorf("skipped is %+v, sent was %+v", e, f.Commit)
				}
			}
		}},
		"garbage": {test: func(t *testing.T, s *server) {
			h := &heard{t: t, enough: 1, active: func() { inject(t, s, jetsim.FaultGarbage); inject(t, s, jetsim.FaultClose) }}
			if h.listen(s.Sim, s.p, live); h.bad == 0 || !h.end.Clean {
				t.Errorf("%d bad, %+v", h.bad, h.end)
			}
		}},
	}
	for name, r := range rows {
		generations(t, func(t *testing.T, newer []jetsim.Newer) {
			for _, p := range []jetstream.Protocol{jetstream.ProtocolV1, jetstream.ProtocolV2} {
				t.Run(fmt.Sprintf("%s/%v", name, p), func(t *testing.T) {
					clock := clockwork.NewFakeClockAt(noon)
					opt := r.opt
					opt.Clock, opt.Backlog, opt.Segment, opt.Block, opt.Newer = clock, backlog, segment, block, newer
					s := &server{Sim: start(t, opt), clock: clock, newer: newer != nil, v2: p == jetstream.ProtocolV2, p: p}
					s.all = decode(t, subscribe(t, s.Sim, "cursor=0").read(backlog))
					r.test(t, s)
				})
			}
		})
	}
	page, err := os.ReadFile("../../docs/upstream.md")
	if err != nil {
		t.Fatal(err)
	}
	// These rows have tests of their own: TestDialRefused and
	// TestAFrameThatAnnouncesTooMuchEndsTheConnectionAtOnce.
	elsewhere := map[string]bool{"bad-request": true, "endless": true}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` ").FindAllStringSubmatch(string(page), -1) {
		if _, ok := rows[m[1]]; !ok && !elsewhere[m[1]] {
			t.Errorf("docs/upstream.md has the row %s, which nothing runs", m[1])
		}
		delete(rows, m[1])
	}
	for name := range rows {
		t.Errorf("docs/upstream.md has no row %s", name)
	}
}

// first returns the index of the first event with the time of event i.
func first(all []frame, i int) int {
	for i > 0 && all[i-1].TimeUS == all[i].TimeUS {
		i--
	}
	return i
}

// TestWhatIsByteEqual checks what docs/upstream.md says about bytes, against servers of both
// generations.
func TestWhatIsByteEqual(t *testing.T) {
	generations(t, func(t *testing.T, newer []jetsim.Newer) {
		const n = 3000
		s := start(t, jetsim.Options{Backlog: n, Newer: newer})
		v1, v2 := subscribe(t, s, "cursor=0").read(n), subscribeV2(t, s, "cursor=0").read(n)
		var read jetstream.Entry
		for i := range v1 {
			var a, b messages.Event
			entry, err := jetstream.Unwrap(nil, v2[i], &b)
			if err != nil || jetstream.Scan(v1[i], &a) != nil || a != b || !jetstream.SameIdentity(v1[i], entry) {
				t.Fatalf("event %d is %+v over v1 and %+v over v2 (%v)", i, a, b, err)
			}
			want := string(v1[i])
			if newer != nil {
				at := time.UnixMicro(b.TimeUS).UTC().Format("2006-01-02T15:04:05.000000Z")
				want = strings.TrimSuffix(want, "}") + `,"witnessedAt":"` + at + `"}`
			}
			if string(entry) != want {
				t.Fatalf("v2's entry is\n%s, want\n%s", entry, want)
			}
			for _, stored := range [][]byte{v2[i], entry} { // with raw and without
				read.Read(stored)
				one, _ := read.V1(nil)
				two, _ := read.V2(nil)
				if string(one) != string(v1[i]) || string(two) != string(v2[i]) {
					t.Fatalf("it is sent as\n%s\n%s, the server sent\n%s\n%s", one, two, v1[i], v2[i])
				}
			}
			read.Read(v1[i])
			if one, _ := read.V1(nil); string(one) != string(v1[i]) {
				t.Fatalf("v1's entry is sent as\n%s, the server sent\n%s", one, v1[i])
			}
		}
	})
}

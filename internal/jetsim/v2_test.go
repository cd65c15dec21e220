package jetsim_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/jonboulle/clockwork"

	"tempestd/internal/jetsim"
)

const (
	pathV2       = "/xrpc/network.bsky.jetstream.subscribeEvents"
	pathDict     = "/xrpc/network.bsky.jetstream.getZstdDictionary"
	pipedV2URL   = "ws://pipe" + pathV2 + "?"
	v2TypePrefix = "network.bsky.jetstream.subscribeEvents#"
)

func subscribeV2(t testing.TB, s *jetsim.Sim, query string) *client {
	t.Helper()
	return subscribeWith(t, s.URLv2()+"?"+query, nil)
}

// frameV2 is the content of a v2 frame.
type frameV2 struct {
	Type    string          `json:"$type"`
	Payload json.RawMessage `json:"payload"`
	Error   string          `json:"error"`
	Message string          `json:"message"`
}

type payloadV2 struct {
	Type       string          `json:"$type"`
	DID        string          `json:"did"`
	Seq        int64           `json:"seq"`
	Time       string          `json:"time"`
	Name       string          `json:"name"`
	Message    string          `json:"message"`
	Rev        string          `json:"rev"`
	Operation  string          `json:"operation"`
	Collection string          `json:"collection"`
	Rkey       string          `json:"rkey"`
	CID        string          `json:"cid"`
	Record     json.RawMessage `json:"record"`
	Identity   json.RawMessage `json:"identity"`
	Account    json.RawMessage `json:"account"`
	Sync       json.RawMessage `json:"sync"`
}

func (p payloadV2) kind() string { return strings.TrimPrefix(p.Type, v2TypePrefix) }

func decodeV2(t testing.TB, frames [][]byte) []payloadV2 {
	t.Helper()
	out := make([]payloadV2, len(frames))
	for i, b := range frames {
		var f frameV2
		if err := json.Unmarshal(b, &f); err != nil || f.Type != "message" {
			t.Fatalf("frame %d: %v: %s", i, err, b)
		}
		if err := json.Unmarshal(f.Payload, &out[i]); err != nil {
			t.Fatalf("frame %d: %v: %s", i, err, b)
		}
	}
	return out
}

// asV1 returns a v2 event in v1's shape, encoded by encoding/json from its parts.
func asV1(t testing.TB, p payloadV2) []byte {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, p.Time)
	if err != nil {
		t.Fatal(err)
	}
	type commit struct {
		Rev        string          `json:"rev"`
		Operation  string          `json:"operation"`
		Collection string          `json:"collection"`
		Rkey       string          `json:"rkey"`
		Record     json.RawMessage `json:"record,omitempty"`
		CID        string          `json:"cid,omitempty"`
	}
	v := struct {
		DID      string          `json:"did"`
		TimeUS   int64           `json:"time_us"`
		Cursor   int64           `json:"cursor"`
		Kind     string          `json:"kind"`
		Commit   *commit         `json:"commit,omitempty"`
		Identity json.RawMessage `json:"identity,omitempty"`
		Account  json.RawMessage `json:"account,omitempty"`
		Sync     json.RawMessage `json:"sync,omitempty"`
	}{DID: p.DID, TimeUS: at.UnixMicro(), Cursor: p.Seq, Kind: p.kind(), Identity: p.Identity, Account: p.Account, Sync: p.Sync}
	if p.kind() == "commit" {
		v.Commit = &commit{p.Rev, p.Operation, p.Collection, p.Rkey, p.Record, p.CID}
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBothProtocolsSendTheSameEventsUnderTheSameSeqs(t *testing.T) {
	const n = 2000
	s := start(t, jetsim.Options{Backlog: n, Syncs: true})
	v2 := subscribeV2(t, s, "cursor=0").read(n)
	var converted [][]byte
	syncs := 0
	for _, p := range decodeV2(t, v2) {
		if p.kind() == "sync" {
			syncs++
		} else {
			converted = append(converted, asV1(t, p))
		}
	}
	if syncs == 0 {
		t.Fatal("no sync events")
	}
	v1 := subscribe(t, s, "cursor=0").read(n - syncs) // v1 never sends sync events
	for i := range v1 {
		if !bytes.Equal(v1[i], converted[i]) {
			t.Fatalf("event %d is\n%s in v1 and\n%s in v2", i, v1[i], converted[i])
		}
	}
}

func TestV2FramesAreWhatServersWrite(t *testing.T) {
	const n = 2500
	s := start(t, jetsim.Options{Backlog: n, Syncs: true})
	frames := subscribeV2(t, s, "cursor=0").read(n)
	sixDigits := regexp.MustCompile(`"time":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"}}$`)
	kinds := map[string]int{}
	last := int64(0)
	for i, p := range decodeV2(t, frames) {
		b := frames[i]
		kinds[p.kind()]++
		var parts struct {
			Type string `json:"$type"`
			// encoding/json writes the keys of a map sorted.
			Payload map[string]json.RawMessage `json:"payload"`
		}
		if err := json.Unmarshal(b, &parts); err != nil {
			t.Fatal(err)
		}
		if sorted, err := json.Marshal(parts); err != nil || !bytes.Equal(sorted, b) {
			t.Fatalf("frame %d has its keys in another order:\n%s\n%s", i, b, sorted)
		}
		if !sixDigits.Match(b) {
			t.Fatalf("frame %d: its time is not of six digits: %s", i, b)
		}
		if p.Seq <= last {
			t.Fatalf("seq %d follows %d", p.Seq, last)
		}
		last = p.Seq
	}
	for _, kind := range []string{"commit", "identity", "account", "sync"} {
		if kinds[kind] == 0 {
			t.Errorf("no %s", kind)
		}
	}
}

// TestV2FramesHaveTheCapturedLayout compares with frames of a real server. The corpus adds more
// real frames.
func TestV2FramesHaveTheCapturedLayout(t *testing.T) {
	real := []string{
		`{"$type":"message","payload":{"$type":"network.bsky.jetstream.subscribeEvents#commit","cid":"c","collection":"app.bsky.graph.follow","did":"d","operation":"create","record":{"$type":"app.bsky.graph.follow","createdAt":"t","subject":"s"},"rev":"r","rkey":"k","seq":18472,"time":"t"}}`,
		`{"$type":"message","payload":{"$type":"network.bsky.jetstream.subscribeEvents#identity","did":"d","identity":{"did":"d","seq":43,"time":"t"},"seq":20,"time":"t"}}`,
	}
	if dir := os.Getenv("TEMPEST_CORPUS"); dir != "" {
		b, err := os.ReadFile(filepath.Join(dir, "captured_v2.jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
			if strings.Contains(line, "#identity") || strings.Contains(line, `"operation":"delete"`) {
				real = append(real, line)
			}
		}
	}
	const n = 5000
	have := map[string]bool{}
	for _, b := range subscribeV2(t, start(t, jetsim.Options{Backlog: n}), "cursor=0").read(n) {
		if !bytes.ContainsRune(b, '[') {
			have[layout(t, b)] = true
		}
	}
	for _, line := range real {
		if !have[layout(t, []byte(line))] {
			t.Errorf("no frame has the layout of %s", line)
		}
	}
}

func TestV2ClosesOnAnyDataMessage(t *testing.T) {
	s := start(t, jetsim.Options{Backlog: 1000})
	c := subscribeV2(t, s, "cursor=0")
	c.read(10)
	if err := c.conn.Write(c.ctx, websocket.MessageText, []byte(`{"type":"options_update","payload":{}}`)); err != nil {
		t.Fatal(err)
	}
	var ce websocket.CloseError
	if _, err := c.rest(); !errors.As(err, &ce) || ce.Code != 1008 || ce.Reason != "unexpected data message" {
		t.Errorf("ends with %v", err)
	}
}

func TestV2FiltersSelectAsServersDo(t *testing.T) {
	const n = 2000
	s := start(t, jetsim.Options{Backlog: n, Accounts: 50, Syncs: true})
	frames := subscribeV2(t, s, "cursor=0").read(n)
	all := decodeV2(t, frames)
	account := all[0].DID
	for query, want := range map[string]func(i int, p payloadV2) bool{
		"collections=app.bsky.feed.like": func(_ int, p payloadV2) bool { return p.kind() != "commit" || p.Collection == "app.bsky.feed.like" },
		"kinds=commit&collections=app.bsky.graph.*": func(_ int, p payloadV2) bool {
			return strings.HasPrefix(p.Collection, "app.bsky.graph.")
		},
		"kinds=sync&kinds=account": func(_ int, p payloadV2) bool { return p.kind() == "sync" || p.kind() == "account" },
		"dids=" + account:          func(_ int, p payloadV2) bool { return p.DID == account },
		// The size includes the envelope.
		"maxMessageSizeBytes=600": func(i int, _ payloadV2) bool { return len(frames[i]) <= 600 },
	} {
		var wanted []int
		for i, p := range all {
			if want(i, p) {
				wanted = append(wanted, i)
			}
		}
		got := subscribeV2(t, s, query+"&cursor=0").read(len(wanted))
		for i, w := range wanted {
			if string(got[i]) != string(frames[w]) {
				t.Errorf("?%s: frame %d is %s, want %s", query, i, got[i], frames[w])
				break
			}
		}
		// Verify supports these filters too.
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		if r := verify(t, s, got, jetsim.VerifyOptions{Query: q, Protocol: jetsim.ProtocolV2}); !r.OK() || r.Sent != int64(len(wanted)) {
			t.Errorf("?%s: %v %q", query, r, r.Examples)
		}
	}
}

func TestV2CursorsBelowTheFloor(t *testing.T) {
	clock := clockwork.NewFakeClockAt(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC))
	s := start(t, jetsim.Options{Clock: clock, Backlog: 1000, Rate: 100, Segment: 300})
	// The cursor 0 is valid while nothing is dropped.
	all := decodeV2(t, subscribeV2(t, s, "cursor=0").read(1000))
	s.StopProducing()
	if got := decodeV2(t, subscribeV2(t, s, "cursor=1").read(1))[0].Seq; got != all[0].Seq {
		t.Errorf("cursor 1 begins with %d", got)
	}
	clock.Advance(100 * 24 * time.Hour)
	floor := all[600].Seq
	for _, cursor := range []int64{0, 1, all[0].Seq, floor - 1} {
		resp, body := get(t, s, "GET", fmt.Sprint(pathV2, "?cursor=", cursor))
		want := fmt.Sprintf(`{"error":"CursorTooOld","message":"subscribe: cursor too old: cursor %d below lookback floor %d; re-backfill from your last seq"}`, cursor, floor)
		if resp.StatusCode != 400 || body != want {
			t.Errorf("cursor %d answers %d %s", cursor, resp.StatusCode, body)
		}
	}
	if got := decodeV2(t, subscribeV2(t, s, fmt.Sprint("cursor=", floor)).read(1))[0].Seq; got != floor {
		t.Errorf("the floor itself begins with %d", got)
	}
	at, err := time.Parse(time.RFC3339Nano, all[100].Time)
	if err != nil {
		t.Fatal(err)
	}
	got := decodeV2(t, subscribeV2(t, s, fmt.Sprint("cursor=", at.UnixMicro())).read(2))
	if want := fmt.Sprint("requested timestamp cursor below retention floor; starting at seq ", floor); got[0].kind() != "info" ||
		got[0].Name != "OutdatedCursor" || got[0].Message != want || got[1].Seq != floor {
		t.Errorf("an old time begins with %+v, %+v", got[0], got[1])
	}
	// v1 moves both cursors silently: TestOldCursorsStartSilentlyAtTheFloor.
}

func TestV2FutureCursorsAreSilentlyLive(t *testing.T) {
	s := start(t, jetsim.Options{Backlog: 50})
	for _, cursor := range []int64{999_999_999_999_999, 0, time.Now().Add(time.Hour).UnixMicro()} {
		newest := s.Stats().NewestSeq
		if cursor == 0 {
			cursor = newest + 1
		}
		c := subscribeV2(t, s, fmt.Sprint("cursor=", cursor))
		s.Produce(1)
		if p := decodeV2(t, c.read(1))[0]; p.kind() == "info" || p.Seq <= newest {
			t.Errorf("cursor %d begins with %+v", cursor, p)
		}
	}
}

func TestTooSlowSaysWhyInV2Only(t *testing.T) {
	s := start(t, jetsim.Options{Backlog: 10})
	v1, v2 := subscribe(t, s, "cursor=0"), subscribeV2(t, s, "cursor=0")
	v1.read(10)
	v2.read(10)
	if err := s.Inject(jetsim.Fault{Name: jetsim.FaultTooSlow}); err != nil {
		t.Fatal(err)
	}
	if frames, err := v1.rest(); len(frames) > 0 || websocket.CloseStatus(err) != -1 {
		t.Errorf("v1 ends with %q, %v", frames, err)
	}
	frames, err := v2.rest()
	var f frameV2
	if len(frames) != 1 || json.Unmarshal(frames[0], &f) != nil || f.Type != "error" || f.Error != "ConsumerTooSlow" || f.Message == "" {
		t.Errorf("v2 ends with %q", frames)
	}
	if websocket.CloseStatus(err) != -1 || !errors.Is(err, io.EOF) {
		t.Errorf("and %v", err)
	}
}

func TestV2ReaderThatStopsIsCutInMidFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, dial, end := startPiped(t, jetsim.Options{Backlog: 5000})
		defer end()
		c := subscribeWith(t, pipedV2URL+"cursor=0", dial)
		c.read(1)
		time.Sleep(8 * time.Second) // virtual time
		frames, err := c.rest()
		if websocket.CloseStatus(err) != -1 || !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
			t.Errorf("ends with %v", err)
		}
		for _, b := range frames {
			if bytes.Contains(b, []byte("ConsumerTooSlow")) {
				t.Error("and is told so")
			}
		}
	})
}

package subscribe_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"tempestd/internal/subscribe"
)

// parse parses a request with the query.
func parse(v subscribe.Version, query string, header ...string) (subscribe.Request, *subscribe.Refusal) {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.URL.RawQuery = query
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return subscribe.Parse(r, v, func(id uint32) *subscribe.Refusal {
		if v == subscribe.V2 && id != 7 {
			return subscribe.UnknownDictionary(id, 7)
		}
		return nil
	})
}

func TestTheFirstOfTwoCountsAndTheUnknownIsIgnored(t *testing.T) {
	for _, v := range []subscribe.Version{subscribe.V1, subscribe.V2} {
		req, refusal := parse(v, "cursor=5&cursor=abc&maxSize=x&cursor=9")
		if refusal != nil || req.Cursor != (subscribe.Cursor{Given: true, Value: 5, Text: "5"}) {
			t.Errorf("%v: %+v, %v", v, req.Cursor, refusal)
		}
	}
	if req, refusal := parse(subscribe.V1, "requireHello=true&requireHello=false&compress=true&maxMessageSizeBytes=-4"); refusal != nil || !req.Hello || !req.Zstd || req.Filter.MaxBytes != 0 {
		t.Errorf("%+v, %v", req, refusal)
	}
	if req, refusal := parse(subscribe.V1, "compress=TRUE&requireHello=1"); refusal != nil || req.Hello || req.Zstd {
		t.Errorf("%+v, %v", req, refusal)
	}
}

// If several values are wrong, the refusal names the one that a server checks first.
func TestRefusalsInTheirOrder(t *testing.T) {
	for _, c := range []struct {
		v           subscribe.Version
		query, want string
		header      []string
	}{
		{subscribe.V1, "cursor=%zz&compress=true", `invalid URL escape "%zz"`, nil},
		{subscribe.V1, "cursor=abc&wantedCollections=*&compress=true", "choose one compression scheme", []string{"Sec-WebSocket-Extensions", "permessage-deflate"}},
		{subscribe.V1, "cursor=abc&wantedCollections=*&wantedDids=x", "subscribe: invalid options: invalid collection: *", nil},
		{subscribe.V1, "cursor=abc&wantedDids=x", "subscribe: invalid options: invalid DID: x", nil},
		{subscribe.V1, "cursor=abc", `subscribe: invalid cursor: "abc"`, nil},
		{subscribe.V2, "compress=true&zstdDictionary=0&cursor=abc", "compress=true / Socket-Encoding: zstd is the", nil},
		{subscribe.V2, "zstdDictionary=0&kinds=x&cursor=abc", "zstdDictionary must be a positive integer", nil},
		{subscribe.V2, "zstdDictionary=8&kinds=x&cursor=abc", "unknown zstd dictionary id 8; current dictionary id is 7", nil},
		{subscribe.V2, "zstdDictionary=7&kinds=x&cursor=abc", `unknown kind "x"`, nil},
		{subscribe.V2, "zstdDictionary=7&cursor=-1", "subscribe: invalid cursor: negative value -1", nil},
	} {
		_, refusal := parse(c.v, c.query, c.header...)
		if refusal == nil || refusal.Status != http.StatusBadRequest || !strings.Contains(refusal.Message, c.want) {
			t.Errorf("%v ?%s is refused with %v, want %q", c.v, c.query, refusal, c.want)
		}
	}
}

func TestWantsIsTheServersRule(t *testing.T) {
	f, err := subscribe.FilterV1([]string{"app.bsky.feed.post", "app.bsky.graph.*", ".*"}, []string{"did:plc:a"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		kind       subscribe.Kinds
		did, coll  string
		wantBefore bool
	}{
		{subscribe.Commit, "did:plc:a", "app.bsky.feed.post", true},
		{subscribe.Commit, "did:plc:a", "app.bsky.feed.postgate", false},
		{subscribe.Commit, "did:plc:a", "app.bsky.graph.follow", true},
		{subscribe.Commit, "did:plc:b", "app.bsky.graph.follow", false},
		{subscribe.Identity, "did:plc:a", "", true},
		{subscribe.Account, "did:plc:b", "", false},
		{subscribe.Sync, "did:plc:a", "", false},
		{subscribe.Other, "did:plc:a", "", false},
	} {
		if got := f.Wants(c.kind, []byte(c.did), []byte(c.coll)); got != c.wantBefore {
			t.Errorf("%+v: %v", c, got)
		}
	}
	if n := testing.AllocsPerRun(100, func() { f.Wants(subscribe.Commit, []byte("did:plc:a"), []byte("app.bsky.graph.follow")) }); n > 0 {
		t.Errorf("%v allocations a question", n)
	}
}

func TestALongReasonIsCutBetweenCharacters(t *testing.T) {
	got := subscribe.CloseReason(strings.Repeat("é", 100))
	if len(got) > 123 || !utf8.ValidString(got) || !strings.HasSuffix(got, "...") {
		t.Errorf("%d bytes: %q", len(got), got)
	}
}

func FuzzParse(f *testing.F) {
	for _, q := range []string{"", "cursor=1", "cursor=%zz", "wantedCollections=app.bsky.*&wantedDids=did:plc:x", "kinds=commit&dids=did:web:y&maxMessageSizeBytes=9", "a;b",
		"compress=true&requireHello=true", "zstdDictionary=7", "cursor=9223372036854775808"} {
		f.Add(q, true)
		f.Add(q, false)
	}
	f.Fuzz(func(t *testing.T, query string, second bool) {
		v := subscribe.V1
		if second {
			v = subscribe.V2
		}
		req, refusal := parse(v, query)
		if refusal == nil {
			if req.Version != v || req.Cursor.Value < 0 || req.Filter.MaxBytes < 0 {
				t.Errorf("%+v", req)
			}
			return
		}
		w := httptest.NewRecorder()
		refusal.Answer(w, v)
		if w.Code != http.StatusBadRequest || second && !json.Valid(w.Body.Bytes()) || !second && !strings.HasSuffix(w.Body.String(), "\n") {
			t.Errorf("%d %q", w.Code, w.Body)
		}
	})
}

func FuzzParseUpdate(f *testing.F) {
	for _, m := range []string{`{"type":"options_update","payload":{}}`, `{"type":"options_update"}`, `{"type":"x"}`, `[]`, `{`, `null`,
		`{"type":"options_update","payload":{"wantedCollections":["app.bsky.*"],"wantedDids":["did:plc:x"],"maxMessageSizeBytes":5}}`} {
		f.Add(m)
	}
	f.Fuzz(func(t *testing.T, message string) {
		filter, update, err := subscribe.ParseUpdate([]byte(message))
		if update && (err != nil || filter.Kinds != subscribe.KindsV1 || filter.MaxBytes < 0) {
			t.Errorf("%+v, %v", filter, err)
		}
		if !json.Valid([]byte(message)) && err == nil {
			t.Errorf("%q is taken", message)
		}
	})
}

func ExampleParseUpdate() {
	_, _, err := subscribe.ParseUpdate([]byte(`{"type":"options_update","payload":{"wantedCollections":["garbage"]}}`))
	fmt.Println(err)
	// Output: subscribe: invalid options: invalid collection: garbage
}

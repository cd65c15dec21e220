package jetsim_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"tempestd/internal/jetsim"
)

func TestV2Refusals(t *testing.T) {
	s := newSim(t, jetsim.Options{Backlog: 10})
	var many strings.Builder
	for i := range 101 {
		fmt.Fprintf(&many, "&collections=app.bsky.feed.x%c", 'a'+i%26)
	}
	options := func(message string) string {
		b, _ := json.Marshal(message)
		return fmt.Sprintf(`{"error":"InvalidRequest","message":"subscribe: invalid options: %s}`, b[1:])
	}
	for query, want := range map[string]string{
		"cursor=-1":                  `{"error":"InvalidRequest","message":"subscribe: invalid cursor: negative value -1"}`,
		"cursor=abc":                 `{"error":"InvalidRequest","message":"subscribe: invalid cursor: \"abc\""}`,
		"cursor=9223372036854775808": `{"error":"InvalidRequest","message":"subscribe: invalid cursor: \"9223372036854775808\""}`,
		"cursor=%zz":                 `{"error":"InvalidRequest","message":"invalid URL escape \"%zz\""}`,
		"kinds=bogus":                options(`unknown kind "bogus" (valid: commit, identity, account, sync)`),
		"kinds=":                     options(`unknown kind "" (valid: commit, identity, account, sync)`),
		"kinds=commit,identity":      options(`unknown kind "commit,identity" (valid: commit, identity, account, sync)`),
		"kinds=a&kinds=b&kinds=c&kinds=d&kinds=e":       options("too many kinds values: 5 > 4"),
		"kinds=identity&collections=app.bsky.feed.post": options("collections filter can never apply: kinds excludes commit"),
		"wantedCollections=app.bsky.feed.post":          options("wantedCollections is the legacy /subscribe parameter; use collections"),
		"wantedDids=did:plc:x":                          options("wantedDids is the legacy /subscribe parameter; use dids"),
		"requireHello=true":                             options("requireHello is not supported on this endpoint; it is server-push only (subscriber-sourced messages were removed)"),
		"collections=app.*":                             options("invalid collection wildcard: app.*"),
		"collections=not_an_nsid.*":                     options("invalid collection wildcard: not_an_nsid.*"),
		"collections=*":                                 options("invalid collection: *"),
		"dids=nobody":                                   options("invalid DID: nobody"),
		// The values count with their repeats: only 26 of them differ.
		many.String()[1:]:             options("too many collections values: 101 > 100"),
		"maxMessageSizeBytes=garbage": options(`invalid maxMessageSizeBytes "garbage"`),
		"maxMessageSizeBytes=":        options("maxMessageSizeBytes must be one unsigned 32-bit integer"),
		"maxMessageSizeBytes=-1":      options(`invalid maxMessageSizeBytes "-1"`),
		"compress=true":               `{"error":"InvalidRequest","message":"compress=true / Socket-Encoding: zstd is the /subscribe (v1) opt-in; this endpoint uses zstdDictionary=\u003cid\u003e with the dictionary from getZstdDictionary"}`,
		"zstdDictionary=0":            `{"error":"InvalidRequest","message":"zstdDictionary must be a positive integer zstd dictionary ID"}`,
		"zstdDictionary=abc":          `{"error":"InvalidRequest","message":"zstdDictionary must be a positive integer zstd dictionary ID"}`,
		"zstdDictionary=1612007021": fmt.Sprintf(`{"error":"UnknownZstdDictionary","message":"unknown zstd dictionary id 1612007021; current dictionary id is %d (fetch it via getZstdDictionary and reconnect)"}`,
			s.DictionaryID()),
	} {
		want = strings.NewReplacer("<", `\u003c`, ">", `\u003e`).Replace(want)
		resp, body := get(t, s, "GET", pathV2+"?"+query)
		if body != want || resp.StatusCode != 400 || resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("?%.60s answers %d %s %q, want %q", query, resp.StatusCode, resp.Header.Get("Content-Type"), body, want)
		}
	}
	if _, body := get(t, s, "GET", pathV2, "Socket-Encoding", "zstd"); !strings.Contains(body, "InvalidRequest") {
		t.Errorf("Socket-Encoding: zstd answers %q", body)
	}
}

func TestV2AcceptsAndReadiness(t *testing.T) {
	s := newSim(t, jetsim.Options{Backlog: 10})
	for _, query := range []string{
		"", "cursor=", "cursor=0", "cursor=5&cursor=abc", "cursor=999999999999999", "collections=app.bsky.*", "kinds=commit&kinds=sync", "compress=TRUE",
		"maxMessageSizeBytes=0", "unknown=1", fmt.Sprint("zstdDictionary=", s.DictionaryID()),
	} {
		if resp, body := get(t, s, "GET", pathV2+"?"+query); resp.StatusCode != http.StatusUpgradeRequired || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain") {
			t.Errorf("?%s answers %d %q, want 426", query, resp.StatusCode, body)
		}
	}
	s.SetReady(false)
	if resp, body := get(t, s, "GET", pathV2); resp.StatusCode != 503 || body != `{"error":"ServiceUnavailable","message":"service not ready: bootstrap in progress"}` {
		t.Errorf("answers %d %q", resp.StatusCode, body)
	}
}

func TestOnlyTheProtocolsAskedForAreServed(t *testing.T) {
	for name, opt := range map[string]jetsim.Options{
		"404 426": {Protocol: jetsim.ProtocolV2}, "426 404": {Protocol: jetsim.ProtocolV1}, "426 404 ": {Legacy: true}, "426 426": {},
	} {
		s := newSim(t, opt)
		v1, _ := get(t, s, "GET", "/subscribe")
		v2, _ := get(t, s, "GET", pathV2)
		if got := fmt.Sprint(v1.StatusCode, " ", v2.StatusCode); got != strings.TrimSpace(name) {
			t.Errorf("%+v answers %s", opt.Protocol, got)
		}
	}
}

func TestSubprotocolIsEchoedExactlyOrNotAtAll(t *testing.T) {
	s := start(t, jetsim.Options{})
	for offer, want := range map[string]string{"xrpc.v1.json": "xrpc.v1.json", "other, xrpc.v1.json": "xrpc.v1.json", "XRPC.V1.JSON": "", "other": "", "": ""} {
		for path, want := range map[string]string{pathV2: want, "/subscribe": ""} {
			if resp := upgrade(t, s, path, "Sec-WebSocket-Protocol", offer); resp.Header.Get("Sec-WebSocket-Protocol") != want {
				t.Errorf("%s: %q is answered by %q, want %q", path, offer, resp.Header.Get("Sec-WebSocket-Protocol"), want)
			}
		}
	}
}

// upgrade sends an upgrade request with an additional header and returns the answer.
func upgrade(t testing.TB, s *jetsim.Sim, path, key, value string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.Addr()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", key: value} {
		r.Header.Set(k, v)
	}
	tr := &http.Transport{DisableKeepAlives: true}
	t.Cleanup(tr.CloseIdleConnections)
	resp, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp
}

func FuzzSubscribeV2Query(f *testing.F) {
	s := newSim(f, jetsim.Options{Backlog: 10})
	for _, q := range []string{"cursor=1", "cursor=%zz", "collections=app.bsky.*", "dids=did:plc:x&maxMessageSizeBytes=9", "kinds=commit&kinds=sync", "a;b", "zstdDictionary=3"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, query string) {
		resp := answerAt(s, pathV2, query)
		var e struct{ Error, Message string }
		switch {
		case resp.Code == 426:
		case resp.Code != 400, json.Unmarshal(resp.Body.Bytes(), &e) != nil, e.Error == "", e.Message == "":
			t.Errorf("?%q answers %d %s", query, resp.Code, resp.Body)
		}
	})
}

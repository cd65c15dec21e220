package serve_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
)

func TestBadBodiesAreNamed(t *testing.T) {
	store := openStore(t)
	openStream(t, store, "bluesky", numbered(0, 3)...)
	d := start(t, store)
	d.made(`{"after":"0-0"}`)
	token := d.next("").Token
	const seek, ack, nack, extend = "POST seek", "POST ack", "POST nack", "POST extend"
	for _, c := range []struct {
		request, body string
		says          []string
	}{
		{"PUT", ``, []string{"after: missing", "0-0", "now"}},
		{"PUT", `{}`, []string{"after: missing"}},
		{"PUT", `null`, []string{"body: got", "JSON object", "after, filter"}},
		{"PUT", `[]`, []string{"body: got"}},
		{"PUT", `"after"`, []string{"body: got"}},
		{"PUT", `{"after":"now"`, []string{"body: got"}},
		{"PUT", `{"after":"now"}{}`, []string{"body: got"}},
		{"PUT", "{\"after\":\"now\",\"x\":\"\xff\"}", []string{"body: got"}},
		{"PUT", `{"after":"now","start":"now"}`, []string{`unknown field: got "start"`, "after, filter"}},
		{"PUT", `{"After":"now"}`, []string{`unknown field: got "After"`}},
		{"PUT", `{"after":"now","after":"0-0"}`, []string{"after", "twice", "one value"}},
		{"PUT", `{"after":5}`, []string{"after: got", "5", "0-0"}},
		{"PUT", `{"after":null}`, []string{"after: got", "null"}},
		{"PUT", `{"after":"start"}`, []string{`after: got "start"`}},
		{"PUT", `{"after":"5-"}`, []string{`after: got "5-"`}},
		{"PUT", `{"after":"now","filter":[]}`, []string{"filter: got", "collections, dids, kinds"}},
		{"PUT", `{"after":"now","filter":{"kind":["commit"]}}`, []string{`unknown field: got "kind"`, "collections, dids, kinds"}},
		{"PUT", `{"after":"now","filter":{"kinds":"commit"}}`, []string{"kinds: got", "commit, identity"}},
		{"PUT", `{"after":"now","filter":{"kinds":["post"]}}`, []string{`kinds: got "post"`, "commit, identity"}},
		{"PUT", `{"after":"now","filter":{"dids":["x"]}}`, []string{`dids: got "x"`}},
		{"PUT", `{"after":"now","filter":{"collections":[7]}}`, []string{"collections: got"}},
		{"PUT", strings.Repeat("[", 9000), []string{"body: got"}},
		{seek, `{}`, []string{"after: missing"}},
		{ack, `{}`, []string{"token: missing", "next"}},
		{ack, `{"token":1}`, []string{"token: got"}},
		{ack, `{"token":"x","delay_ms":1}`, []string{`unknown field: got "delay_ms"`, "accepted: token"}},
		{nack, `{"token":"x","delay_ms":-1}`, []string{"delay_ms: got", "0…3600000"}},
		{nack, `{"token":"x","delay_ms":1.5}`, []string{"delay_ms: got"}},
		{nack, `{"token":"x","delay_ms":"1"}`, []string{"delay_ms: got"}},
		{extend, `{"token":"x","lease_ms":999}`, []string{"lease_ms: got", "1000…3600000"}},
		{extend, `{"token":"x","lease_ms":3600001}`, []string{"lease_ms: got"}},
		{extend, `{"token":"x","lease_ms":1e4}`, []string{"lease_ms: got"}},
	} {
		method, verb, _ := strings.Cut(c.request, " ")
		path := consumerAt()
		if verb != "" {
			path = consumerAt(verb)
		}
		r := d.send(method, path, c.body)
		d.want(r, http.StatusBadRequest, "InvalidRequest")
		var e struct{ Message string }
		if err := json.Unmarshal([]byte(r.body), &e); err != nil {
			t.Fatal(err)
		}
		for _, s := range c.says {
			if !strings.Contains(e.Message, s) || len(e.Message) > 400 {
				t.Errorf("%s %.100q: message %q, want it to say %q", c.request, c.body, e.Message, s)
			}
		}
	}
	for query, says := range map[string]string{"lease_ms=999": "1000…3600000", "lease_ms=3600001": "lease_ms", "limit=0": "limit", "block_ms=30001": "block_ms", "after=0-0": "unknown"} {
		r := d.get(consumerAt("next") + "?" + query)
		d.want(r, http.StatusBadRequest, "InvalidRequest")
		if !strings.Contains(r.body, says) {
			t.Errorf("%s: %s", query, r.body)
		}
	}
	d.want(d.send("PUT", consumerAt(), `{"after":"now","filter":{"dids":["`+strings.Repeat("x", 16<<10)+`"]}}`), http.StatusRequestEntityTooLarge, "BodyTooLarge")
	d.want(d.send("POST", "/v1/feeds/bluesky/pause", strings.Repeat("x", 5<<10)), http.StatusRequestEntityTooLarge, "BodyTooLarge")
	d.want(d.tell("ack", token), http.StatusOK, "") // none of the bodies has changed anything
}

// Every body is answered with JSON, either the change or a refusal, and never with a fault.
func FuzzConsumerBody(f *testing.F) {
	for _, b := range []string{``, `{}`, `null`, `{"after":"now"}`, `{"after":"0-0","filter":{"kinds":["commit"],"collections":["app.bsky.*"],"dids":["did:plc:a"]}}`,
		`{"token":"5-0.AAAAAAAAAAAAAAAAAAAAAAAAAA"}`, `{"token":"","delay_ms":0}`, `{"token":"x","lease_ms":1000}`, `{"after":"now","after":"now"}`, `{"":0}`,
		"{\"after\":\"\xff\"}", `{"after":"18446744073709551615-18446744073709551615"}`, strings.Repeat(`{"filter":`, 20)} {
		f.Add(b)
	}
	store := openStore(f)
	openStream(f, store, "bluesky", numbered(0, 5)...)
	d := newDaemon(f, store)
	f.Fuzz(func(t *testing.T, body string) {
		for _, c := range []struct {
			method, path string
			fine         []int
		}{
			{"PUT", consumerAt(), []int{200, 201, 400, 409, 410, 413}},
			{"POST", consumerAt("seek"), []int{200, 400, 410, 413}},
			{"POST", consumerAt("ack"), []int{200, 400, 409, 413}},
			{"POST", consumerAt("nack"), []int{200, 400, 409, 413}},
			{"POST", consumerAt("extend"), []int{200, 400, 409, 413}},
		} {
			req := httptest.NewRequest(c.method, c.path, strings.NewReader(body))
			rec := httptest.NewRecorder()
			d.Handler().ServeHTTP(rec, req)
			fine := rec.Code == http.StatusNotFound
			for _, code := range c.fine {
				fine = fine || rec.Code == code
			}
			if !fine || !json.Valid(rec.Body.Bytes()) {
				t.Errorf("%s %s %q: %d %s", c.method, c.path, body, rec.Code, rec.Body)
			}
		}
	})
}

// A body that is transferred badly is refused with the reason, and its connection ends.
func TestBodiesThatComeBadly(t *testing.T) {
	for name, c := range map[string]struct {
		request string
		status  string
		error   string
	}{
		"slowly":           {"PUT /v1/streams/bluesky/consumers/c HTTP/1.1\r\nHost: tempestd\r\nContent-Length: 100\r\n\r\n{", "408", "BodyTooSlow"},
		"slowly, unwanted": {"POST /v1/feeds/bluesky/pause HTTP/1.1\r\nHost: tempestd\r\nContent-Length: 100\r\n\r\n{", "408", "BodyTooSlow"},
		"in bad chunks":    {"PUT /v1/streams/bluesky/consumers/c HTTP/1.1\r\nHost: tempestd\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "400", "InvalidRequest"},
		"too large":        {"PUT /v1/streams/bluesky/consumers/c HTTP/1.1\r\nHost: tempestd\r\nContent-Length: 20000\r\n\r\n" + strings.Repeat("x", 20000), "413", "BodyTooLarge"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, p := startVirtual(t, quiet{})
				conn, err := p.dial(t.Context(), "", "")
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				go io.WriteString(conn, c.request)
				answer, _ := io.ReadAll(conn) // to the end of the connection
				if s := string(answer); !strings.HasPrefix(s, "HTTP/1.1 "+c.status) || !strings.Contains(s, `{"error":"`+c.error+`"`) {
					t.Errorf("answered %q, want %s %s", s, c.status, c.error)
				}
			})
		})
	}
}

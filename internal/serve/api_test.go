package serve_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"tempestd/internal/serve"
	"tempestd/persistence"
)

func TestBadParametersAreNamed(t *testing.T) {
	store := openStore(t)
	openStream(t, store, "bluesky")
	d := start(t, store)
	const read, tail = "/v1/streams/bluesky/frames?", "/v1/streams/bluesky/tail?"
	for _, c := range []struct {
		path string
		says []string // parts of the message: the given value and the accepted ones
	}{
		{read + "limit=0", []string{`limit: got "0"`, "1…1000"}},
		{read + "limit=1001", []string{`limit: got "1001"`, "1…1000"}},
		{read + "limit=", []string{`limit: got ""`}},
		{read + "limit=-1", []string{`limit: got "-1"`}},
		{read + "limit=%2B1", []string{`limit: got "+1"`}},
		{read + "limit=1e2", []string{`limit: got "1e2"`}},
		{read + "limit=0x10", []string{`limit: got "0x10"`}},
		{read + "limit=1_0", []string{`limit: got "1_0"`}},
		{read + "limit=99999999999999999999", []string{`limit: got "99999999999999999999"`}},
		{read + "limit=5&limit=6", []string{`limit: got "5 and 6"`, "one value"}},
		{read + "from=", []string{`from: got ""`, `"start"`}},
		{read + "from=-", []string{`from: got "-"`}},
		{read + "to=%2B", []string{`to: got "+"`}},
		{read + "to=1-2-3", []string{`to: got "1-2-3"`, "<ms>-<seq>"}},
		{read + "after=0-0", []string{`unknown parameter: got "after"`, "from, to, limit"}},
		{read + "Limit=5", []string{`unknown parameter: got "Limit"`}},
		{read + "from=" + strings.Repeat("9", 500), []string{`from: got "9999`, "…"}},
		{read + "from=%zz", []string{"query: got", "percent-encoded"}},
		{read + "from=1;to=2", []string{"query: got"}},
		{tail, []string{"after: missing", "0-0"}},
		{tail + "limit=5", []string{"after: missing"}},
		{tail + "after=", []string{`after: got ""`}},
		{tail + "after=start", []string{`after: got "start"`, `"0-0" for the beginning`}},
		{tail + "after=end", []string{`after: got "end"`}},
		{tail + "after=$", []string{`after: got "$"`}},
		{tail + "after=0-0&block_ms=30001", []string{`block_ms: got "30001"`, "0…30000"}},
		{tail + "after=0-0&block_ms=-1", []string{`block_ms: got "-1"`}},
		{tail + "after=0-0&block_ms=1s", []string{`block_ms: got "1s"`}},
		{tail + "after=0-0&block=5", []string{`unknown parameter: got "block"`, "after, block_ms, limit"}},
		{"/v1/feeds?x=1", []string{`unknown parameter: got "x"`, "none"}},
		{"/v1/streams?limit=1", []string{`unknown parameter: got "limit"`, "none"}},
	} {
		r := d.get(c.path)
		d.want(r, http.StatusBadRequest, "InvalidRequest")
		var e struct{ Message string }
		if err := json.Unmarshal([]byte(r.body), &e); err != nil {
			t.Fatal(err)
		}
		for _, s := range c.says {
			if !strings.Contains(e.Message, s) || len(e.Message) > 300 {
				t.Errorf("%s: message %q, want it to say %q", c.path, e.Message, s)
			}
		}
	}
	d.want(d.do("POST", "/v1/feeds/bluesky/pause?for=1h"), http.StatusBadRequest, "InvalidRequest")
}

// Every query is answered with JSON, either a result or a refusal, and never with a fault.
func FuzzQuery(f *testing.F) {
	for _, q := range []string{"", "after=0-0", "after=0-0&limit=5", "from=start&to=end", "limit=5&limit=6", "%zz", "a;b", "after=18446744073709551615-18446744073709551615",
		"from=end&to=start", "after=\x00", "limit=%31", "&&&=&", "after=5-5&block_ms=0", "after=1", "from=18446744073709551616", strings.Repeat("a=b&", 100)} {
		f.Add(q)
	}
	store := openStore(f)
	openStream(f, store, "bluesky", numbered(0, 5)...)
	d := newDaemon(f, store)
	f.Fuzz(func(t *testing.T, query string) {
		if values, _ := url.ParseQuery(query); values.Get("block_ms") > "0" {
			return // another test covers waiting
		}
		for _, path := range []string{"/v1/streams/bluesky/frames", "/v1/streams/bluesky/tail", "/v1/feeds"} {
			req := httptest.NewRequest("GET", path, nil)
			req.URL.RawQuery = query
			rec := httptest.NewRecorder()
			d.Handler().ServeHTTP(rec, req)
			if rec.Code != http.StatusOK && rec.Code != http.StatusBadRequest || !json.Valid(rec.Body.Bytes()) {
				t.Errorf("%s?%q: %d %s", path, query, rec.Code, rec.Body)
			}
		}
	})
}

func TestRoutesAndMethods(t *testing.T) {
	store := openStore(t)
	openStream(t, store, "bluesky", numbered(0, 3)...)
	d := start(t, store)

	for _, path := range []string{"/v2/feeds", "/v1", "/v1/feeds/bluesky/explode", "/favicon.ico", "/v1/streams/bluesky/"} {
		d.want(d.get(path), http.StatusNotFound, "NoSuchRoute")
	}
	for path, known := range map[string]string{"/v2": "/v1/feeds, ", "/v1/feeds/other": "; the feeds are: bluesky", "/v1/streams/other": "; the streams are: bluesky",
		"/v1/streams/bluesky/consumers/other": "; there are no consumers of the stream"} {
		if r := d.get(path); r.status != http.StatusNotFound || !strings.Contains(r.body, known) {
			t.Errorf("%s: %d %s, want what there is: %s", path, r.status, r.body, known)
		}
	}
	for _, c := range []struct{ method, path, allow string }{
		{"POST", "/v1/feeds", "GET, HEAD"},
		{"PUT", "/v1/streams/bluesky", "DELETE, GET, HEAD"},
		{"OPTIONS", "/v1/streams/bluesky/tail", "GET, HEAD"},
		{"CONNECT", "", "GET, HEAD, POST, PUT, DELETE"},
		{"GET", "/v1/feeds/bluesky/pause", "POST"},
		{"HEAD", "/v1/feeds/bluesky/pause", "POST"},
		{"PUT", "/healthz", "GET, HEAD"},
	} {
		r := d.do(c.method, c.path)
		if r.status != http.StatusMethodNotAllowed || r.header.Get("Allow") != c.allow {
			t.Errorf("%s %s: %d, Allow %q; want 405, %q", c.method, c.path, r.status, r.header.Get("Allow"), c.allow)
		}
	}
	for _, path := range []string{"/", "/healthz", "/readyz", "/metrics", "/v1/feeds", "/v1/feeds/bluesky", "/v1/streams", "/v1/streams/bluesky",
		"/v1/streams/bluesky/frames", "/v1/streams/bluesky/tail?after=0-0"} {
		get, head := d.get(path), d.do("HEAD", path)
		if get.status != http.StatusOK || head.status != http.StatusOK || get.body == "" || head.body != "" {
			t.Errorf("%s: GET %d with %d bytes, HEAD %d with %d", path, get.status, len(get.body), head.status, len(head.body))
		}
		if g, h := get.header.Get("Content-Type"), head.header.Get("Content-Type"); g != h {
			t.Errorf("%s: GET gives %s, HEAD %s", path, g, h)
		}
	}
}

func TestFeedsAndTheirControl(t *testing.T) {
	d := start(t, openStore(t))
	if r := d.get("/v1/feeds"); !strings.HasPrefix(r.body, `{"feeds":[{"feed":"bluesky","state":"live"`) {
		t.Errorf("feeds: %s", r.body)
	}
	if r := d.get("/v1/feeds/bluesky"); !strings.HasPrefix(r.body, `{"feed":"bluesky","state":"live"`) {
		t.Errorf("feed: %s", r.body)
	}
	d.want(d.get("/v1/feeds/other"), http.StatusNotFound, "NoSuchFeed")
	for _, verb := range []string{"reconnect", "pause", "resume"} {
		d.want(d.do("POST", "/v1/feeds/bluesky/"+verb), http.StatusAccepted, "")
		d.want(d.do("POST", "/v1/feeds/other/"+verb), http.StatusNotFound, "NoSuchFeed")
	}
	if want := []string{"reconnect", "pause", "resume"}; !slices.Equal(d.control.commands, want) {
		t.Errorf("the feed was told %q, want %q", d.control.commands, want)
	}
}

// When the actors do not answer, only their requests fail, and they fail in time.
func TestActorsThatHangAreNotWaitedForForever(t *testing.T) {
	d := newDaemon(t, openStore(t))
	d.control.hang = true
	synctest.Test(t, func(*testing.T) {
		rec := httptest.NewRecorder()
		d.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/v1/feeds", nil))
		d.want(response{rec.Code, rec.Header(), rec.Body.String()}, http.StatusServiceUnavailable, "NoAnswer")
	})
}

func TestReadiness(t *testing.T) {
	d := start(t, openStore(t))
	if r := d.get("/readyz"); r.status != http.StatusOK || r.body != `{"ready":true}`+"\n" {
		t.Errorf("ready: %d %s", r.status, r.body)
	}
	d.control.notReady = []string{"feed bluesky: not supervised"}
	if r := d.get("/readyz"); r.status != http.StatusServiceUnavailable || r.body != `{"ready":false,"reasons":["feed bluesky: not supervised"]}`+"\n" {
		t.Errorf("not ready: %d %s", r.status, r.body)
	}
	if r := d.get("/healthz"); r.status != http.StatusOK || r.body != `{"status":"ok"}`+"\n" {
		t.Errorf("healthy: %d %s", r.status, r.body)
	}

	full := start(t, failing{err: errors.New("/var has 3 MiB free")})
	if r := full.get("/readyz"); r.status != http.StatusServiceUnavailable || r.body != `{"ready":false,"reasons":["store: /var has 3 MiB free"]}`+"\n" {
		t.Errorf("store not healthy: %d %s", r.status, r.body)
	}
}

func TestTheTokenIsAskedFor(t *testing.T) {
	store := openStore(t)
	openStream(t, store, "bluesky", numbered(0, 3)...)
	d := start(t, store, func(o *serve.Options) { o.Token = "hunter2" })
	paths := []string{"/metrics", "/v1/feeds", "/v1/feeds/bluesky", "/v1/streams", "/v1/streams/bluesky", "/v1/streams/bluesky/frames",
		"/v1/streams/bluesky/tail?after=0-0", "/nowhere"}
	for _, path := range paths {
		for _, wrong := range []string{"", "Bearer", "Bearer ", "Bearer hunter", "Bearer hunter22", "Bearer  hunter2", "Basic hunter2", "hunter2"} {
			r := d.do("GET", path, "Authorization", wrong)
			d.want(r, http.StatusUnauthorized, "Unauthorized")
			if r.header.Get("WWW-Authenticate") != "Bearer" || strings.Contains(r.body, "hunter") {
				t.Errorf("refusal of %q: %v %s", wrong, r.header, r.body)
			}
		}
		if r := d.do("GET", path, "Authorization", "bearer hunter2"); r.status == http.StatusUnauthorized {
			t.Errorf("%s: the token is refused", path)
		}
	}
	d.want(d.do("POST", "/v1/feeds/bluesky/pause"), http.StatusUnauthorized, "Unauthorized")
	d.want(d.do("POST", "/v1/feeds/bluesky/pause", "Authorization", "Bearer hunter2"), http.StatusAccepted, "")
	// The page is the same for everyone and contains nothing about the daemon.
	for _, path := range []string{"/healthz", "/readyz", "/"} {
		if r := d.get(path); r.status != http.StatusOK {
			t.Errorf("%s asks for the token: %d", path, r.status)
		}
	}
	if s := d.log.String(); strings.Contains(s, "hunter2") {
		t.Errorf("the log holds the token: %s", s)
	}
}

func TestWebPagesDoNotReachALoopbackDaemon(t *testing.T) {
	d := start(t, openStore(t))
	for _, host := range []string{"evil.example", "evil.example:7077", "127.0.0.1.evil.example", "10.0.0.1", "[2001:db8::1]:80", "localhost.evil.example:1"} {
		for _, path := range []string{"/v1/feeds", "/healthz", "/nowhere"} {
			d.want(d.do("GET", path, "Host", host), http.StatusForbidden, "Forbidden")
		}
	}
	for _, host := range []string{"localhost", "LocalHost:7077", "127.0.0.1", "127.5.5.5:80", "[::1]", "[::1]:7077", "[::ffff:127.0.0.1]:7077"} {
		d.want(d.do("GET", "/v1/feeds", "Host", host), http.StatusOK, "")
	}

	const path = "/v1/feeds/bluesky/pause"
	d.want(d.do("POST", path, "Sec-Fetch-Site", "cross-site"), http.StatusForbidden, "Forbidden")
	d.want(d.do("POST", path, "Sec-Fetch-Site", "same-site"), http.StatusForbidden, "Forbidden")
	d.want(d.do("POST", path, "Origin", "https://evil.example"), http.StatusForbidden, "Forbidden")
	d.want(d.do("POST", path, "Origin", "null"), http.StatusForbidden, "Forbidden")
	d.want(d.do("POST", path, "Sec-Fetch-Site", "same-origin"), http.StatusAccepted, "")
	d.want(d.do("POST", path, "Origin", "http://"+d.addr), http.StatusAccepted, "")
	// The other site's page cannot read it.
	d.want(d.do("GET", "/v1/feeds", "Sec-Fetch-Site", "cross-site"), http.StatusOK, "")
	if n := len(d.control.commands); n != 2 {
		t.Errorf("the feed was told %d times, want the 2 that were allowed", n)
	}
}

func TestBodiesAreBounded(t *testing.T) {
	d := start(t, openStore(t))
	send := func(n int) response {
		req, err := http.NewRequestWithContext(context.Background(), "POST", "http://"+d.addr+"/v1/feeds/bluesky/pause", strings.NewReader(strings.Repeat("x", n)))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := d.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return response{status: resp.StatusCode}
	}
	if r := send(4096); r.status != http.StatusAccepted {
		t.Errorf("a body of 4 KiB: %d", r.status)
	}
	if r := send(4097); r.status != http.StatusRequestEntityTooLarge {
		t.Errorf("a longer one: %d, want 413", r.status)
	}
}

func TestMetricsAreByRoute(t *testing.T) {
	store := openStore(t)
	openStream(t, store, "bluesky", numbered(0, 3)...)
	d := start(t, store)
	d.get("/v1/streams/bluesky/frames")
	for i := range 50 {
		d.get(fmt.Sprintf("/v1/streams/guess%d/frames", i))
		d.get(fmt.Sprintf("/guess%d", i))
	}
	r := d.get("/metrics")
	for _, want := range []string{
		`tempestd_http_request_seconds_count{code="200",route="/v1/streams/{stream}/frames"} 1`,
		`tempestd_http_request_seconds_count{code="404",route="/v1/streams/{stream}/frames"} 50`,
		`tempestd_http_request_seconds_count{code="404",route="/"} 50`,
		`tempestd_stream_entries{stream="bluesky"} 3`,
		`tempestd_served_frames_total{stream="bluesky"} 3`,
		`tempestd_events_total{event="http.panic",feed=""} 0`,
	} {
		if !strings.Contains(r.body, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	if n := testutil.CollectAndCount(d.observer.Metrics().HTTP); n > 5 {
		t.Errorf("%d series for 5 kinds of answers: paths make series", n)
	}
}

func TestCloseAStream(t *testing.T) {
	store := openStore(t)
	openStream(t, store, "bluesky", numbered(0, 2)...)
	d := start(t, store)
	const path = "/v1/streams/bluesky/close"
	for _, query := range []string{"", "?reason=", "?reason=%20%20", "?reason=a%0Ab", "?reason=%ff", "?reason=" + strings.Repeat("x", 201), "?reason=a&reason=b", "?reason=a&force=1"} {
		d.want(d.do("POST", path+query), http.StatusBadRequest, "InvalidRequest")
	}
	d.want(d.get(path+"?reason=a"), http.StatusMethodNotAllowed, "MethodNotAllowed")
	d.want(d.do("POST", "/v1/streams/other/close?reason=a"), http.StatusNotFound, "NoSuchStream")
	d.want(d.do("POST", path+"?reason=a", "Origin", "http://evil.example"), http.StatusForbidden, "Forbidden")
	if f := d.frames(d.get("/v1/streams/bluesky/tail?after=0-0")); f.ClosedAt != nil {
		t.Fatal("a refused request closed the stream")
	}
	var closed [2]persistence.StreamInfo
	for i, reason := range []string{"moved%20to%20%C3%A9", "another"} {
		r := d.do("POST", path+"?reason="+reason)
		if err := json.Unmarshal([]byte(r.body), &closed[i]); err != nil || r.status != http.StatusOK || closed[i].ClosedReason != "moved to é" || closed[i].ClosedAt == nil {
			t.Errorf("closing answers %d %s", r.status, r.body)
		}
	}
	if !reflect.DeepEqual(closed[0], closed[1]) {
		t.Errorf("closing again changed it: %+v and %+v", closed[0], closed[1])
	}
	if f := d.frames(d.get("/v1/streams/bluesky/tail?after=0-0")); f.Count != 2 || f.ClosedReason != "moved to é" {
		t.Errorf("a reader is told %+v", f)
	}
}

// Commands need the token whenever one is set.
func TestClosingNeedsTheToken(t *testing.T) {
	store := openStore(t)
	openStream(t, store, "bluesky")
	d := start(t, store, func(o *serve.Options) { o.Token = "secret" })
	d.want(d.do("POST", "/v1/streams/bluesky/close?reason=a"), http.StatusUnauthorized, "Unauthorized")
	if r := d.do("POST", "/v1/streams/bluesky/close?reason=a", "Authorization", "Bearer secret"); r.status != http.StatusOK {
		t.Errorf("with the token: %d", r.status)
	}
}

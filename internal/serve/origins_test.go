package serve_test

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"tempestd/internal/serve"
)

// Origins of pages. In the tests that allow the first two, the last two are not allowed.
const (
	appOrigin   = "https://app.example"
	belowOrigin = "https://a.example.org"
	evilOrigin  = "https://evil.example"
	nullOrigin  = "null"
)

// allow allows pages of the origins.
func allow(token string, origins ...string) func(*serve.Options) {
	return func(o *serve.Options) { o.Token, o.AllowedOrigins = token, origins }
}

// startShared starts a daemon with a stream of three entries and a consumer.
func startShared(t *testing.T, token string, origins ...string) *daemon {
	t.Helper()
	storage := openStore(t)
	store(t, openStream(t, storage, "bluesky"), event(firstUS, 1), event(firstUS+1000, 2), event(firstUS+2000, 3))
	d := start(t, storage, allow(token, origins...))
	d.want(d.send("PUT", consumerAt(), `{"after":"0-0"}`, "Authorization", "Bearer "+token), http.StatusCreated, "")
	return d
}

// reads are requests that change nothing, with their status.
var reads = map[string]int{
	"/healthz": 200, "/readyz": 200, "/metrics": 200, "/v1/feeds": 200, "/v1/feeds/bluesky": 200, "/v1/feeds/bluesky/history": 200, "/v1/streams": 200, "/v1/streams/bluesky": 200,
	"/v1/streams/bluesky/frames": 200, "/v1/streams/bluesky/tail?after=0-0": 200, "/v1/streams/bluesky/consumers": 200, consumerAt(): 200,
	"/streams/bluesky?offset=-1": 200, "/streams/bluesky?offset=now": 200,
	"/v1/streams/bluesky/tail": 400, "/v1/feeds/none": 404, "/nowhere": 404, "/subscribe": 400, pathV2: 400,
}

// changes are requests that change something.
var changes = []struct{ method, path, body string }{
	{"POST", "/v1/feeds/bluesky/reconnect", ""}, {"POST", "/v1/feeds/bluesky/pause", ""}, {"POST", "/v1/feeds/bluesky/resume", ""}, {"GET", consumerAt("next"), ""},
	{"POST", consumerAt("ack"), `{"token":"x"}`}, {"POST", consumerAt("nack"), `{"token":"x"}`}, {"POST", consumerAt("extend"), `{"token":"x"}`},
	{"POST", consumerAt("seek"), `{"after":"now"}`}, {"PUT", consumerAt(), `{"after":"0-0"}`}, {"DELETE", consumerAt(), ""}, {"POST", "/v1/streams/bluesky/close?reason=a", ""},
}

// A page can read all responses if its origin may read, refusals too. No response allows
// credentials.
func TestPagesOfAllowedOriginsRead(t *testing.T) {
	for _, tt := range []struct {
		name    string
		allowed []string
		can     map[string]bool
	}{
		{"none", nil, map[string]bool{appOrigin: false, belowOrigin: false, evilOrigin: false, nullOrigin: false}},
		{"some", []string{appOrigin, "https://*.example.org"}, map[string]bool{appOrigin: true, belowOrigin: true, evilOrigin: false, nullOrigin: false}},
		{"any", []string{"*"}, map[string]bool{appOrigin: true, belowOrigin: true, evilOrigin: true, nullOrigin: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := startShared(t, "", tt.allowed...)
			for origin, can := range tt.can {
				for path, status := range reads {
					r := d.do("GET", path, "Origin", origin, "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors")
					if r.status != status && !(strings.Contains(path, "ubscribe") && r.status >= 400) {
						t.Errorf("%s of %s: %d, want %d", path, origin, r.status, status)
					}
					wantShared(t, path, r, origin, can)
				}
				d.preflight("/streams/bluesky?offset=-1", origin, "GET", can)
				_, err := d.tryDial("/subscribe?cursor=0", &websocket.DialOptions{}, "Origin", origin)
				if (err == nil) != can {
					t.Errorf("a websocket of %s: %v", origin, err)
				}
			}
			// Caches keep responses to different origins apart.
			if r := d.get("/streams/bluesky?offset=-1"); (r.header.Get("Vary") == "Origin") != (tt.allowed != nil) || r.header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("without an origin: %v", r.header)
			}
		})
	}
}

func wantShared(t *testing.T, what string, r response, origin string, can bool) {
	t.Helper()
	want := ""
	if can {
		want = origin
	}
	if got := r.header.Get("Access-Control-Allow-Origin"); got != want || (r.header.Get("Access-Control-Expose-Headers") != "") != can {
		t.Errorf("%s of %s: may be read by %q, exposes %q", what, origin, got, r.header.Get("Access-Control-Expose-Headers"))
	}
	if _, ok := r.header["Access-Control-Allow-Credentials"]; ok {
		t.Errorf("%s of %s: lets the browser send credentials", what, origin)
	}
	if can && !slices.Contains(r.header.Values("Vary"), "Origin") {
		t.Errorf("%s of %s: Vary %q", what, origin, r.header.Values("Vary"))
	}
}

// preflight asks whether a page of the origin may make a request. It checks that the answer is yes,
// or a refusal with its reason.
func (d *daemon) preflight(path, origin, method string, can bool) {
	d.t.Helper()
	r := d.do("OPTIONS", path, "Origin", origin, "Sec-Fetch-Site", "cross-site", "Access-Control-Request-Method", method,
		"Access-Control-Request-Headers", "authorization,content-type,if-none-match,last-event-id", "Access-Control-Request-Private-Network", "true")
	if !can {
		if r.status != http.StatusForbidden || r.name() != "Forbidden" || !strings.Contains(r.body, "http.allowed_origins") || r.header.Get("Access-Control-Allow-Methods") != "" {
			d.t.Errorf("a preflight of %s for %s: %d %s %v", origin, method, r.status, r.body, r.header)
		}
		return
	}
	if r.status != http.StatusNoContent || r.header.Get("Access-Control-Allow-Origin") != origin || r.header.Get("Access-Control-Allow-Methods") != method ||
		r.header.Get("Access-Control-Allow-Headers") == "" || r.header.Get("Access-Control-Max-Age") != "7200" || r.header.Get("Access-Control-Allow-Private-Network") != "true" ||
		!strings.HasPrefix(r.header.Get("Vary"), "Origin") || r.header.Get("Access-Control-Allow-Credentials") != "" {
		d.t.Errorf("a preflight of %s for %s: %d %v", origin, method, r.status, r.header)
	}
}

// A page may change something only if its origin is named in full, the daemon has a token, and the
// page sends it as a bearer token.
func TestPagesOfOtherOriginsChangeNothing(t *testing.T) {
	for _, tt := range []struct {
		name, token string
		allowed     []string
		origin      string
		header      []string
		status      int // 0 if the request is accepted
	}{
		{"none is allowed", "hunter2", nil, appOrigin, []string{"Authorization", "Bearer hunter2"}, 403},
		{"another is", "hunter2", []string{appOrigin}, evilOrigin, []string{"Authorization", "Bearer hunter2"}, 403},
		{"any", "hunter2", []string{"*"}, appOrigin, []string{"Authorization", "Bearer hunter2"}, 403},
		{"no origin, under any", "hunter2", []string{"*"}, nullOrigin, []string{"Authorization", "Bearer hunter2"}, 403},
		{"all below", "hunter2", []string{"https://*.example.org"}, belowOrigin, []string{"Authorization", "Bearer hunter2"}, 403},
		{"in full without a token to send", "", []string{appOrigin}, appOrigin, nil, 403},
		{"without the token", "hunter2", []string{appOrigin}, appOrigin, nil, 401},
		{"with another", "hunter2", []string{appOrigin}, appOrigin, []string{"Authorization", "Bearer hunter3"}, 401},
		{"with what browsers add", "hunter2", []string{appOrigin}, appOrigin, []string{"Authorization", "Basic YTpodW50ZXIy"}, 401},
		{"by another name of this machine", "hunter2", []string{appOrigin}, appOrigin, []string{"Authorization", "Bearer hunter2", "Host", "app.example"}, 403},
		{"in full with the token", "hunter2", []string{appOrigin}, appOrigin, []string{"Authorization", "Bearer hunter2"}, 0},
		{"the same beside any", "hunter2", []string{"*", appOrigin}, appOrigin, []string{"Authorization", "Bearer hunter2"}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := startShared(t, tt.token, tt.allowed...)
			before := d.do("GET", consumerAt(), "Authorization", "Bearer "+tt.token)
			for _, c := range changes {
				header := append([]string{"Origin", tt.origin, "Sec-Fetch-Site", "cross-site"}, tt.header...)
				r := d.send(c.method, c.path, c.body, header...)
				if refused := r.status == 401 || r.status == 403; r.status != tt.status && (tt.status != 0 || refused) {
					t.Errorf("%s %s: %d %s, want %d", c.method, c.path, r.status, r.body, tt.status)
				}
				if c.method != "GET" && !slices.Contains(tt.header, "Host") {
					// A preflight carries no token.
					d.preflight(c.path, tt.origin, c.method, tt.status == 401 || tt.status == 0)
				}
			}
			if n := len(d.control.commands); n != 3 && tt.status == 0 || n != 0 && tt.status != 0 {
				t.Errorf("the feed was told %d times", n)
			}
			if after := d.do("GET", consumerAt(), "Authorization", "Bearer "+tt.token); tt.status != 0 && after.body != before.body {
				t.Errorf("the consumer was changed: %s and %s", before.body, after.body)
			}
		})
	}
}

// A cross-site request without an Origin is refused, because no allowed origin can be responsible
// for it.
func TestAllowedOriginsHaveToBeSent(t *testing.T) {
	d := startShared(t, "hunter2", "*", appOrigin)
	for _, c := range changes {
		d.want(d.send(c.method, c.path, c.body, "Sec-Fetch-Site", "cross-site", "Authorization", "Bearer hunter2"), http.StatusForbidden, "Forbidden")
	}
}

// The token is still required: a program can write any origin into a header, so an origin proves
// nothing.
func TestAllowedOriginsDoNotReplaceTheToken(t *testing.T) {
	d := startShared(t, "hunter2", appOrigin)
	for _, header := range [][]string{{}, {"Authorization", "Basic YTpodW50ZXIy"}} {
		header = append(header, "Origin", appOrigin)
		r := d.do("GET", "/streams/bluesky?offset=-1", header...)
		d.want(r, http.StatusUnauthorized, "Unauthorized")
		wantShared(t, "a refusal", r, appOrigin, true)
		if _, err := d.tryDial("/subscribe?cursor=0", &websocket.DialOptions{}, header...); err == nil || !strings.Contains(err.Error(), "401") {
			t.Errorf("a websocket with %v: %v", header, err)
		}
	}
	if r := d.do("GET", "/streams/bluesky?offset=-1", "Origin", appOrigin, "Authorization", "Bearer hunter2"); r.status != http.StatusOK {
		t.Errorf("with the token: %d", r.status)
	}
	d.dial("/subscribe?cursor=0", "Origin", appOrigin, "Authorization", "Bearer hunter2").read(3)
}

// A foreign host name that points at this machine stays refused, whatever is allowed.
func TestAllowedOriginsDoNotOpenOtherHosts(t *testing.T) {
	d := startShared(t, "", "*", "http://app.example:7077")
	for _, header := range [][]string{{"Host", "app.example:7077"}, {"Host", "app.example:7077", "Origin", "http://app.example:7077"}, {"Host", "evil.example", "Origin", "http://evil.example"}} {
		d.want(d.do("GET", "/v1/feeds", header...), http.StatusForbidden, "Forbidden")
		d.want(d.do("OPTIONS", "/v1/feeds", append(header, "Access-Control-Request-Method", "GET")...), http.StatusForbidden, "Forbidden")
	}
}

// A preflight for a method or header that is not accepted gets no permission.
func TestPreflightsNameWhatTheyAskFor(t *testing.T) {
	d := startShared(t, "", appOrigin)
	// Browsers send header names in lower case.
	for _, ask := range [][]string{{"GET", "x-api-key"}, {"PATCH", ""}, {"GET", "Authorization"}} {
		r := d.do("OPTIONS", "/v1/feeds", "Origin", appOrigin, "Access-Control-Request-Method", ask[0], "Access-Control-Request-Headers", ask[1])
		if r.header.Get("Access-Control-Allow-Origin") != "" || r.header.Get("Access-Control-Allow-Methods") != "" {
			t.Errorf("%v: %d %v", ask, r.status, r.header)
		}
	}
	// An OPTIONS that is not a preflight is refused as a method of the route.
	d.want(d.do("OPTIONS", "/v1/feeds", "Origin", appOrigin), http.StatusMethodNotAllowed, "MethodNotAllowed")
}

// A page may read every header that the server sets with information for a client.
func TestPagesSeeEveryHeader(t *testing.T) {
	// Headers that every page may read, headers for the browser alone, and the CORS headers.
	known := []string{"Cache-Control", "Content-Length", "Content-Type", "Vary", "X-Content-Type-Options", "X-Accel-Buffering", "Connection", "Transfer-Encoding",
		"Access-Control-Allow-Origin", "Access-Control-Expose-Headers", "Cross-Origin-Resource-Policy"}
	storage := openStore(t)
	stream := openStream(t, storage, "bluesky", numbered(0, 3)...)
	d := start(t, storage, allow("", appOrigin), func(o *serve.Options) { o.MaxTails = 1 })
	if err := stream.Close(t.Context(), "done"); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, path := range []string{"/v1/feeds", "/v1/streams/bluesky/tail?after=0-0", "/v1/streams/bluesky/tail?after=0-0&live=sse", "/streams/bluesky?offset=-1", "/streams/bluesky?offset=now",
		"/streams/bluesky?offset=-1&live=sse", "/v1/streams/bluesky/close", "/nowhere", "/streams/none"} {
		r := d.do("GET", path, "Origin", appOrigin)
		exposed := strings.Split(strings.ToLower(r.header.Get("Access-Control-Expose-Headers")), ", ")
		for _, name := range slices.Sorted(maps.Keys(r.header)) {
			seen[name] = true
			if !slices.Contains(known, name) && !slices.Contains(exposed, strings.ToLower(name)) {
				t.Errorf("%s: %s is not exposed", path, name)
			}
		}
	}
	for _, name := range []string{"Stream-Next-Offset", "Stream-Up-To-Date", "Stream-Closed", "Etag", "Allow"} {
		if !seen[name] {
			t.Errorf("no answer had %s", name)
		}
	}
}

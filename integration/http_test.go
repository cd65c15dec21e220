package integration_test

import (
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tempestd/messages"
)

// answer is an HTTP response, with its body decoded as the forms of the API.
type answer struct {
	status int
	header http.Header
	body   string
	frames struct {
		Frames []struct {
			ID    messages.EntryID
			Event json.RawMessage
		}
		Count int
	}
	failure struct{ Error, Message string }
}

// request makes a request and reads the answer. change may be nil.
func (d *daemon) request(t *testing.T, method, path string, change func(*http.Request)) (a answer) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+d.addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(req)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	a.status, a.header, a.body = resp.StatusCode, resp.Header, string(body)
	if resp.Header.Get("Content-Type") == "application/json" && method != http.MethodHead {
		if err := json.Unmarshal(body, &a.frames); err != nil {
			t.Fatalf("%s %s: %v: %.500s", method, path, err, body)
		}
		_ = json.Unmarshal(body, &a.failure) // the fields stay empty for a body of another form
	}
	return a
}

func (d *daemon) get(t *testing.T, path string) answer {
	t.Helper()
	return d.request(t, http.MethodGet, path, nil)
}

func TestHTTPContract(t *testing.T) {
	t.Parallel()
	sim := simulate(t, 1)
	d := newDaemon(t, sim.url(), nil)
	d.startLive()
	sim.produce(2500)
	d.exact(sim)
	t.Run("reading", func(t *testing.T) { testReading(t, d) })
	t.Run("refusals", func(t *testing.T) { testRefusals(t, d) })
	t.Run("a tail waits", func(t *testing.T) { testTailWaits(t) })
	t.Run("status", func(t *testing.T) { testStatus(t, d) })
	t.Run("hosts", func(t *testing.T) { testHosts(t, d) })
	t.Run("token", func(t *testing.T) { testToken(t, sim) })
	t.Run("secrets at work", func(t *testing.T) { testSecretsAtWork(t) })
	t.Run("commands", func(t *testing.T) { testCommands(t) })
}

func testReading(t *testing.T, d *daemon) {
	const stream = "/v1/streams/" + feed
	all := d.get(t, stream+"/frames?limit=1000").frames
	if all.Count != 1000 || len(all.Frames) != 1000 {
		t.Fatalf("%d frames, count %d", len(all.Frames), all.Count)
	}
	first, tenth, eleventh := all.Frames[0].ID, all.Frames[9].ID, all.Frames[10].ID
	tests := []struct {
		path        string
		from, count int // from is the index of the first event among all
	}{
		{"/frames", 0, 100},
		{"/frames?limit=1", 0, 1},
		{"/frames?from=start&to=end&limit=7", 0, 7},
		{fmt.Sprintf("/frames?from=%v&to=%v", first, tenth), 0, 10},
		{fmt.Sprintf("/frames?from=%v&to=%v", tenth, tenth), 9, 1},
		{fmt.Sprintf("/frames?from=%v&to=%v", eleventh, tenth), 0, 0},
		{"/frames?from=0&to=1", 0, 0},
		{"/tail?after=0-0", 0, 100},
		{"/tail?after=0-0&limit=1000", 0, 1000},
		{fmt.Sprintf("/tail?after=%v&limit=5&block_ms=30000", tenth), 10, 5},
		{fmt.Sprintf("/tail?after=%v", d.info().Newest), 0, 0},
		{fmt.Sprintf("/tail?after=%v&block_ms=50", d.info().Newest), 0, 0},
	}
	for _, tt := range tests {
		a := d.get(t, stream+tt.path)
		if a.status != http.StatusOK || a.frames.Count != tt.count || len(a.frames.Frames) != tt.count {
			t.Errorf("%s: status %d, %d frames, count %d; want %d", tt.path, a.status, len(a.frames.Frames), a.frames.Count, tt.count)
			continue
		}
		for i, f := range a.frames.Frames {
			if want := all.Frames[tt.from+i]; f.ID != want.ID || string(f.Event) != string(want.Event) {
				t.Errorf("%s: frame %d is %v, want %v", tt.path, i, f.ID, want.ID)
			}
		}
		if strings.Contains(a.body, "closed") {
			t.Errorf("%s: an open stream says %q", tt.path, a.body)
		}
	}
}

func testRefusals(t *testing.T, d *daemon) {
	const stream = "/v1/streams/" + feed
	tests := []struct {
		method, path string
		status       int
		name         string
		message      string // the message begins with it or contains it
	}{
		{"GET", stream + "/frames?limit=0", 400, "InvalidRequest", "limit: "},
		{"GET", stream + "/frames?limit=1001", 400, "InvalidRequest", "limit: "},
		{"GET", stream + "/frames?limit=many", 400, "InvalidRequest", "limit: "},
		{"GET", stream + "/frames?limit=1&limit=2", 400, "InvalidRequest", "limit: "},
		{"GET", stream + "/frames?from=-", 400, "InvalidRequest", "from: "},
		{"GET", stream + "/frames?from=", 400, "InvalidRequest", "from: "},
		{"GET", stream + "/frames?to=%2B", 400, "InvalidRequest", "to: "},
		{"GET", stream + "/frames?to=1-2-3", 400, "InvalidRequest", "to: "},
		{"GET", stream + "/frames?after=0-0", 400, "InvalidRequest", `unknown parameter: got "after"`},
		{"GET", stream + "/frames?from=%zz", 400, "InvalidRequest", "query: "},
		{"GET", stream + "/tail", 400, "InvalidRequest", "after: missing"},
		{"GET", stream + "/tail?after=", 400, "InvalidRequest", "after: "},
		{"GET", stream + "/tail?after=start", 400, "InvalidRequest", "after: "},
		{"GET", stream + "/tail?after=end", 400, "InvalidRequest", "after: "},
		{"GET", stream + "/tail?after=-1", 400, "InvalidRequest", "after: "},
		{"GET", stream + "/tail?after=0-0&block_ms=30001", 400, "InvalidRequest", "block_ms: "},
		{"GET", stream + "/tail?after=0-0&block_ms=-1", 400, "InvalidRequest", "block_ms: "},
		{"GET", stream + "/tail?after=0-0&block_ms=1.5", 400, "InvalidRequest", "block_ms: "},
		{"GET", "/v1/streams/sea", 404, "NoSuchStream", `"sea"; the streams are: sky`},
		{"GET", "/v1/streams/sea/tail?after=0-0", 404, "NoSuchStream", `"sea"`},
		{"GET", "/v1/streams/sea/frames", 404, "NoSuchStream", `"sea"`},
		{"GET", "/v1/feeds/sea", 404, "NoSuchFeed", `"sea"`},
		{"POST", "/v1/feeds/sea/pause", 404, "NoSuchFeed", `"sea"`},
		{"GET", "/v1/feeds/" + feed + "/pause", 405, "MethodNotAllowed", "accepted: POST"},
		{"PUT", stream, 405, "MethodNotAllowed", "accepted: DELETE, GET, HEAD"},
		{"DELETE", stream, 409, "NotNow", "the feed sky fills it"},
		{"GET", "/v2", 404, "NoSuchRoute", `"/v2"`},
	}
	for _, tt := range tests {
		a := d.request(t, tt.method, tt.path, nil)
		if a.status != tt.status || a.failure.Error != tt.name || !strings.Contains(a.failure.Message, tt.message) {
			t.Errorf("%s %s: %d %s; want %d %s with %q", tt.method, tt.path, a.status, a.body, tt.status, tt.name, tt.message)
		}
	}
}

// A tail waits until there is an entry, and the entry answers it before its time-out. The simulator
// sends nothing by itself. A tail that reaches its time-out is repeated, so that the test also
// passes on a slow machine.
func testTailWaits(t *testing.T) {
	sim := simulate(t, 0)
	d := newDaemon(t, sim.url(), settings{"feeds." + feed + ".batch_delay": `"0s"`})
	d.startLive()
	sim.produce(1)
	d.awaitStored(1)
	after := d.info().Newest.String()
	answered := make(chan answer, 1)
	go func() {
		for {
			a := d.get(t, "/v1/streams/"+feed+"/tail?block_ms=30000&after="+after)
			if a.status != http.StatusOK || a.frames.Count > 0 || t.Context().Err() != nil {
				answered <- a
				return
			}
		}
	}()
	eventually(t, "a tail waits", func() bool {
		return strings.Contains(d.get(t, "/metrics").body, `tempestd_tails{stream="`+feed+`"} 1`)
	})
	select {
	case a := <-answered:
		t.Fatalf("the tail is answered before there is anything: %d %s", a.status, a.body)
	default:
	}
	sim.produce(1)
	select {
	case a := <-answered:
		if a.status != http.StatusOK || a.frames.Count < 1 {
			t.Errorf("%d %s", a.status, a.body)
		}
	case <-time.After(deadline):
		t.Error("the tail is not answered")
	}
}

func testStatus(t *testing.T, d *daemon) {
	for path, want := range map[string]string{
		"/healthz":            `"ok"`,
		"/readyz":             `"ready":true`,
		"/v1/feeds":           `{"feeds":[{"feed":"` + feed + `"`,
		"/v1/feeds/" + feed:   `"state":"live"`,
		"/v1/streams":         `{"streams":[{"name":"` + feed + `"`,
		"/v1/streams/" + feed: `"newest":"` + d.info().Newest.String() + `"`,
		"/metrics":            "# TYPE tempestd_stored_entries_total counter\ntempestd_stored_entries_total{feed=\"" + feed + "\"} ",
		"/":                   "<title>tempestd</title>",
		"/v1/streams/" + feed + "/frames?limit=1": `"count":1`,
	} {
		if a := d.get(t, path); a.status != http.StatusOK || !strings.Contains(a.body, want) {
			t.Errorf("%s: %d, without %s: %.1000s", path, a.status, want, a.body)
		}
		if a := d.request(t, http.MethodHead, path, nil); a.status != http.StatusOK || a.body != "" {
			t.Errorf("HEAD %s: %d %q", path, a.status, a.body)
		}
	}
	code, p := run(t, "status", "--json", "--addr", d.addr)
	var s struct {
		Ready   messages.Readiness
		Feeds   []messages.FeedStatus
		Streams []struct {
			Name    string
			Entries int64
		}
	}
	if err := json.Unmarshal([]byte(p.out.String()), &s); err != nil || code != 0 || !s.Ready.Ready || len(s.Feeds) != 1 ||
		s.Feeds[0].State != messages.StateLive || len(s.Streams) != 1 || s.Streams[0].Entries != d.info().Entries {
		t.Errorf("status --json: exit code %d, %v\n%v", code, err, p.out)
	}
	if code, p := run(t, "status", "--addr", d.addr); code != 0 || !strings.Contains(p.out.String(), "live") {
		t.Errorf("status: exit code %d\n%v", code, p.out)
	}
}

// The daemon refuses requests that a web page can make a browser send.
func testHosts(t *testing.T, d *daemon) {
	for host, want := range map[string]int{"localhost": 200, "127.0.0.1": 200, "[::1]:7077": 200, "evil.example": 403, "localhost.evil.example:7077": 403} {
		if a := d.request(t, http.MethodGet, "/v1/streams", func(r *http.Request) { r.Host = host }); a.status != want {
			t.Errorf("host %s: %d %s", host, a.status, a.body)
		}
	}
	a := d.request(t, http.MethodPost, "/v1/feeds/"+feed+"/pause", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") })
	if a.status != http.StatusForbidden || d.status().State != messages.StateLive {
		t.Errorf("a cross-site pause: %d %s", a.status, a.body)
	}
}

// With a token, everything but the health checks and the page's shell requires it, and no output
// contains it (I10).
func testToken(t *testing.T, sim *simulator) {
	const secret = "correct-horse-battery-staple"
	d := newDaemon(t, sim.url(), settings{"http.token": quoted(secret)})
	d.start()
	d.await("feed.live")
	for path, open := range map[string]bool{"/healthz": true, "/readyz": true, "/": true, "/v1/feeds": false, "/v1/streams/" + feed + "/tail?after=0-0": false,
		"/metrics": false, "/v2": false} {
		if a := d.get(t, path); open != (a.status == 200) || !open && (a.status != 401 || a.failure.Error != "Unauthorized") {
			t.Errorf("%s without a token: %d %s", path, a.status, a.body)
		}
		if a := d.request(t, http.MethodGet, path, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+secret+"x") }); !open && a.status != 401 {
			t.Errorf("%s with another token: %d %s", path, a.status, a.body)
		}
		if a := d.request(t, http.MethodGet, path, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+secret) }); a.status == 401 {
			t.Errorf("%s with the token: %d %s", path, a.status, a.body)
		}
	}
	if a := d.request(t, http.MethodPost, "/v1/feeds/"+feed+"/pause", nil); a.status != 401 {
		t.Errorf("pause without a token: %d %s", a.status, a.body)
	}
	if code, _ := run(t, "pause", feed, "--addr", d.addr); code != 1 {
		t.Errorf("the pause command without a token: exit code %d", code)
	}
	code, p := run(t, "status", "-c", d.config)
	if code != 0 {
		t.Errorf("status with the configuration's token: exit code %d\n%v", code, p.log)
	}
	checked, shown := run(t, "check", "-c", d.config)
	if checked != 0 || !strings.Contains(shown.out.String(), "token") {
		t.Errorf("check: exit code %d\n%v", checked, shown.out)
	}
	d.stop()
	for _, out := range []*lines{d.log, p.out, p.log, shown.out, shown.log} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("the token is in\n%v", out)
		}
	}
}

// Secrets in an endpoint, in requests and in the place of the token do not show in the log, in
// answers or in files (I10).
func testSecretsAtWork(t *testing.T) {
	sim := simulate(t, 200)
	const secret, token = "S3cr3tHunter2X", "T0k3nHunter2Y"
	d := newDaemon(t, strings.Replace(sim.url(), "ws://", "ws://user:"+secret+"@", 1), settings{"http.token": quoted(token)})
	d.start()
	d.await("feed.live")
	with := func(path string, change func(*http.Request)) answer {
		return d.request(t, http.MethodGet, path, func(r *http.Request) {
			r.Header.Set("Authorization", "Bearer "+token)
			if change != nil {
				change(r)
			}
		})
	}
	eventually(t, "something is stored", func() bool {
		return strings.Contains(with("/v1/streams/"+feed+"/tail?after=0-0", nil).body, `"count":100,`)
	})
	for _, path := range []string{"/v1/streams/" + feed + "/tail?after=" + secret, "/v1/streams/" + secret + "/tail?after=0-0", "/v1/feeds/" + secret, "/" + secret, "/subscribe?cursor=" + secret,
		"/v1/streams/" + feed + "/consumers/" + secret + "!", "/streams/" + feed + "?offset=" + secret, "/v1/feeds?token=" + secret} {
		with(path, nil)
		d.get(t, path)
	}
	for _, name := range []string{"Authorization", "Cookie", "X-Api-Key", "Origin", "Referer", "Sec-WebSocket-Protocol", "Last-Event-Id", "If-None-Match"} {
		for _, path := range []string{"/v1/feeds", "/subscribe", "/v1/streams/" + feed + "/tail?live=sse&after=5-"} {
			with(path, func(r *http.Request) { r.Header.Set(name, "Basic "+secret) })
			with(path, func(r *http.Request) { r.Header.Set(name, secret) })
		}
	}
	if a := d.request(t, http.MethodPost, "/v1/feeds/"+feed+"/reconnect", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }); a.status != 202 {
		t.Errorf("reconnect: %d %s", a.status, a.body)
	}
	d.await("feed.live")
	shown := map[string]string{}
	for _, path := range []string{"/readyz", "/healthz", "/metrics", "/v1/feeds", "/v1/feeds/" + feed, "/v1/feeds/" + feed + "/history", "/v1/streams", "/v1/streams/" + feed, "/v1/streams/" + feed + "/consumers", "/"} {
		shown[path] = with(path, nil).body
	}
	_, status := run(t, "status", "-c", d.config)
	_, check := run(t, "check", "-c", d.config)
	d.stop()
	shown["the log"], shown["status"], shown["check"] = d.log.String(), status.out.String()+status.log.String(), check.out.String()+check.log.String()
	if err := filepath.WalkDir(d.data, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			b, readErr := os.ReadFile(path)
			shown[path], err = string(b), readErr
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for where, text := range shown {
		for _, s := range []string{secret, token} {
			if at := strings.Index(text, s); at >= 0 {
				t.Errorf("%s shows a secret: %.200q", where, text[max(0, at-100):])
			}
		}
	}
}

// The commands do what they say, and their exit codes and messages report the result.
func testCommands(t *testing.T) {
	sim := simulate(t, 100)
	d := newDaemon(t, sim.url(), nil)
	d.startLive()
	command := func(code int, says string, args ...string) {
		t.Helper()
		got, p := run(t, append(args, "--addr", d.addr)...)
		if got != code || !strings.Contains(p.log.String(), says) || p.out.String() != "" {
			t.Errorf("%v: exit code %d, want %d and %q\n%v%v", args, got, code, says, p.log, p.out)
		}
	}
	command(0, feed+": reconnecting", "reconnect", feed)
	d.await("feed.force_reconnect", "cause", "operator")
	d.await("feed.live")
	command(0, feed+": paused", "pause", feed)
	d.await("feed.paused")
	command(0, feed+": paused", "pause", feed)
	command(1, "paused", "reconnect", feed)
	if state := d.status().State; state != messages.StatePaused {
		t.Errorf("the feed is %s", state)
	}
	command(0, feed+": resumed", "resume", feed)
	d.await("feed.live")
	command(0, feed+": resumed", "resume", feed)
	for _, verb := range []string{"reconnect", "pause", "resume"} {
		command(1, "the feeds are: "+feed, verb, "sea")
		command(2, "want one, the name of a feed", verb)
	}
	command(1, "the streams are: "+feed, "tail", "sea")
	command(2, "unknown flag", "status", "--colour")
	d.exact(sim)
	if errors := d.records("http.error"); len(errors) > 0 {
		t.Errorf("an operator's mistake is logged as a fault of ours: %v", errors)
	}
	d.stop()
	command(1, "is `tempestd run` running there?", "status")
	if stopped := d.records("feed.stopped"); len(stopped) != 1 {
		t.Errorf("feed.stopped: %d times", len(stopped))
	}
	states := []string{}
	for _, line := range d.records("feed.paused") {
		states = append(states, line.text("reason"))
	}
	if !slices.Equal(states, []string{"operator"}) {
		t.Errorf("paused %v", states)
	}
}

package serve_test

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/serve"
	"tempestd/messages"
	"tempestd/persistence"
)

func TestTheLogIsShownAndItsLevelChanges(t *testing.T) {
	level := new(slog.LevelVar)
	d := start(t, openStore(t), func(o *serve.Options) {
		o.Diagnostics = serve.Diagnostics{Level: level, Recent: func() []byte { return []byte("one\ntwo\n") }}
	})
	if r := d.get("/v1/log"); r.status != http.StatusOK || r.body != "one\ntwo\n" {
		t.Errorf("%d %s", r.status, r.body)
	}
	for _, c := range []struct {
		method, path string
		status       int
		body         string
		level        slog.Level
	}{
		{"GET", "/v1/log/level", 200, `{"level":"info"}`, slog.LevelInfo}, {"POST", "/v1/log/level?level=debug", 200, `{"level":"debug"}`, slog.LevelDebug},
		{"POST", "/v1/log/level?level=loud", 400, "debug, info, warn, error", slog.LevelDebug}, {"POST", "/v1/log/level", 400, "InvalidRequest", slog.LevelDebug},
	} {
		r := d.do(c.method, c.path)
		if r.status != c.status || !strings.Contains(r.body, c.body) || level.Level() != c.level {
			t.Errorf("%s %s: %d %s, level %v", c.method, c.path, r.status, r.body, level.Level())
		}
	}
	without := start(t, openStore(t))
	for _, path := range []string{"/v1/log", "/v1/log/level"} {
		without.want(without.get(path), http.StatusConflict, "NotNow")
	}
}

func TestProfilesAreServed(t *testing.T) {
	clock := clockwork.NewFakeClock()
	d := start(t, openStore(t), func(o *serve.Options) { o.Clock = clock })
	if r := d.get("/v1/profiles/goroutine?text=1"); r.status != http.StatusOK || !strings.Contains(r.body, "goroutine ") || !strings.Contains(r.body, "serve.(*Server)") {
		t.Errorf("%d %.200s", r.status, r.body)
	}
	if r := d.get("/v1/profiles/heap"); r.status != http.StatusOK || r.body == "" {
		t.Errorf("%d", r.status)
	}
	d.want(d.get("/v1/profiles/frob"), http.StatusNotFound, "NoSuchRoute")
	d.want(d.get("/v1/profiles/cpu?seconds=61"), http.StatusBadRequest, "InvalidRequest")
	got := make(chan response)
	go func() { got <- d.get("/v1/profiles/cpu?seconds=5") }()
	if err := clock.BlockUntilContext(context.Background(), 1); err != nil {
		t.Fatal(err)
	}
	clock.Advance(5e9)
	if r := <-got; r.status != http.StatusOK || r.body == "" {
		t.Errorf("cpu: %d, %d bytes", r.status, len(r.body))
	}
}

func TestTheCursorOfAFeedIsShown(t *testing.T) {
	store := openStore(t)
	d := start(t, store)
	if r := d.get("/v1/feeds/bluesky/cursor"); r.status != http.StatusOK || !strings.Contains(r.body, `"covered_us":0`) {
		t.Errorf("without a stream: %d %s", r.status, r.body)
	}
	d.want(d.get("/v1/feeds/none/cursor"), http.StatusNotFound, "NoSuchFeed")
	stream := openStream(t, store, "bluesky")
	cp := messages.Checkpoint{Position: messages.Position{Host: "h:443", Seq: 7, TimeUS: firstUS}, AtTip: firstUS + 5}
	if _, err := stream.Append(t.Context(), &messages.Batch{}, cp); err != nil {
		t.Fatal(err)
	}
	if r := d.get("/v1/feeds/bluesky/cursor"); !strings.Contains(r.body, `"seq":7`) || !strings.Contains(r.body, `"covered_us":1795000000000005`) || !strings.Contains(r.body, `"last_id":"0-0"`) {
		t.Errorf("%d %s", r.status, r.body)
	}
}

func TestAStreamIsTrimmedOnRequest(t *testing.T) {
	store := openStore(t)
	stream := openStream(t, store, "bluesky", numbered(0, 10)...)
	add(t, stream, numbered(10, 20)...)
	d := start(t, store)
	d.want(d.do("POST", "/v1/streams/none/trim?entries=1"), http.StatusNotFound, "NoSuchStream")
	for _, query := range []string{"", "?entries=0", "?bytes=-1", "?age_s=x", "?age_s=99999999999"} {
		d.want(d.do("POST", "/v1/streams/bluesky/trim"+query), http.StatusBadRequest, "InvalidRequest")
	}
	if r := d.do("POST", "/v1/streams/bluesky/trim?entries=10&bytes=9999999999"); r.status != http.StatusOK || !strings.Contains(r.body, `"dropped_entries":10`) || !strings.Contains(r.body, `"entries":10`) {
		t.Errorf("%d %s", r.status, r.body)
	}
	if info, err := stream.Info(t.Context()); err != nil || info.Entries != 10 {
		t.Errorf("%+v %v", info, err)
	}
	if _, err := stream.Tail(t.Context(), persistence.FromBeginning(), 0, 10); err != nil {
		t.Error(err)
	}
}

package serve_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"tempestd/internal/serve"
	"tempestd/messages"
	"tempestd/persistence"
)

// brokenStore is a store that is full, or whose calls wait.
type brokenStore struct {
	persistence.Store
	health error
	hangs  atomic.Bool // calls wait until their context ends
}

func (s *brokenStore) Health() error { return s.health }

func (s *brokenStore) Streams(ctx context.Context) ([]persistence.StreamInfo, error) {
	if s.hangs.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return s.Store.Streams(ctx)
}

// The table of docs/http-api.md says what each probe answers in each state.
func TestHealthAnswersAsTheTableSays(t *testing.T) {
	page, err := os.ReadFile("../../docs/http-api.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "## Health\n")
	table, _, _ = strings.Cut(table, "\n## ")
	state := func(s messages.FeedState, reasons ...string) func(*daemon, *brokenStore) {
		return func(d *daemon, _ *brokenStore) {
			d.control.status.State, d.control.notReady = s, reasons
		}
	}
	states := map[string]func(*daemon, *brokenStore){
		"every feed is live":                              state(messages.StateLive),
		"a feed reads its history":                        state(messages.StateFilling),
		"another daemon owns a feed":                      state(messages.StateStandby),
		"a feed's stream is closed for good":              state(messages.StateStopped),
		"a feed's upstream is away":                       state(messages.StateReconnecting),
		"an operator has paused a feed":                   state(messages.StatePaused),
		"an upstream refuses a feed for good":             state(messages.StateFailed, "feed bluesky: is refused by its upstream"),
		"a feed cannot store, for 5 s":                    state(messages.StateBackpressured, "feed bluesky: cannot store"),
		"the disk is full, or the store's server is away": func(_ *daemon, s *brokenStore) { s.health = errors.New("/var has 3 MiB free") },
		"the actors do not answer":                        state(messages.StateLive, "the actors do not answer"),
		"the daemon stops":                                nil,
	}
	rows := 0
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(line, "|\n "), "|")
		if len(cells) != 4 || strings.Contains(line, "---") || strings.Contains(line, "/healthz") {
			continue
		}
		rows++
		name := strings.TrimSpace(cells[0])
		t.Run(name, func(t *testing.T) {
			change, known := states[name]
			if !known {
				t.Fatal("the test does not know the state")
			}
			store := &brokenStore{Store: openStore(t)}
			d := newDaemon(t, store)
			if change != nil {
				change(d, store)
				defer d.Shutdown(context.Background())
			} else if err := d.Shutdown(context.Background()); err != nil {
				t.Fatal(err)
			}
			for i, path := range []string{"/healthz", "/readyz", "/readyz?feeds"} {
				want, _ := strconv.Atoi(strings.TrimSpace(cells[i+1]))
				rec := httptest.NewRecorder()
				d.Handler().ServeHTTP(rec, httptest.NewRequest("GET", path, nil))
				if rec.Code != want {
					t.Errorf("%s: %d %s, want %d", path, rec.Code, rec.Body, want)
				}
			}
		})
	}
	if rows != len(states) {
		t.Errorf("the table has %d states, the test %d", rows, len(states))
	}
}

// A scrape has figures of a store that does not answer, and does not wait for it (I8).
func TestAScrapeDoesNotWaitForTheStore(t *testing.T) {
	clock := clockwork.NewFakeClock()
	inner := openStore(t)
	openStream(t, inner, "bluesky", numbered(0, 10)...)
	store := &brokenStore{Store: inner}
	var measured atomic.Int32
	d := start(t, store, func(o *serve.Options) { o.Clock, o.Measure = clock, func() { measured.Add(1) } })
	const entries, oldest = `tempestd_stream_entries{stream="bluesky"} 10`, `tempestd_stream_oldest_timestamp_seconds{stream="bluesky"} 1.795e+09`
	if r := d.get("/metrics"); !strings.Contains(r.body, entries) || !strings.Contains(r.body, oldest) || measured.Load() != 1 {
		t.Fatalf("measured %d times: %s", measured.Load(), r.body)
	}
	store.hangs.Store(true)
	for range 3 {
		got := make(chan response)
		go func() { got <- d.get("/metrics") }()
		if err := clock.BlockUntilContext(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		clock.Advance(100 * time.Millisecond)
		if r := <-got; !strings.Contains(r.body, entries) || !strings.Contains(r.body, "tempestd_build_info{") {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
	if n := measured.Load(); n != 2 {
		t.Errorf("%d measurements began while one was under way", n-2)
	}
	if n := testutil.ToFloat64(d.observer.Metrics().Connections); n < 1 {
		t.Errorf("%v connections are open", n)
	}
}

package supervisor_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"tempestd/actors"
	"tempestd/internal/backfill"
	"tempestd/internal/config"
	"tempestd/internal/observe"
	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/supervisor"
)

// rig is a daemon of one feed between an upstream and a store in memory, in virtual time.
type rig struct {
	t      *testing.T
	up     *upstream
	store  *store
	obs    *observe.Observer
	log    *logBuffer
	cfg    *config.Config
	daemon *supervisor.Daemon
	clock  clockwork.Clock      // nil: the real clock, which is virtual here
	mono   func() time.Duration // nil: clock
	leases *leaseStore          // the shared store of several daemons, nil for none
	node   messages.Node        // this daemon, among those
	dial   actors.Dialer        // nil: the upstream's
	http   *http.Client         // of archives
	fault  actors.Fault
	// sources are in place of the endpoints' or beside them
	sources map[messages.GapSource]backfill.Source
}

const feedName = "bluesky"

// endpoints are the endpoints at the URLs.
func endpoints(urls ...string) []config.Endpoint {
	all := make([]config.Endpoint, len(urls))
	for i, url := range urls {
		e, err := config.ParseEndpoint(url)
		if err != nil {
			panic(err)
		}
		all[i] = e
	}
	return all
}

// logBuffer is a log that can be read while it is written.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// week is a simulated week, or a day with the race detector, which would make a week long.
func week() time.Duration {
	if raceEnabled {
		return 24 * time.Hour
	}
	return 7 * 24 * time.Hour
}

// newRig starts a daemon. Call it within a synctest bubble. The daemon is stopped at the end of the
// test unless the test stopped it.
func newRig(t *testing.T, change func(*rig)) *rig {
	// A bubble's time begins in the year 2000, when a time cursor would be taken for a sequence
	// number.
	time.Sleep(time.Until(time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)))
	r := &rig{t: t, up: newUpstream(), store: &store{}, log: &logBuffer{}}
	r.obs = observe.New(slog.New(slog.NewJSONHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})), observe.NewMetrics())
	r.cfg = &config.Config{Feeds: []config.Feed{{
		Name: feedName, Endpoints: endpoints("ws://127.0.0.1:6008/subscribe"),
		Backoff: schedule, ReplayWindow: 12 * time.Hour, Rewind: 10 * time.Second, Dedupe: "overlap",
		DedupeHorizon:      config.DedupeHorizon{Entries: 1_000_000, Age: 48 * time.Hour},
		CheckpointInterval: 5 * time.Second, PingInterval: 15 * time.Second, MaxMessageSize: 1 << 20,
		BatchEvents: 256, BatchBytes: 1 << 20, BatchDelay: 25 * time.Millisecond,
	}}}
	if change != nil {
		change(r)
	}
	r.start()
	t.Cleanup(func() {
		r.stop()
		// The actor library's throttle of dead letters ends a second after the first of them.
		time.Sleep(2 * time.Second)
	})
	return r
}

func (r *rig) start() {
	r.launch()
	synctest.Wait()
}

// launch is start without a wait for anything.
func (r *rig) launch() {
	var streams persistence.Store = r.store
	if r.leases != nil {
		streams = r.leases
	}
	dial := r.up.dial
	if r.dial != nil {
		dial = r.dial
	}
	clock := r.clock
	if clock == nil {
		clock = clockwork.NewRealClock()
	}
	d, err := supervisor.Start(r.t.Context(), supervisor.Options{
		Config: r.cfg, Store: streams, Node: r.node, Observer: r.obs, Clock: clock, Monotonic: r.mono,
		Rand: rand.New(rand.NewPCG(1, 2)), Dial: dial, HTTP: r.http, Fault: r.fault, Sources: map[string][]backfill.Source{feedName: slices.Collect(maps.Values(r.sources))},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.daemon = d
}

func (r *rig) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := r.daemon.Stop(ctx, "test")
	synctest.Wait()
	return err
}

// after lets virtual time pass, and waits until all goroutines are idle.
func (r *rig) after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (r *rig) status() messages.FeedStatus {
	s, err := r.daemon.Feed(context.Background(), feedName)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// events is how often a log event was emitted.
func (r *rig) events(e observe.Event) int {
	return int(testutil.ToFloat64(r.obs.Metrics().Events.WithLabelValues(string(e), feedName)))
}

// wantExactlyPublished fails unless the stream holds the published events from index first on (from
// 0), in order and once. Gap entries do not count.
func (r *rig) wantExactlyPublished(first int) {
	r.t.Helper()
	var want []upstreamEvent
	r.up.set(func() { want = r.up.events[first:] })
	var got [][]byte
	for _, e := range r.store.all() {
		if !bytes.Contains(e, []byte(`"kind":"gap"`)) {
			got = append(got, e)
		}
	}
	for i := range min(len(got), len(want)) {
		if !bytes.Equal(got[i], want[i].json) {
			r.t.Fatalf("entry %d is %s, want %s", i, got[i], want[i].json)
		}
	}
	if len(got) != len(want) {
		r.t.Fatalf("%d entries, want %d", len(got), len(want))
	}
}

var errLost = errors.New("connection reset by peer")

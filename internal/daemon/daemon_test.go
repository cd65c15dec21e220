package daemon_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"go.uber.org/goleak"

	"tempestd/internal/client"
	"tempestd/internal/config"
	"tempestd/internal/daemon"
	"tempestd/internal/jetsim"
	"tempestd/internal/observe"
	"tempestd/persistence"
)

func TestMain(m *testing.M) {
	// The actor library's throttle of dead letters ends a second after the first of them.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/asynkron/protoactor-go/actor.NewDeadLetter.NewThrottle.func4.1"))
}

// events is a log that keeps the names of the events, and their fields "keys".
type events struct {
	mu    sync.Mutex
	names []string
	keys  []string
}

func (e *events) Enabled(context.Context, slog.Level) bool { return true }
func (e *events) WithAttrs([]slog.Attr) slog.Handler       { return e }
func (e *events) WithGroup(string) slog.Handler            { return e }
func (e *events) Handle(_ context.Context, r slog.Record) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "event":
			e.names = append(e.names, a.Value.String())
		case "keys":
			e.keys = append(e.keys, a.Value.String())
		}
		return true
	})
	return nil
}

// await waits for the n-th event of a name.
func (e *events) await(t *testing.T, name string, n int) {
	t.Helper()
	for deadline := time.After(2 * time.Minute); len(e.of(name)) < n; {
		select {
		case <-deadline:
			t.Fatalf("no %s came; there were %v", name, e.of(""))
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// of returns the names of the events with a prefix, in order.
func (e *events) of(prefix string) []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(e.names), func(n string) bool { return !strings.HasPrefix(n, prefix) })
}

// running is a started daemon.
type running struct {
	*client.Client
	log   *events
	stop  context.CancelCauseFunc
	ended <-chan error
}

// configure returns a configuration with one feed, "sky".
func configure(dir, endpoint string) *config.Config {
	cfg := *config.Default()
	cfg.DataDir = filepath.Join(dir, "data")
	cfg.HTTP.Listen = "127.0.0.1:0"
	cfg.Stream.MinFree = 16 << 20
	feed := cfg.Feeds[0]
	upstream, err := config.ParseEndpoint(endpoint)
	if err != nil {
		panic(err)
	}
	feed.Name, feed.Endpoints = "sky", []config.Endpoint{upstream}
	cfg.Feeds = []config.Feed{feed}
	return &cfg
}

// start runs a daemon and waits until it is ready.
func start(t *testing.T, cfg *config.Config) *running {
	t.Helper()
	return startWith(t, cfg, daemon.Options{})
}

func startWith(t *testing.T, cfg *config.Config, opt daemon.Options) *running {
	t.Helper()
	ctx, stop := context.WithCancelCause(context.Background())
	log, ready, ended := &events{}, make(chan string, 1), make(chan error, 1)
	go func() {
		opt.Version, opt.Clock, opt.Ready = "test", clockwork.NewRealClock(), func(addr string) { ready <- addr }
		opt.Observer = observe.New(slog.New(log), observe.NewMetrics(), observe.Strict())
		ended <- daemon.Run(ctx, cfg, opt)
	}()
	select {
	case addr := <-ready:
		c, err := client.New(addr, "")
		if err != nil {
			t.Fatal(err)
		}
		return &running{Client: c, log: log, stop: stop, ended: ended}
	case err := <-ended:
		t.Fatalf("ended before it was ready: %v", err)
	}
	return nil
}

// finish stops a daemon gracefully.
func (r *running) finish(t *testing.T) {
	t.Helper()
	r.Close()
	r.stop(errors.New("the test is over"))
	if err := <-r.ended; err != nil {
		t.Errorf("ended with %v", err)
	}
}

func newSim(t *testing.T) *jetsim.Sim {
	t.Helper()
	sim, err := jetsim.New(jetsim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := sim.Listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	return sim
}

func TestTakenPortFailsBeforeAFeedIsRead(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	sim := newSim(t)
	cfg := configure(t.TempDir(), sim.URL())
	cfg.HTTP.Listen = l.Addr().String()
	log := &events{}
	err = daemon.Run(t.Context(), cfg, daemon.Options{Clock: clockwork.NewRealClock(), Observer: observe.New(slog.New(log), observe.NewMetrics(), observe.Strict())})
	if err == nil || !strings.Contains(err.Error(), "http.listen") || sim.Stats().Connections != 0 {
		t.Errorf("got %v after %d connections", err, sim.Stats().Connections)
	}
	if got := log.of("daemon."); !slices.Equal(got, []string{"daemon.started", "daemon.failed"}) {
		t.Errorf("events %v", got)
	}
}

func TestSecondDaemonOnTheSameDirectoryIsRefused(t *testing.T) {
	sim := newSim(t)
	cfg := configure(t.TempDir(), sim.URL())
	d := start(t, cfg)
	defer d.finish(t)
	err := daemon.Run(t.Context(), cfg, daemon.Options{Clock: clockwork.NewRealClock(), Observer: observe.Discard()})
	if !errors.Is(err, persistence.ErrLocked) {
		t.Errorf("got %v", err)
	}
}

func TestDaemonWithoutAListener(t *testing.T) {
	sim := newSim(t)
	cfg := configure(t.TempDir(), sim.URL())
	cfg.HTTP.Listen = ""
	ctx, stop := context.WithCancel(t.Context())
	err := daemon.Run(ctx, cfg, daemon.Options{
		Clock: clockwork.NewRealClock(), Observer: observe.Discard(), Ready: func(addr string) {
			if addr != "" {
				t.Errorf("HTTP is off but served at %s", addr)
			}
			stop()
		},
	})
	if err != nil {
		t.Error(err)
	}
}

func TestServiceManagerIsTold(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", socket)
	// receive returns the next change of state: not the words, and no request for more time.
	receive := func() string {
		for buf := make([]byte, 1024); ; {
			_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
			n, err := conn.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			if got := string(buf[:n]); !strings.HasPrefix(got, "STATUS=") && !strings.HasPrefix(got, "EXTEND_TIMEOUT_USEC=") {
				return got
			}
		}
	}
	d := start(t, configure(t.TempDir(), newSim(t).URL()))
	if got := receive(); got != "READY=1" {
		t.Errorf("first %q", got)
	}
	d.finish(t)
	if got := receive(); !strings.HasPrefix(got, "STOPPING=1\n") {
		t.Errorf("then %q", got)
	}
}

//go:build alerts

// Package alerts holds the alerts and the dashboard of deploy/prometheus against a real Prometheus
// that scrapes daemons under faults: make alerts.
package alerts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"golang.org/x/sys/unix"

	"tempestd/internal/beside"
	"tempestd/internal/client"
	"tempestd/internal/config"
	"tempestd/internal/daemon"
	"tempestd/internal/jetsim"
	"tempestd/internal/jetstream"
	"tempestd/internal/observe"
	"tempestd/internal/valkeytest"
	"tempestd/messages"
)

// patience is how long an alert may take to change.
const patience = 90 * time.Second

// running is a daemon of this process.
type running struct {
	*client.Client
	addr string
	end  func() // at once; it may be called again
}

func start(t *testing.T, cfg *config.Config, load func() (*config.Config, error), fault beside.Fault) *running {
	t.Helper()
	ctx, stop := context.WithCancelCause(context.Background())
	ended := make(chan error, 1)
	r := new(running)
	ready := make(chan string, 1)
	go func() {
		ended <- daemon.Run(ctx, cfg, daemon.Options{Version: "test", Clock: clockwork.NewRealClock(), Load: load, Ready: func(addr string) { ready <- addr },
			Observer: observe.New(slog.New(slog.DiscardHandler), observe.NewMetrics()), Fault: fault})
	}()
	select {
	case r.addr = <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	var err error
	if r.Client, err = client.New(r.addr, ""); err != nil {
		t.Fatal(err)
	}
	r.end = sync.OnceFunc(func() {
		r.Close()
		stop(errors.New("it is told to"))
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(r.end)
	return r
}

// configure returns a configuration with the feed "sky".
func configure(t *testing.T, endpoint string) *config.Config {
	t.Helper()
	cfg := *config.Default()
	cfg.DataDir, cfg.HTTP.Listen = filepath.Join(t.TempDir(), "data"), "127.0.0.1:0"
	cfg.Stream.MinFree = 16 << 20
	cfg.Repair = false
	upstream, err := config.ParseEndpoint(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	feed := cfg.Feeds[0]
	feed.Name, feed.Endpoints = "sky", []config.Endpoint{upstream}
	cfg.Feeds = []config.Feed{feed}
	return &cfg
}

// prometheus is a server that scrapes once a second.
type prometheus struct {
	t    *testing.T
	url  string
	seen map[string]bool // the alerts that have fired
}

var (
	waits  = regexp.MustCompile(`for: \d+[mh]`)
	ranges = regexp.MustCompile(`\[15m\]`)
	lags   = regexp.MustCompile(`(lag_seconds >) \d+`)
)

// startPrometheus starts it with the rules of deploy/prometheus, whose minutes and hours are seconds.
func startPrometheus(t *testing.T, targets ...string) *prometheus {
	t.Helper()
	program, err := exec.LookPath("prometheus")
	if err != nil {
		t.Fatal("prometheus is not installed; make alerts installs it")
	}
	dir := t.TempDir()
	rules, err := os.ReadFile("../../deploy/prometheus/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	rules = lags.ReplaceAll(ranges.ReplaceAll(waits.ReplaceAll(rules, []byte("for: 2s")), []byte("[15s]")), []byte("$1 5"))
	conf := fmt.Sprintf("global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [alerts.yml]\nscrape_configs:\n  - job_name: tempestd\n    static_configs: [{targets: [%s]}]\n", `"`+strings.Join(targets, `","`)+`"`)
	for name, text := range map[string][]byte{"alerts.yml": rules, "prometheus.yml": []byte(conf)} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	out, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command(program, "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "tsdb"), "--web.listen-address="+addr, "--log.level=warn")
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if log, _ := os.ReadFile(out.Name()); t.Failed() {
			t.Logf("prometheus said:\n%.3000s", log)
		}
	})
	p := &prometheus{t, "http://" + addr, make(map[string]bool)}
	p.await("prometheus is ready", func() bool {
		resp, err := http.Get(p.url + "/-/ready")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return p
}

// await waits until something is so.
func (p *prometheus) await(what string, so func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); !so(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatalf("waited in vain until %s", what)
		}
	}
}

// query returns the labels of the result's series.
func (p *prometheus) query(expr string) (series []map[string]string, err error) {
	resp, err := http.Get(p.url + "/api/v1/query?query=" + url.QueryEscape(expr))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var answer struct {
		Status, Error string
		Data          struct {
			Result []struct{ Metric map[string]string }
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, err
	}
	if answer.Status != "success" {
		return nil, errors.New(answer.Error)
	}
	for _, r := range answer.Data.Result {
		series = append(series, r.Metric)
	}
	return series, nil
}

// firing returns the names of the alerts that fire.
func (p *prometheus) firing() (names []string) {
	series, err := p.query(`ALERTS{alertstate="firing"}`)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, s := range series {
		names = append(names, s["alertname"])
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// see breaks something, sees the alerts fire, mends it, and sees them end.
func (p *prometheus) see(breaks, mends func(), alerts ...string) {
	p.t.Helper()
	for _, alert := range alerts {
		if slices.Contains(p.firing(), alert) {
			p.t.Fatalf("%s fires before anything is broken", alert)
		}
		p.seen[alert] = true
	}
	began := time.Now()
	breaks()
	fired := make(map[string]time.Duration)
	for _, alert := range alerts {
		p.await(alert+" fires", func() bool { return slices.Contains(p.firing(), alert) })
		fired[alert] = time.Since(began)
	}
	mended := time.Now()
	mends()
	for _, alert := range alerts {
		p.await(alert+" ends", func() bool { return !slices.Contains(p.firing(), alert) })
		p.t.Logf("| %s | seen firing after %.0f s | ended %.0f s after the end |", alert, fired[alert].Seconds(), time.Since(mended).Seconds())
	}
}

// allocate makes a file that takes space without writing it.
func allocate(t *testing.T, path string, size int64) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, size); err != nil {
		t.Fatal(err)
	}
}

func TestEveryAlertFiresAndEnds(t *testing.T) {
	sim, err := jetsim.New(jetsim.Options{Rate: 50})
	if err != nil {
		t.Fatal(err)
	}
	if err := sim.Listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sim.Close() })
	server := valkeytest.Start(t, valkeytest.Options{AOF: "everysec"})

	cfg := configure(t, sim.URL())
	cfg.Feeds[0].Backoff = []time.Duration{time.Second}
	// A second feed, whose server can refuse it for good.
	var refusing atomic.Bool
	odd := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refusing.Load() {
			http.Error(w, "not for you", http.StatusForbidden)
			return
		}
		sim.Handler().ServeHTTP(w, r)
	}))
	t.Cleanup(odd.Close)
	second := configure(t, "ws"+strings.TrimPrefix(odd.URL, "http")).Feeds[0]
	second.Name, second.Protocol, second.Backoff = "odd", jetstream.ProtocolV2, cfg.Feeds[0].Backoff
	cfg.Feeds = append(cfg.Feeds, second)
	slices.SortFunc(cfg.Feeds, func(a, b config.Feed) int { return strings.Compare(a.Name, b.Name) })
	var st unix.Statfs_t
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Statfs(cfg.DataDir, &st); err != nil {
		t.Fatal(err)
	}
	// Other programs use the disk too, and appends go on only when an eighth of min_free is free beside
	// it: both margins are wide.
	free := int64(st.Bavail) * int64(st.Bsize)
	cfg.Stream.MinFree = free / 10 * 8
	full := free - cfg.Stream.MinFree/8*7 // what is to be taken until nothing is appended
	refused := false
	var failing atomic.Bool
	d := start(t, cfg, func() (*config.Config, error) {
		if refused {
			return nil, &config.Errors{List: []*config.Error{{File: "c.toml", Found: "nonsense"}}}
		}
		return cfg, nil
	}, func(point string) {
		if strings.HasSuffix(point, "writer.commit") && failing.CompareAndSwap(true, false) {
			panic("a fault of ours")
		}
	})
	remote := configure(t, sim.URL())
	remote.Stream.Backend = config.BackendValkey
	remote.Valkey.Addresses, remote.Valkey.Prefix = []string{server.Addr}, "tempestd:"
	remote.Feeds[0].Name, remote.Feeds[0].ReplayWindow = "far", time.Minute
	remote.Feeds[0].Backoff = []time.Duration{time.Second}
	r := start(t, remote, nil, nil)
	remote.HTTP.Listen = r.addr // when it is started again
	p := startPrometheus(t, d.addr, r.addr)
	p.await("all feeds are live", func() bool {
		live, err := p.query(`tempestd_feed_state{state="live"} == 1`)
		return err == nil && len(live) == 3
	})
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	behind := func() {
		_, _, err := d.CreateConsumer(ctx, "sky", "reader", "0-0", messages.ConsumerFilter{})
		must(err)
	}
	if _, err := d.Tail(ctx, "sky", "0-0", time.Second, 10, messages.ConsumerFilter{}); err != nil {
		t.Fatal(err)
	}

	p.see(func() { sim.SetReady(false); must(d.Reconnect(ctx, "sky")); must(r.Reconnect(ctx, "far")) }, func() { sim.SetReady(true) },
		"TempestdFeedAway", "TempestdEndpointFailing", "TempestdLag", "TempestdLossNear")
	p.see(func() { refusing.Store(true); must(d.Reconnect(ctx, "odd")) }, func() { refusing.Store(false); must(d.Reconnect(ctx, "odd")) }, "TempestdFeedRefused")
	p.see(func() { must(d.Pause(ctx, "sky")) }, func() { must(d.Resume(ctx, "sky")) }, "TempestdFeedPaused")
	p.see(func() {
		must(d.Pause(ctx, "sky"))
		sim.Produce(2000)
		sim.Forget(int(sim.Stats().Contents))
		must(d.Resume(ctx, "sky"))
	}, func() {}, "TempestdGap")
	p.see(func() {
		refused = true
		if _, err := d.Reload(ctx); err == nil {
			t.Fatal("the reload was accepted")
		}
	}, func() {
		refused = false
		_, err := d.Reload(ctx)
		must(err)
	}, "TempestdReloadRefused")
	p.see(func() { failing.Store(true); must(d.Reconnect(ctx, "sky")) }, func() {}, "TempestdActorFailed")
	ballast := filepath.Join(t.TempDir(), "ballast")
	p.see(func() { allocate(t, ballast, full) }, func() { must(os.Remove(ballast)) }, "TempestdDiskFull")
	p.await("the full disk is forgotten", func() bool { return !slices.Contains(p.firing(), "TempestdStoreDown") })
	p.see(server.Kill, server.Restart, "TempestdStoreDown")
	p.see(r.end, func() { start(t, remote, nil, nil) }, "TempestdDown")
	p.see(behind, func() { must(d.DeleteConsumer(ctx, "sky", "reader")) }, "TempestdConsumerBehind")

	p.await("nothing fires", func() bool {
		return !slices.ContainsFunc(p.firing(), func(n string) bool { return n != "TempestdDiskNearlyFull" })
	})
	behind()
	p.await("the consumer is scraped", func() bool {
		series, err := p.query("tempestd_consumer_lag_seconds")
		return err == nil && len(series) == 1
	})
	p.dashboard()
	rules, err := os.ReadFile("../../deploy/prometheus/alerts.yml")
	must(err)
	// The margin of this test's disk is always small, and a damaged file is for the tests of the store.
	p.seen["TempestdDiskNearlyFull"], p.seen["TempestdStoreDamaged"] = true, true
	for _, found := range regexp.MustCompile(`alert: (\w+)`).FindAllSubmatch(rules, -1) {
		if !p.seen[string(found[1])] {
			t.Errorf("nobody has seen %s", found[1])
		}
	}
}

// dashboard evaluates every query of the dashboard and of the rules.
func (p *prometheus) dashboard() {
	text, err := os.ReadFile("../../deploy/prometheus/dashboard.json")
	if err != nil {
		p.t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil {
		p.t.Fatal(err)
	}
	fill := strings.NewReplacer("$job", "tempestd", "$instance", ".*", "$feed", ".*", "$__rate_interval", "1m")
	// What is empty while nothing of ours is at fault.
	empty := map[string]bool{"Restarts by actor": true}
	queries := 0
	for _, panel := range board.Panels {
		for _, target := range panel.Targets {
			queries++
			switch series, err := p.query(fill.Replace(target.Expr)); {
			case err != nil:
				p.t.Errorf("%s: %s: %v", panel.Title, target.Expr, err)
			case len(series) == 0 && !empty[panel.Title]:
				p.t.Errorf("%s: %s has no series", panel.Title, target.Expr)
			}
		}
	}
	p.t.Logf("%d queries of %d panels", queries, len(board.Panels))
}

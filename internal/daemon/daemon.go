package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/accounts"
	"tempestd/internal/beside"
	"tempestd/internal/config"
	"tempestd/internal/observe"
	"tempestd/internal/serve"
	"tempestd/internal/systemd"
	"tempestd/internal/version"
	"tempestd/persistence"
	"tempestd/persistence/embedded"
	"tempestd/supervisor"
)

// Options holds what a daemon needs in addition to its configuration. Observer and Clock are
// required.
type Options struct {
	Version  string // for the log, and for upstreams
	Observer *observe.Observer
	Clock    clockwork.Clock
	// Reload requests a reload of the configuration, by Load. A nil channel never does. Without Load
	// the configuration cannot be read again.
	Reload <-chan os.Signal
	Load   func() (*config.Config, error)
	// Reloaded is called with each configuration that was taken over. It is nil, or must not block.
	Reloaded func(*config.Config)
	// LogLevel is the level of the log, which the HTTP API changes, and RecentLog returns its newest
	// lines. Each may be nil.
	LogLevel  *slog.LevelVar
	RecentLog func() []byte
	Fault     beside.Fault // nil, except in tests of panics
	// Network changes how accounts' servers are called. It is nil, except in tests.
	Network func(*accounts.NetworkOptions)
	// Ready is called once, when every feed is supervised. addr is the address of the HTTP
	// listener, or "" without one.
	Ready func(addr string)
}

// Run runs a daemon until ctx ends or the daemon cannot continue. The end of ctx is the order to
// stop gracefully, and its cause is the reason that is logged. Run returns nil after a graceful
// stop within the configured time.
func Run(ctx context.Context, cfg *config.Config, opt Options) error {
	d := &daemon{opt: opt, reloads: make(chan reloadRequest), accounts: map[string]*account{}, observer: opt.Observer, clock: opt.Clock, notifier: systemd.New(opt.Observer), began: opt.Clock.Now(),
		crew: beside.Crew{Tell: opt.Observer.TaskPanicked, Clock: opt.Clock, Fault: opt.Fault}}
	d.cfg.Store(cfg)
	d.started()
	err := d.run(ctx)
	d.observer.TellHeld()
	if err != nil {
		d.observer.Emit(observe.DaemonFailed, "", "reason", err)
		return err
	}
	d.observer.Emit(observe.DaemonStopped, "", "took", d.clock.Since(d.stopping))
	return nil
}

type daemon struct {
	// cfg is what is in force. A configuration never changes; reload replaces it.
	cfg      atomic.Pointer[config.Config]
	opt      Options
	observer *observe.Observer
	clock    clockwork.Clock
	notifier *systemd.Notifier
	tree     *supervisor.Daemon
	began    time.Time
	stopping time.Time
	server   *serve.Server
	reloads  chan reloadRequest
	shared   bool                                        // the streams are in a store that several daemons share
	stuck    func() (stream string, since time.Duration) // of the store under data_dir
	atReady  func()                                      // ends the requests for more time for the start
	ready    atomic.Bool

	network  *accounts.Network
	accounts map[string]*account // by feed; once the daemon runs, only reload uses it

	crew beside.Crew // the goroutines of the daemon that belong to no actor

	measuring measuring

	lostMu sync.Mutex
	lost   []persistence.BlockCorrupt // found before the tree was there
	told   bool                       // the tree is there
}

// config returns the configuration that is in force.
func (d *daemon) config() *config.Config { return d.cfg.Load() }

// serveLimits returns the part of a configuration that the server takes over while it runs. The
// stream of subscribers that name none is the configured one, else that of the only feed. If it is
// "", such subscribers get a stream only if exactly one is stored.
func serveLimits(cfg *config.Config) serve.Limits {
	limits := serve.Limits{MaxTails: cfg.HTTP.MaxTails, MaxClientTails: cfg.HTTP.MaxTailsPerClient, Memory: cfg.HTTP.Memory,
		MaxConnections: cfg.Connections(openFiles()), MaxClientConnections: cfg.HTTP.MaxConnectionsPerClient, DefaultStream: cfg.HTTP.DefaultStream}
	if limits.DefaultStream == "" && len(cfg.Feeds) == 1 {
		limits.DefaultStream = cfg.Feeds[0].Name
	}
	return limits
}

func (d *daemon) started() {
	names := make([]string, len(d.config().Feeds))
	for i, f := range d.config().Feeds {
		names[i] = f.Name
	}
	path := d.config().Path
	if path == "" {
		path = "built-in defaults"
	}
	d.observer.Emit(observe.DaemonStarted, "", "version", d.opt.Version, "config", path, "data_dir", d.config().DataDir, "feeds", strings.Join(names, ","))
}

func (d *daemon) run(ctx context.Context) (err error) {
	defer d.crew.Wait()
	starting, ready := context.WithCancel(ctx)
	defer ready()
	d.atReady = ready
	d.notifier.Status("opening the store")
	d.crew.Keep(starting, "daemon.starting", func(ctx context.Context) { d.notifier.Extend(ctx, d.clock, longestStart) })

	s, err := d.openStores(ctx)
	defer func() {
		if closeErr := s.close(); closeErr != nil {
			err = errors.Join(err, fmt.Errorf("close the store: %w", closeErr))
		}
	}()
	if err != nil {
		return permanent(err)
	}

	// Take the port before any feed is read, so that a second daemon fails before it does anything.
	listening, err := d.listen(d.config())
	defer listening.close()
	if err != nil {
		return err
	}
	if listening.http != nil {
		s.node.Addr = listening.http.Addr().String()
	}
	secure, err := d.secure(d.config())
	if err != nil {
		return err
	}

	d.openNetwork()
	defer d.network.Close()
	cfg := d.config()
	var names []string
	for _, f := range cfg.Feeds {
		names = append(names, f.Name)
	}
	made, err := d.makeAccounts(cfg, names)
	if err != nil {
		return err
	}
	d.tree, err = supervisor.Start(ctx, supervisor.Options{Config: d.effective(cfg, made), Sources: d.sources(cfg, made, names), Store: s.streams, Checkpoints: s.checkpoints, Node: s.node,
		UserAgent: version.UserAgent(d.opt.Version),
		Filters:   filterFiles{filepath.Join(d.config().DataDir, "filters")}, Observer: d.observer, Clock: d.clock, Fault: d.opt.Fault})
	if err != nil {
		return err
	}
	d.tellLost()
	server := serve.New(serve.Options{
		Store: s.streams, Control: d.tree, Reloader: d, Diagnostics: serve.Diagnostics{Level: d.opt.LogLevel, Recent: d.opt.RecentLog}, Observer: d.observer, Token: cfg.HTTP.Token.Reveal(), ReadToken: cfg.HTTP.ReadToken.Reveal(), Clock: d.clock, TLS: secure,
		AllowedOrigins: cfg.HTTP.AllowedOrigins, AllowedHosts: cfg.HTTP.AllowedHosts, TrustedProxies: cfg.HTTP.TrustedProxies, Limits: serveLimits(cfg), Measure: func() { d.measure(s.streams) }, Dictionaries: d.tree.Dictionaries, Fault: d.opt.Fault,
	})
	d.server, d.shared, d.stuck = server, s.remote != "", s.stuck

	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer d.crew.Wait()
	defer ready()
	defer cancel()
	served := make(chan error, 3) // one for each listener
	for ln, serve := range map[net.Listener]func(context.Context, net.Listener) error{listening.http: server.Serve, listening.control: server.Serve, listening.metrics: server.ServeMetrics} {
		if ln != nil {
			d.crew.Start("daemon.serve", func() { served <- serve(background, ln) }, func(fault error) { served <- fault })
		}
	}
	d.enterAccounts(background, made)
	d.watch(background, listening.http)
	if s.remote != "" {
		d.crew.Keep(background, "daemon.store", func(ctx context.Context) { d.watchStore(ctx, s.remote, s.streams) })
	}

	var reason error
	select {
	case <-ctx.Done():
	case err = <-served:
		reason = err
	case err = <-d.tree.Failed():
		reason = err
	}
	if reason == nil {
		reason = context.Cause(ctx)
	}
	return errors.Join(err, d.stop(reason, server))
}

// openEmbedded opens the store under data_dir.
func (d *daemon) openEmbedded(ctx context.Context) (*embedded.Store, error) {
	opt := embedded.Options{
		MinFree: uint64(d.config().Stream.MinFree), Clock: d.clock, Logger: d.observer.Library("badger"), OnNotice: d.storeNotice,
	}
	if d.config().Stream.Sync == config.SyncInterval {
		opt.SyncInterval = d.config().Stream.SyncInterval
	}
	// Other users of the machine have no reason to read the stored events, even though they were
	// public.
	if err := os.MkdirAll(d.config().DataDir, 0o750); err != nil {
		return nil, fmt.Errorf("data_dir: %w", err)
	}
	return embedded.Open(ctx, d.embeddedDir(), opt)
}

func (d *daemon) embeddedDir() string { return filepath.Join(d.config().DataDir, "store") }

// closing is the time for what follows a graceful stop: the store is closed.
const closing = 15 * time.Second

// stop ends the actor tree and the listener within the configured time.
func (d *daemon) stop(reason error, server *serve.Server) error {
	limit := d.config().ShutdownTimeout
	d.stopping = d.clock.Now()
	d.notifier.Stopping(limit + closing)
	d.notifier.Status("stopping: storing what was read")
	d.observer.Emit(observe.DaemonStopping, "", "reason", reason, "timeout", limit)
	ctx, cancel := clockwork.WithTimeout(context.Background(), d.clock, limit)
	defer cancel()
	return errors.Join(d.tree.Stop(ctx, reason.Error()), server.Shutdown(ctx))
}

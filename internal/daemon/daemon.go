package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
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
	// Reload requests a reload of the configuration, by Load. A nil channel never does.
	Reload <-chan os.Signal
	Load   func() (*config.Config, error)
	Fault  beside.Fault // nil, except in tests of panics
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
	d := &daemon{cfg: cfg, opt: opt, observer: opt.Observer, clock: opt.Clock, notifier: systemd.New(opt.Observer), began: opt.Clock.Now(),
		crew: beside.Crew{Tell: opt.Observer.TaskPanicked, Clock: opt.Clock, Fault: opt.Fault}}
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
	cfg      *config.Config
	opt      Options
	observer *observe.Observer
	clock    clockwork.Clock
	notifier *systemd.Notifier
	tree     *supervisor.Daemon
	began    time.Time
	stopping time.Time
	atReady  func() // ends the requests for more time for the start
	ready    atomic.Bool
	// feeds has the filters that were taken over last. Only reload uses it. The configuration
	// itself does not change, because several goroutines read it.
	feeds []config.Feed

	network  *accounts.Network
	followed map[string]*followed // by feed
	accounts map[string]*accountStatus

	crew beside.Crew // the goroutines of the daemon that belong to no actor

	lostMu sync.Mutex
	lost   []persistence.BlockCorrupt // found before the tree was there
	told   bool                       // the tree is there
}

// defaultStream returns the stream of subscribers that name none: the configured one, else the
// stream of the only feed. If it returns "", such subscribers get a stream only if exactly one is
// stored.
func (d *daemon) defaultStream() string {
	if d.cfg.HTTP.DefaultStream == "" && len(d.cfg.Feeds) == 1 {
		return d.cfg.Feeds[0].Name
	}
	return d.cfg.HTTP.DefaultStream
}

func (d *daemon) started() {
	names := make([]string, len(d.cfg.Feeds))
	for i, f := range d.cfg.Feeds {
		names[i] = f.Name
	}
	path := d.cfg.Path
	if path == "" {
		path = "built-in defaults"
	}
	d.observer.Emit(observe.DaemonStarted, "", "version", d.opt.Version, "config", path, "data_dir", d.cfg.DataDir, "feeds", strings.Join(names, ","))
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
	var listener net.Listener
	if d.cfg.HTTP.Listen != "" {
		if listener, err = net.Listen("tcp", d.cfg.HTTP.Listen); err != nil {
			return permanent(listenError(err))
		}
		defer listener.Close()
		s.node.Addr = listener.Addr().String()
	}

	defer func() { d.network.Close() }()
	if err := d.openNetwork(); err != nil {
		return err
	}
	d.tree, err = supervisor.Start(ctx, supervisor.Options{Config: d.effective(), Sources: d.sources(), Store: s.streams, Checkpoints: s.checkpoints, Node: s.node,
		UserAgent: version.UserAgent(d.opt.Version),
		Filters:   filterFiles{filepath.Join(d.cfg.DataDir, "filters")}, Observer: d.observer, Clock: d.clock, Fault: d.opt.Fault})
	if err != nil {
		return err
	}
	d.tellLost()
	server := serve.New(serve.Options{
		Store: s.streams, Control: d.tree, Observer: d.observer, Token: d.cfg.HTTP.Token.Reveal(), Clock: d.clock,
		AllowedOrigins: d.cfg.HTTP.AllowedOrigins, MaxTails: d.cfg.HTTP.MaxTails, MaxClientTails: d.cfg.HTTP.MaxTailsPerClient,
		DefaultStream: d.defaultStream(), Dictionaries: d.tree.Dictionaries, Fault: d.opt.Fault,
	})

	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer d.crew.Wait()
	defer ready()
	defer cancel()
	served := make(chan error, 1)
	if listener != nil {
		d.crew.Start("daemon.serve", func() { served <- server.Serve(background, listener) }, func(fault error) { served <- fault })
	}
	d.watch(background, listener)
	d.follow(background)
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

// listenError says why the HTTP listener cannot be had.
func listenError(err error) error {
	if errors.Is(err, syscall.EPERM) { // EACCES is for ports below 1024
		return fmt.Errorf("http.listen: %w: does the unit's SocketBindAllow have this port?", err)
	}
	return fmt.Errorf("http.listen: %w", err)
}

// openEmbedded opens the store under data_dir.
func (d *daemon) openEmbedded(ctx context.Context) (*embedded.Store, error) {
	opt := embedded.Options{
		MinFree: uint64(d.cfg.Stream.MinFree), Clock: d.clock, Logger: d.observer.Library("badger"), OnNotice: d.storeNotice,
	}
	if d.cfg.Stream.Sync == config.SyncInterval {
		opt.SyncInterval = d.cfg.Stream.SyncInterval
	}
	// Other users of the machine have no reason to read the stored events, even though they were
	// public.
	if err := os.MkdirAll(d.cfg.DataDir, 0o750); err != nil {
		return nil, fmt.Errorf("data_dir: %w", err)
	}
	return embedded.Open(ctx, d.embeddedDir(), opt)
}

func (d *daemon) embeddedDir() string { return filepath.Join(d.cfg.DataDir, "store") }

// closing is the time for what follows a graceful stop: the store is closed.
const closing = 15 * time.Second

// stop ends the actor tree and the listener within the configured time.
func (d *daemon) stop(reason error, server *serve.Server) error {
	limit := d.cfg.ShutdownTimeout
	d.stopping = d.clock.Now()
	d.notifier.Stopping(limit + closing)
	d.notifier.Status("stopping: storing what was read")
	d.observer.Emit(observe.DaemonStopping, "", "reason", reason, "timeout", limit)
	ctx, cancel := clockwork.WithTimeout(context.Background(), d.clock, limit)
	defer cancel()
	return errors.Join(d.tree.Stop(ctx, reason.Error()), server.Shutdown(ctx))
}

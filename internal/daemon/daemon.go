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
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/beside"
	"tempestd/internal/config"
	"tempestd/internal/observe"
	"tempestd/internal/serve"
	"tempestd/internal/systemd"
	"tempestd/persistence"
	"tempestd/persistence/embedded"
	"tempestd/supervisor"
)

// Options is what a daemon needs beside its configuration. Observer and Clock are required.
type Options struct {
	Version  string // for the log
	Observer *observe.Observer
	Clock    clockwork.Clock
	// Reload asks for the configuration to be read anew, by Load; nil never does.
	Reload <-chan os.Signal
	Load   func() (*config.Config, error)
	Fault  beside.Fault      // nil, but in tests of what a fault does
	Ready  func(addr string) // called once, when every feed is supervised; addr is where HTTP is served, "" when it is not
}

// Run runs a daemon until ctx ends, which is the order to stop gracefully and whose cause is the reason given, or until it can go on no
// longer. It returns nil after a graceful stop within the configured time.
func Run(ctx context.Context, cfg *config.Config, opt Options) error {
	d := &daemon{cfg: cfg, opt: opt, observer: opt.Observer, clock: opt.Clock, notifier: systemd.New(opt.Observer), began: opt.Clock.Now(),
		crew: beside.Crew{Tell: opt.Observer.TaskPanicked, Clock: opt.Clock, Fault: opt.Fault}}
	d.started()
	err := d.run(ctx)
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
	feeds    []config.Feed // of reload alone: with the filters taken over last. The configuration itself is read by many and stays as it is
	crew     beside.Crew   // what runs beside the daemon

	lostMu sync.Mutex
	lost   []persistence.BlockCorrupt // found before there was a tree that could be told
	told   bool                       // there is one
}

// defaultStream is the stream of subscribers that name none: the configured one, or else the only feed's. Without either there is none, unless only one is stored.
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
	s, err := d.openStores(ctx)
	defer func() {
		if closeErr := s.close(); closeErr != nil {
			err = errors.Join(err, fmt.Errorf("close the store: %w", closeErr))
		}
	}()
	if err != nil {
		return err
	}

	// The port is taken before any feed is read: a second daemon should fail before it does anything.
	var listener net.Listener
	if d.cfg.HTTP.Listen != "" {
		if listener, err = net.Listen("tcp", d.cfg.HTTP.Listen); err != nil {
			return fmt.Errorf("http.listen: %w", err)
		}
		defer listener.Close()
		s.node.Addr = listener.Addr().String()
	}

	d.tree, err = supervisor.Start(ctx, supervisor.Options{Config: d.cfg, Store: s.streams, Checkpoints: s.checkpoints, Node: s.node,
		Filters: filterFiles{filepath.Join(d.cfg.DataDir, "filters")}, Observer: d.observer, Clock: d.clock, Fault: d.opt.Fault})
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
	defer cancel()
	served := make(chan error, 1)
	if listener != nil {
		d.crew.Start("daemon.serve", func() { served <- server.Serve(background, listener) }, func(fault error) { served <- fault })
	}
	d.watch(background, listener)
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
		MinFree: uint64(d.cfg.Stream.MinFree), Clock: d.clock, Logger: d.observer.Logger(), OnEvent: d.storeEvent,
	}
	if d.cfg.Stream.Sync == "interval" {
		opt.SyncInterval = d.cfg.Stream.SyncInterval
	}
	// Nobody else has a reason to read what people wrote, even though it was public.
	if err := os.MkdirAll(d.cfg.DataDir, 0o750); err != nil {
		return nil, fmt.Errorf("data_dir: %w", err)
	}
	return embedded.Open(ctx, d.embeddedDir(), opt)
}

func (d *daemon) embeddedDir() string { return filepath.Join(d.cfg.DataDir, "store") }

// stop ends the tree and the listener within the configured time.
func (d *daemon) stop(reason error, server *serve.Server) error {
	limit := d.cfg.ShutdownTimeout
	d.stopping = d.clock.Now()
	d.notifier.Stopping(limit)
	d.observer.Emit(observe.DaemonStopping, "", "reason", reason, "timeout", limit)
	ctx, cancel := clockwork.WithTimeout(context.Background(), d.clock, limit)
	defer cancel()
	return errors.Join(d.tree.Stop(ctx, reason.Error()), server.Shutdown(ctx))
}

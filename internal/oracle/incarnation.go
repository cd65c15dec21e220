package oracle

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"testing/synctest"
	"time"

	"tempestd/actors"
	"tempestd/internal/config"
	"tempestd/internal/jetstream"
	"tempestd/internal/observe"
	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/embedded"
	"tempestd/persistence/embedded/disk/memdisk"
	"tempestd/supervisor"
)

// incarnation is one process of the daemon: its tree, its store and its end of the network. One that
// was killed goes on for a moment, but nothing that it does has an effect any more.
type incarnation struct {
	node   *node
	files  *memdisk.FS       // of its own store; nil where the store is shared
	store  persistence.Store // without faults, for readers and for the comparison
	owns   bool              // the store ends with the process
	daemon *supervisor.Daemon
	http   *serving // nil without readers over HTTP
	dead   atomic.Bool
	over   chan struct{} // closed when it is dead
}

var errDead = errors.New("the process is dead")

// openStore opens the store on the disk.
func (w *world) openStore(alive func() bool) (*embedded.Store, error) {
	w.disk.change(func() { w.disk.opened = false })
	return embedded.Open(context.Background(), "/store", embedded.Options{
		Files: w.disk.files, Clock: w.wall, SegmentBytes: 64 << 10, MinFree: 1,
		OnNotice: func(n persistence.Notice) {
			if alive() {
				w.log.add("    notice %T %+v", n, n)
			}
		},
	})
}

// start starts the daemon of a node.
func (w *world) start(n *node) error {
	run := &incarnation{node: n, over: make(chan struct{}), owns: w.server == nil}
	alive := func() bool { return !run.dead.Load() }
	o := supervisor.Options{
		Config: &config.Config{Repair: w.Repairs, Feeds: []config.Feed{w.feed}}, Clock: w.wall,
		Observer: observe.New(w.log.logger(alive, w.label(n)), observe.NewMetrics(), observe.Strict()),
		Rand:     rand.New(rand.NewPCG(w.seed, uint64(w.stats.Starts))),
		Filters:  &n.filters, Fault: w.panics.at, HTTP: &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: w.dial(run)}}, Dial: w.dialer(run),
	}
	if w.sim != nil {
		store, err := w.valkeyStore(n, alive)
		if err != nil {
			return err
		}
		run.store = store
		o.Store, o.Checkpoints = store, &n.checkpoints
	} else if w.server != nil {
		run.store = w.server.Store
		o.Store, o.Checkpoints = &access{w.server, &w.disk.replies, run, w.keeping(), &w.pace}, &n.checkpoints
	} else {
		store, err := w.openStore(alive)
		if err != nil {
			return err
		}
		run.files, run.store = w.disk.files, store
		if w.keeping() != nil {
			w.ledger.follow(store) // what a process has stored that was killed at that moment
		}
		w.disk.arm()
		w.disk.change(func() { w.disk.opened = true })
		o.Store = &repliedStore{store, &w.disk.replies, w.keeping(), &w.pace}
	}
	if w.Nodes > 0 {
		o.Node = messages.Node{ID: n.name, Name: n.name, Streams: []string{feedName}}
		o.Config.HA = config.HA{Enabled: true, Candidate: true, LeaseTTL: 10 * time.Second}
	}
	daemon, err := supervisor.Start(context.Background(), o)
	if err != nil {
		if w.server == nil {
			err = errors.Join(err, run.store.Close())
		}
		return err
	}
	run.daemon = daemon
	if len(w.Readers) > 0 {
		w.serve(run, o.Observer)
	}
	w.stats.Starts++
	n.run = run
	if w.sim == nil {
		w.shown.Store(&run.store)
	}
	synctest.Wait()
	return nil
}

// label names a node in the log, where there are several.
func (w *world) label(n *node) string {
	if len(w.nodes) == 1 {
		return ""
	}
	return n.name + ": "
}

// dialer connects a process with the servers.
func (w *world) dialer(run *incarnation) actors.Dialer {
	negotiator := jetstream.NewNegotiator("/nowhere", w.wall)
	return func(ctx context.Context, req jetstream.Request) (actors.Upstream, error) {
		w.stats.dials.Add(1)
		conn, err := jetstream.Dial(ctx, req, jetstream.DialOptions{MaxMessageSize: w.feed.MaxMessageSize, Negotiator: negotiator, Clock: w.wall,
			DialContext: w.dial(run), Proxy: func(*http.Request) (*url.URL, error) { return nil, nil }})
		if err != nil {
			return nil, err
		}
		return conn, nil
	}
}

// kill ends the process of a node at this moment. fate is what becomes of what it has not synced:
// it is kept, unless the power fails.
func (w *world) kill(n *node, fate memdisk.Fate) {
	if n.run == nil {
		return
	}
	run := n.run
	n.run = nil
	run.dead.Store(true)
	close(run.over)
	if run.files != nil {
		w.disk.files = run.files.Crash(fate, w.rnd, errDead)
		w.disk.arm()
	}
	w.net.reset(run)
	w.net.reset(n)
	w.net.resetHost(n.host)
	for _, c := range w.consumers {
		if w.Nodes == 0 {
			c.killed()
		}
	}
	w.stats.Kills++
	// What is left of it takes the time that it takes; nothing that it does counts.
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = run.end(ctx, 0)
}

// end ends the incarnation's goroutines.
func (run *incarnation) end(ctx context.Context, limit time.Duration) error {
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	err := run.daemon.Stop(ctx, "the schedule says so")
	if run.http != nil {
		err = errors.Join(err, run.http.end(ctx))
	}
	if run.owns {
		err = errors.Join(err, run.store.Close())
	}
	return err
}

// dial connects a process with a server. Deadlines of its end are times of the daemon's clock.
func (w *world) dial(run *incarnation) func(ctx context.Context, network, host string) (net.Conn, error) {
	return func(ctx context.Context, _, host string) (net.Conn, error) {
		if run.dead.Load() {
			return nil, errDead
		}
		c, err := w.net.dial(ctx, run, host)
		if err != nil {
			return nil, err
		}
		return &clockedConn{c, w.wall}, nil
	}
}

// clockedConn is a connection whose deadlines are times of a clock.
type clockedConn struct {
	net.Conn
	clock *wallClock
}

func (c *clockedConn) SetReadDeadline(t time.Time) error {
	if !t.IsZero() {
		t = time.Now().Add(c.clock.Until(t))
	}
	return c.Conn.SetReadDeadline(t)
}

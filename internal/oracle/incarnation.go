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
	"tempestd/internal/backfill"
	"tempestd/internal/config"
	"tempestd/internal/jetstream"
	"tempestd/internal/observe"
	"tempestd/persistence"
	"tempestd/persistence/embedded"
	"tempestd/persistence/embedded/disk/memdisk"
	"tempestd/supervisor"
)

// incarnation is one process of the daemon: its tree, its store and its end of the network. One that
// was killed goes on for a moment, but nothing that it does has an effect any more.
type incarnation struct {
	files  *memdisk.FS
	store  persistence.Store
	daemon *supervisor.Daemon
	dead   atomic.Bool
}

var errDead = errors.New("the process is dead")

// start starts the daemon.
func (w *world) start() error {
	run := &incarnation{files: w.disk.files}
	alive := func() bool { return !run.dead.Load() }
	observer := observe.New(w.log.logger(alive), observe.NewMetrics(), observe.Strict())
	store, err := embedded.Open(context.Background(), "/store", embedded.Options{
		Files: w.disk.files, Clock: w.wall, SegmentBytes: 64 << 10, MinFree: 1,
		OnNotice: func(n persistence.Notice) {
			if alive() {
				w.log.add("    notice %T %+v", n, n)
			}
		},
	})
	if err != nil {
		return err
	}
	run.store = store
	w.disk.arm()
	negotiator := jetstream.NewNegotiator("/nowhere", w.wall)
	run.daemon, err = supervisor.Start(context.Background(), supervisor.Options{
		Config: &config.Config{Repair: w.Repairs, Feeds: []config.Feed{w.feed}}, Store: &repliedStore{store, &w.disk.replies}, Observer: observer, Clock: w.wall,
		Rand:    rand.New(rand.NewPCG(w.seed, uint64(w.stats.Starts))),
		Filters: &w.filters, Fault: w.panics.at, Sources: w.sources(alive),
		Dial: func(ctx context.Context, req jetstream.Request) (actors.Upstream, error) {
			if !alive() {
				return nil, errDead
			}
			w.stats.dials.Add(1)
			conn, err := jetstream.Dial(ctx, req, jetstream.DialOptions{MaxMessageSize: w.feed.MaxMessageSize, Negotiator: negotiator, Clock: w.wall,
				DialContext: w.dial, Proxy: func(*http.Request) (*url.URL, error) { return nil, nil }})
			if err != nil {
				return nil, err
			}
			return conn, nil
		},
	})
	if err != nil {
		return errors.Join(err, store.Close())
	}
	w.stats.Starts++
	w.run = run
	w.shown.Store(run)
	synctest.Wait()
	return nil
}

// revive starts the daemon again, as often as it takes.
func (w *world) revive() {
	for tries := 0; w.run == nil; tries++ {
		if err := w.start(); err != nil {
			w.log.add("the daemon does not start: %v", err)
			if tries == 100 {
				panic(err)
			}
			time.Sleep(time.Second)
		}
	}
}

// stop stops the daemon in good order.
func (w *world) stop() {
	if w.run == nil {
		return
	}
	run := w.run
	w.run = nil
	w.stats.Stops++
	if err := run.end(context.Background(), 10*time.Second); err != nil {
		w.log.add("the daemon stopped with: %v", err)
	}
}

// kill ends the process at this moment. What it wrote is kept, unless the power fails with it.
func (w *world) kill(kept bool) {
	if w.run == nil {
		return
	}
	run := w.run
	w.run = nil
	fate := memdisk.Kept
	if !kept {
		fate = memdisk.Fates[w.rnd.IntN(len(memdisk.Fates))]
	}
	run.dead.Store(true)
	w.disk.files = run.files.Crash(fate, w.rnd, errDead)
	w.disk.arm()
	w.net.reset()
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
	return errors.Join(run.daemon.Stop(ctx, "the schedule says so"), run.store.Close())
}

// sources are the sources of repairs that would use the real network otherwise.
func (w *world) sources(alive func() bool) map[string][]backfill.Source {
	if !w.Archived {
		return nil
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, host string) (net.Conn, error) {
		if !alive() {
			return nil, errDead
		}
		return w.dial(ctx, network, host)
	}}}
	var endpoints []jetstream.Endpoint
	for _, e := range w.feed.Endpoints {
		endpoints = append(endpoints, e.Endpoint)
	}
	return map[string][]backfill.Source{feedName: {&backfill.Archive{Endpoints: endpoints, HTTP: client, Clock: w.wall, Rand: rand.New(rand.NewPCG(w.seed, 7))}}}
}

// dial connects the daemon with a server. Deadlines of its end are times of the daemon's clock.
func (w *world) dial(ctx context.Context, network, host string) (net.Conn, error) {
	c, err := w.net.dial(ctx, network, host)
	if err != nil {
		return nil, err
	}
	return &clockedConn{c, w.wall}, nil
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

package oracle

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"tempestd/internal/atproto"
	"tempestd/internal/config"
	"tempestd/internal/jetsim"
	"tempestd/internal/valkeysim"
	"tempestd/persistence"
	"tempestd/persistence/embedded/disk/memdisk"
)

// world is everything of one run: the servers and their network, the daemon with its store, the
// readers, and the log of what happened. The goroutine that made it drives it.
type world struct {
	Setup
	seed  uint64
	feed  config.Feed
	began time.Time
	rnd   *rand.Rand // of the driver

	fleet *jetsim.Fleet
	net   *network
	wall  *wallClock
	disk  diskState

	nodes     []*node
	server    *server                           // the shared store, nil without one
	images    map[Step]valkeysim.Image          // what a failover goes back to, by its step
	sim       *valkeysim.Server                 // the server of package valkey's store, nil without one
	shown     atomic.Pointer[persistence.Store] // what readers read
	ledger    ledger
	pace      pace
	gate      gate        // of the readers
	healed    atomic.Bool // readers are as fast as they can be
	readers   []*reader
	consumers []*consumer

	log       journal
	stats     Stats
	positions positions

	stopProducing context.CancelFunc
	produced      chan struct{}
	production    struct {
		sync.Mutex
		quiet bool
	}
	panics   panics
	watching chan struct{} // closed when watch has ended; nil without one
}

// firstMoment is when the runs begin. A bubble's time begins in the year 2000, when a time would be
// taken for a sequence number.
var firstMoment = time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)

func newWorld(s Schedule) (*world, error) {
	time.Sleep(time.Until(firstMoment))
	w := &world{Setup: s.World, seed: s.Seed, feed: s.World.feed(), began: time.Now(), rnd: rand.New(rand.NewPCG(s.Seed, 3)), wall: newWallClock(0), stats: newStats(), images: map[Step]valkeysim.Image{}, positions: newPositions(s.Steps)}
	w.log.began, w.pace.began = w.began, w.began
	jitter := rand.New(rand.NewPCG(s.Seed, 4))
	w.net = newNetwork(func() time.Duration { return w.Latency/2 + time.Duration(jitter.Int64N(int64(w.Latency)/2+1)) })
	var err error
	if w.fleet, err = jetsim.NewFleet(w.options(w.seed)...); err != nil {
		return nil, err
	}
	for i, sim := range w.fleet.Members() {
		if err := sim.Serve(w.net.listen(host(i))); err != nil {
			return nil, err
		}
	}
	w.disk.files = newDisk()
	for i := range max(w.Nodes, 1) {
		w.nodes = append(w.nodes, newNode(i))
	}
	if w.Valkey {
		if err := w.startValkey(); err != nil {
			return nil, err
		}
	} else if w.Nodes > 0 {
		store, err := w.openStore(func() bool { return true })
		if err != nil {
			return nil, err
		}
		w.disk.arm()
		w.server = &server{Store: store, nodes: map[string]announced{}}
	}
	for _, n := range w.nodes {
		if err := w.start(n); err != nil {
			return nil, fmt.Errorf("the first start: %w", err)
		}
	}
	// A daemon that shares its feeds waits a while before it takes one.
	for end := time.Now().Add(time.Minute); !w.isLive() && time.Now().Before(end); {
		w.wait(100 * time.Millisecond)
	}
	w.began = time.Now()
	w.log.began = w.began
	w.startReaders()
	if w.Early {
		w.wait(500 * time.Millisecond)
		err = w.watch()
	} else {
		w.wait(warmUp / 2)
		w.fleet.Produce(cmp.Or(w.Youth, youth))
	}
	w.produce()
	return w, err
}

// watch subscribes to the first server until its first event: the simulator counts what a stream
// should hold from the first event that it sent to anybody.
func (w *world) watch() error {
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, host string) (net.Conn, error) {
		return w.net.dial(ctx, nil, host)
	}}}
	c, _, err := websocket.Dial(context.Background(), "ws://"+host(0)+atproto.SubscribePath, &websocket.DialOptions{HTTPClient: client})
	if err != nil {
		return err
	}
	w.watching = make(chan struct{})
	go func() {
		defer close(w.watching)
		_, _, _ = c.Read(context.Background())
		_ = c.CloseNow()
	}()
	return nil
}

// youth is how many events a stream has before faults begin, where the world does not say it.
const youth = 40

// youthful is how long the first event of an early world may be waited for.
const youthful = 40 * time.Second

// produce makes the network produce events until the context ends.
func (w *world) produce() {
	ctx, cancel := context.WithCancel(context.Background())
	w.stopProducing, w.produced = cancel, make(chan struct{})
	rnd := rand.New(rand.NewPCG(w.seed, 5))
	go func() {
		defer close(w.produced)
		if w.Early {
			select {
			case <-ctx.Done():
			case <-time.After(between(rnd, 0, youthful)):
			}
		}
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(between(rnd, w.Pace/2, w.Pace*3/2)):
			}
			w.production.Lock()
			quiet := w.production.quiet
			w.production.Unlock()
			if n := 1 + rnd.IntN(w.Burst); !quiet {
				w.fleet.Produce(int64(n))
			}
		}
	}()
}

// settled is how long nothing may change in the end before the run is judged, and patience how long
// that is waited for.
const (
	settled  = time.Minute
	patience = 3 * time.Hour
)

// settle heals everything and waits until the feed has nothing more to get.
func (w *world) settle() {
	w.heal()
	w.wait(time.Minute)
	w.stopProducing()
	<-w.produced
	w.fleet.Produce(1) // whatever went before, what comes now arrives
	w.wait(5 * time.Second)
	w.fleet.StopProducing()
	last, since := -1, time.Now()
	for end := time.Now().Add(patience); time.Now().Before(end) && !(time.Since(since) >= settled && w.isLive() && w.complete()); {
		w.wait(10 * time.Second)
		if n := w.size(); n != last {
			last, since = n, time.Now()
		}
	}
	// A lease ends by the clock, which may have been set back.
	for end := time.Now().Add(2 * time.Hour); time.Now().Before(end) && !w.consumed(); {
		w.wait(10 * time.Second)
	}
}

// wait lets time pass. A daemon that ended is started again, as a service manager does.
func (w *world) wait(d time.Duration) {
	for end := time.Now().Add(d); ; {
		time.Sleep(min(time.Until(end), time.Second))
		synctest.Wait()
		w.watchPosition()
		for _, n := range w.nodes {
			if n.run == nil {
				continue
			}
			select {
			case err := <-n.run.daemon.Failed():
				w.log.add("%sthe daemon gave up: %v", w.label(n), err)
				w.stats.GaveUp++
				w.kill(n, memdisk.Kept)
				w.revive(n)
			default:
			}
		}
		if !time.Now().Before(end) {
			return
		}
	}
}

// end ends everything.
func (w *world) end() {
	if w.stopProducing != nil {
		w.stopProducing()
		<-w.produced
	}
	for _, r := range w.readers {
		r.stop()
	}
	for _, c := range w.consumers {
		c.stop()
	}
	for _, run := range w.running() {
		_ = run.end(context.Background(), 10*time.Second)
	}
	if w.server != nil {
		_ = w.server.Store.Close()
	}
	w.endValkey()
	_ = w.fleet.Close()
	w.net.reset(nil)
	if w.watching != nil {
		<-w.watching
	}
	// The actor library's throttle of dead letters ends a second after the first of them.
	time.Sleep(3 * time.Second)
}

// journal is what happened, with its times: faults and log lines.
type journal struct {
	began time.Time

	mu    sync.Mutex
	lines []line
}

type line struct {
	at   time.Duration
	text string
}

func (j *journal) add(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line{time.Since(j.began), fmt.Sprintf(format, args...)})
}

// logger logs an incarnation's events to the journal.
func (j *journal) logger(alive func() bool, label string) *slog.Logger {
	return slog.New(slog.NewTextHandler(writerFunc(func(b []byte) (int, error) {
		if !alive() {
			return len(b), nil
		}
		j.add("    log %s%s", label, strings.TrimSpace(string(b)))
		return len(b), nil
	}), &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == "feed" || a.Key == "msg" || a.Key == slog.LevelKey) {
			return slog.Attr{}
		}
		return a
	}}))
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

package demo

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/client"
	"tempestd/internal/config"
	"tempestd/internal/daemon"
	"tempestd/internal/jetsim"
	"tempestd/internal/observe"
	"tempestd/messages"
	"tempestd/persistence"
)

const (
	pollEvery     = 200 * time.Millisecond // how often a demo takes a Snapshot
	startLimit    = 30 * time.Second
	catchUpLimit  = 20 * time.Second // for the feed to get the last events of the simulator
	compareBlocks = 1000             // entries per page of the comparison
)

// Options configures a demo.
type Options struct {
	For    time.Duration     // how long events flow
	Rate   float64           // events per second
	Seed   uint64            // of the simulated network; 0 means 1
	Faults bool              // inject faults, as plan says
	Gap    bool              // end with an outage that is longer than the upstream's memory
	Watch  func(Snapshot)    // called several times per second, by one goroutine at a time
	Log    func(line string) // called for each log event of the daemon; must not block
}

// Result is the outcome of a demo.
type Result struct {
	Report jetsim.Report       // number of injected faults, by name
	Faults map[string]int64    // faults that happened, by name
	Feed   messages.FeedStatus // at the end of the demo
}

type demo struct {
	opt      Options
	sim      *jetsim.Sim
	log      *logTail
	consumer consumer

	seen Snapshot // used only by show

	mu     sync.Mutex
	phase  Phase
	ready  time.Time
	client *client.Client // nil until the daemon is ready
}

// Run runs a demo. When ctx ends early, the flow of events ends, and Run compares what was stored
// until then. An error means that there is no result. When the stream is not what was sent, the
// error is nil and the Report of the Result is not OK.
func Run(ctx context.Context, opt Options) (result Result, err error) {
	d := &demo{opt: opt, phase: Starting, log: &logTail{each: opt.Log}}
	simOptions := jetsim.Options{Rate: opt.Rate, Seed: opt.Seed}
	if opt.Faults {
		simOptions.Faults, _ = plan(opt.For)
	}
	if opt.Gap {
		remember(&simOptions)
	}
	if d.sim, err = jetsim.New(simOptions); err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, d.sim.Close()) }()
	if err := d.sim.Listen("127.0.0.1:0"); err != nil {
		return result, err
	}
	d.seen.Upstream = d.sim.URL()
	if opt.Gap {
		d.seen.Upstream = "ws://" + d.sim.Addr() // over v2, which has the archive
	}
	upstream, err := config.ParseEndpoint(d.seen.Upstream)
	if err != nil {
		return result, err
	}

	dir, err := os.MkdirTemp("", "tempestd-demo-")
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	addr, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		defer close(ended)
		ended <- daemon.Run(work, configure(dir, upstream), daemon.Options{
			Version: "demo", Clock: clockwork.NewRealClock(), Ready: func(a string) { addr <- a },
			Observer: observe.New(slog.New(d.log), observe.NewMetrics()),
		})
	}()
	result, err = d.conduct(ctx, work, addr, ended)
	cancel(errors.New("the demo is over"))
	return result, errors.Join(err, <-ended)
}

// conduct runs the demo after its parts have started. The end of ctx ends the flow of events; the
// end of work ends everything.
func (d *demo) conduct(ctx, work context.Context, addr <-chan string, ended <-chan error) (result Result, err error) {
	work, stop := context.WithCancel(work)
	var beside sync.WaitGroup
	defer func() {
		if d.client != nil {
			d.client.Close()
		}
	}()
	defer beside.Wait()
	defer stop()
	beside.Go(func() { d.show(work) })

	select {
	case a := <-addr:
		if err := d.begin(a); err != nil {
			return result, err
		}
	case err := <-ended:
		return result, fmt.Errorf("the daemon did not start: %w", err)
	case <-time.After(startLimit):
		return result, fmt.Errorf("the daemon was not ready within %v", startLimit)
	}
	beside.Go(func() { d.consumer.follow(work, d.client) })

	select {
	case <-ctx.Done():
	case <-time.After(d.opt.For):
	case err := <-ended:
		return result, fmt.Errorf("the daemon ended: %w", err)
	}
	if d.opt.Gap && ctx.Err() == nil {
		d.enter(Repairing)
		if err := d.closeGap(ctx); err != nil {
			return result, err
		}
	}
	d.enter(CatchingUp)
	d.sim.StopProducing()
	d.catchUp(work)
	d.enter(Comparing)
	result.Report, err = d.sim.Verify(d.entries(work), jetsim.VerifyOptions{})
	result.Faults = d.sim.Stats().Faults
	if feed, feedErr := d.client.Feed(work, Name); feedErr == nil {
		result.Feed = feed
	}
	d.enter(Finished)
	return result, err
}

func (d *demo) begin(addr string) error {
	c, err := client.New(addr, "")
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.client, d.phase, d.ready = c, Running, time.Now()
	return nil
}

func (d *demo) enter(p Phase) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.phase = p
}

// show calls Watch until ctx ends, and once more.
func (d *demo) show(ctx context.Context) {
	for ctx.Err() == nil {
		d.opt.Watch(d.snapshot(ctx))
		pause(ctx, pollEvery)
	}
	d.opt.Watch(d.snapshot(context.WithoutCancel(ctx))) // the final state
}

// catchUp waits until the feed's durable position is the newest event of the simulator, for at most
// catchUpLimit. The comparison reports a feed that does not get there.
func (d *demo) catchUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, catchUpLimit)
	defer cancel()
	for ctx.Err() == nil {
		s := d.sim.Stats()
		feed, err := d.client.Feed(ctx, Name)
		if err == nil && !s.Down && (feed.Position.Seq == s.NewestSeq || s.Frames == 0) {
			return
		}
		pause(ctx, pollEvery)
	}
}

// entries yields the whole stream, read over HTTP.
func (d *demo) entries(ctx context.Context) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		after := persistence.FromBeginning().String()
		for {
			page, err := d.client.Tail(ctx, Name, after, 0, compareBlocks, messages.ConsumerFilter{})
			if err != nil {
				yield(nil, err)
				return
			}
			if len(page.Entries) == 0 {
				return
			}
			for _, f := range page.Entries {
				if !yield(f.Event, nil) {
					return
				}
				after = f.ID.String()
			}
		}
	}
}

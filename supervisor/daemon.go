package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/jonboulle/clockwork"

	"tempestd/actors"
	"tempestd/internal/config"
	"tempestd/internal/jetstream"
	"tempestd/internal/observe"
	"tempestd/messages"
	"tempestd/persistence"
)

// Options are the parts of a daemon. The stores belong to the caller, and must stay open until the
// daemon has stopped.
type Options struct {
	Config *config.Config
	// Store has the streams. A store that is a persistence.LeaseStore is shared: a feed then runs
	// only while this daemon holds its lease.
	Store persistence.Store
	// Checkpoints is where the cursors save their own checkpoints; nil: in Store.
	Checkpoints persistence.CheckpointStore
	// Filters is where the feeds' filters are saved; nil keeps them in the process alone.
	Filters   actors.FilterStore
	Node      messages.Node // this daemon, where the store is shared
	Observer  *observe.Observer
	Clock     clockwork.Clock
	Monotonic func() time.Duration // the monotonic clock; nil: Clock's time since the start
	Rand      *rand.Rand           // jitter; nil seeds one from the clock
	Dial      actors.Dialer        // nil dials websockets
	UserAgent string               // of the requests to upstreams
	Fault     actors.Fault         // nil, except in tests of faults
}

// Daemon is the actor tree seen from outside. It is safe for concurrent use.
type Daemon struct {
	cfg    *config.Config
	store  persistence.Store
	dicts  map[string]dictionaries
	system *actor.ActorSystem
	root   *actor.PID
	checks atomic.Uint64
	failed chan error
	stop   sync.Once
}

// Start opens the feeds' streams and starts the tree. An error is about the configuration or the
// store, and then nothing runs.
func Start(ctx context.Context, o Options) (*Daemon, error) {
	start := o.Clock.Now()
	if o.Rand == nil {
		o.Rand = rand.New(rand.NewPCG(uint64(start.UnixNano()), 0))
	}
	if o.Monotonic == nil {
		o.Monotonic = func() time.Duration { return o.Clock.Since(start) }
	}
	checkpoints, apart := o.Checkpoints, o.Checkpoints != nil
	if !apart {
		checkpoints = o.Store
	}
	leases, shared := o.Store.(persistence.LeaseStore)
	negotiator := jetstream.NewNegotiator(filepath.Join(o.Config.DataDir, "dictionaries"), o.Clock)
	var feeds []feedConfig
	dicts := make(map[string]dictionaries, len(o.Config.Feeds))
	for _, fc := range o.Config.Feeds {
		var endpoints []jetstream.Endpoint
		for _, e := range fc.Endpoints {
			endpoint, err := jetstream.ParseEndpoint(e)
			if err != nil {
				return nil, fmt.Errorf("feed %s: %w", fc.Name, err)
			}
			endpoints = append(endpoints, endpoint)
		}
		var stream persistence.Stream
		var info persistence.StreamInfo
		var lease *leaseConfig
		if shared {
			lease = newLeaseConfig(o, leases, fc)
		} else {
			var err error
			if stream, err = openStream(ctx, o.Store, fc, messages.Lease{}); err != nil {
				return nil, fmt.Errorf("feed %s: open its stream: %w", fc.Name, err)
			}
			if info, err = stream.Info(ctx); err != nil {
				return nil, fmt.Errorf("feed %s: look at its stream: %w", fc.Name, err)
			}
		}
		protocol, err := jetstream.ParseProtocol(fc.Protocol)
		if err != nil {
			return nil, fmt.Errorf("feed %s: %w", fc.Name, err)
		}
		compress, err := jetstream.ParseCompression(fc.Compress)
		if err != nil {
			return nil, fmt.Errorf("feed %s: %w", fc.Name, err)
		}
		known := dictionaries{negotiator: negotiator, upstreams: endpoints}
		if fc.ZstdDictionary != "" {
			if known.v1, err = os.ReadFile(fc.ZstdDictionary); err != nil {
				return nil, fmt.Errorf("feed %s: zstd_dictionary: %w", fc.Name, err)
			}
		}
		dicts[fc.Name] = known
		dial := o.Dial
		if dial == nil {
			dial = websocketDialer(fc, known.v1, negotiator, o)
		}
		feeds = append(feeds, feedConfig{
			Feed: fc, Protocol: protocol, Compress: compress, Endpoints: endpoints, Stream: stream, Lease: lease,
			Checkpoints: checkpoints, Filters: o.Filters, Apart: apart, Dial: dial, Clock: o.Clock, Interval: interval(info),
			Monotonic: o.Monotonic, Observer: o.Observer,
			// Each feed has its own generator, because actors share nothing.
			Rand:  rand.New(rand.NewPCG(o.Rand.Uint64(), o.Rand.Uint64())),
			Fault: o.Fault.Of(fc.Name),
		})
	}

	var sharing *sharingConfig
	if ha := &o.Config.HA; shared && isShared(ha) {
		renew, look := leaseTimes(ha)
		sharing = &sharingConfig{Store: leases, Node: o.Node, Candidate: ha.Candidate, TTL: ha.LeaseTTL, Renew: renew, Look: look,
			Clock: o.Clock, Observer: o.Observer, Fault: o.Fault}
	}

	d := &Daemon{cfg: o.Config, store: o.Store, dicts: dicts, failed: make(chan error, 1)}
	logger := slog.New(errorsOnly{o.Observer.Logger().Handler()})
	d.system = actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return logger }))
	props := newRoot(feeds, sharing, o.Clock, o.Observer, o.Fault, d.fail).Configure(actor.WithGuardian(newGuardian(o.Clock, o.Observer, d.fail)))
	root, err := d.system.Root.SpawnNamed(props, "tempestd")
	if err != nil {
		return nil, err
	}
	d.root = root
	return d, nil
}

// openStream opens a feed's stream for appends.
func openStream(ctx context.Context, store persistence.Store, fc config.Feed, lease messages.Lease) (persistence.Stream, error) {
	return store.OpenStream(ctx, fc.Name, persistence.StreamOptions{Lease: lease, Retention: persistence.Retention{
		Age: fc.Retention.Age, Bytes: fc.Retention.Bytes, Entries: fc.Retention.Entries}})
}

// maxLook bounds the time between two looks for a lease, and so how long a free lease may go
// unnoticed.
const maxLook = 500 * time.Millisecond

// isShared says whether the daemons decide together which of them owns a feed.
func isShared(ha *config.HA) bool { return ha.Enabled || !ha.Candidate }

// leaseTimes returns the time between two renewals of a lease, and between two looks for its owner.
func leaseTimes(ha *config.HA) (renew, look time.Duration) {
	if renew = ha.RenewEvery; renew == 0 {
		renew = ha.LeaseTTL / 3
	}
	return renew, min(renew/2, maxLook)
}

func newLeaseConfig(o Options, leases persistence.LeaseStore, fc config.Feed) *leaseConfig {
	ha := &o.Config.HA
	renew, look := leaseTimes(ha)
	return &leaseConfig{
		Store: leases, Node: o.Node, TTL: ha.LeaseTTL, Renew: renew, Look: look, Shared: isShared(ha),
		Open: func(ctx context.Context, lease messages.Lease) (persistence.Stream, error) {
			return openStream(ctx, o.Store, fc, lease)
		},
	}
}

// enoughEntries is how many entries a stream must hold before their mean interval is of use.
const enoughEntries = 1000

// interval is the mean interval of a stream's entries, 0 where there are too few.
func interval(info persistence.StreamInfo) time.Duration {
	if info.Entries < enoughEntries || info.Oldest == nil || info.Newest == nil {
		return 0
	}
	return time.Duration(info.Newest.MS-info.Oldest.MS) * time.Millisecond / time.Duration(info.Entries)
}

// websocketDialer dials a feed's upstreams. All feeds share the negotiator, and so what it learns
// about an endpoint.
func websocketDialer(fc config.Feed, v1Dictionary []byte, n *jetstream.Negotiator, o Options) actors.Dialer {
	opt := jetstream.DialOptions{MaxMessageSize: fc.MaxMessageSize, V1Dictionary: v1Dictionary, Negotiator: n, Clock: o.Clock, UserAgent: o.UserAgent}
	return func(ctx context.Context, req jetstream.Request) (actors.Upstream, error) {
		return jetstream.Dial(ctx, req, opt)
	}
}

// dictionaries are the dictionaries with which a feed's upstreams compress their messages.
type dictionaries struct {
	v1         []byte // nil unless it is configured
	negotiator *jetstream.Negotiator
	upstreams  []jetstream.Endpoint
}

// Dictionaries returns the zstd dictionaries with which a feed's upstreams compress their messages,
// as far as they are known: the one for v1, which must be configured, and the one that the most
// preferred of the feed's v2 servers gave out. nil stands for none. The caller must not change
// them.
func (d *Daemon) Dictionaries(feed string) (v1, v2 []byte) {
	known := d.dicts[feed]
	for _, e := range known.upstreams {
		if v2 = known.negotiator.Dictionary(e.Host()); v2 != nil {
			break
		}
	}
	return known.v1, v2
}

func filterOf(fc config.Feed) jetstream.Filter {
	return jetstream.Filter{Collections: fc.Collections, DIDs: fc.DIDs, Kinds: fc.Kinds}
}

func (d *Daemon) fail(err error) {
	select {
	case d.failed <- err:
	default: // one reason is enough
	}
}

// Failed delivers the reason when the root gives up. The process should then stop with a non-zero
// code.
func (d *Daemon) Failed() <-chan error { return d.failed }

// Stop stops reading, makes all read events durable, saves the checkpoints and ends the actors. It
// returns when that is done. If ctx ends first, the actors end at once, and events that are not yet
// durable are read again after the next start. A second call returns an error.
func (d *Daemon) Stop(ctx context.Context, reason string) error {
	err := errors.New("already stopped")
	d.stop.Do(func() {
		var reply any
		reply, err = ask(ctx, d.system, d.root, &messages.Stop{Reason: reason})
		if stopped, ok := reply.(*actors.Stopped); ok {
			err = stopped.Err
		}
		done := d.system.Root.StopFuture(d.root)
		if waitErr := done.Wait(); err == nil && waitErr != nil {
			err = fmt.Errorf("the actors did not end: %w", waitErr)
		}
		d.system.Shutdown()
	})
	return err
}

// Healthy sends a message through the whole tree and back. It returns an error if an actor does not
// answer.
func (d *Daemon) Healthy(ctx context.Context) error {
	_, err := ask(ctx, d.system, d.root, &messages.HealthCheck{ID: d.checks.Add(1)})
	return err
}

// Ready says whether the daemon is ready, and gives the reasons if it is not. A ready daemon has a
// store that takes appends, and its feeds run, are not refused and make progress.
func (d *Daemon) Ready(ctx context.Context) messages.Readiness {
	var r messages.Readiness
	switch reply, err := ask(ctx, d.system, d.root, &messages.ReadyQuery{}); {
	case err != nil:
		r.Reasons = append(r.Reasons, "the actors do not answer")
	default:
		r = *reply.(*messages.Readiness)
	}
	if err := d.store.Health(); err != nil {
		r.Reasons = append(r.Reasons, err.Error())
	}
	r.Ready = len(r.Reasons) == 0
	return r
}

// Feeds returns the status of every feed, in the order of their names.
func (d *Daemon) Feeds(ctx context.Context) ([]messages.FeedStatus, error) {
	all := make([]messages.FeedStatus, 0, len(d.cfg.Feeds))
	for _, fc := range d.cfg.Feeds {
		s, err := d.Feed(ctx, fc.Name)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// Feed returns the status of one feed. The error matches messages.ErrNoFeed if no feed has that
// name.
func (d *Daemon) Feed(ctx context.Context, name string) (messages.FeedStatus, error) {
	reply, err := d.askFeed(ctx, name, &messages.FeedQuery{})
	if err != nil {
		return messages.FeedStatus{}, err
	}
	return *reply.(*messages.FeedStatus), nil
}

// History returns what one feed remembers. The error matches messages.ErrNoFeed if no feed has that
// name.
func (d *Daemon) History(ctx context.Context, name string, q messages.HistoryQuery) (messages.FeedHistory, error) {
	reply, err := d.askFeed(ctx, name, &q)
	if err != nil {
		return messages.FeedHistory{}, err
	}
	return *reply.(*messages.FeedHistory), nil
}

// BlockLost tells the feed of a stream that one of the stream's blocks cannot be read any more.
// first and last are the block's first and last entry; first is zero where it is not known. The
// feed fetches again the events that an upstream still has, and the rest becomes a gap. BlockLost
// returns at once.
func (d *Daemon) BlockLost(stream string, first, last messages.EntryID) {
	if !slices.ContainsFunc(d.cfg.Feeds, func(f config.Feed) bool { return f.Name == stream }) {
		return // no feed reads for it any more
	}
	m := &messages.BlockLost{ToUS: last.TimeUS()}
	if !first.IsZero() {
		m.FromUS = first.TimeUS()
	}
	d.system.Root.Send(actor.NewPID(d.root.Address, d.root.Id+"/"+stream), m)
}

// Reconnect ends the feed's connection, or its wait for the next one. The error matches
// messages.ErrNoFeed if no feed has that name, and messages.ErrNotNow if the feed cannot do it now.
func (d *Daemon) Reconnect(ctx context.Context, feed string) error {
	return d.command(ctx, feed, messages.CommandReconnect)
}

// Pause ends the feed's connection until Resume. Its errors are those of Reconnect.
func (d *Daemon) Pause(ctx context.Context, feed string) error {
	return d.command(ctx, feed, messages.CommandPause)
}

// Resume ends a Pause. Its errors are those of Reconnect.
func (d *Daemon) Resume(ctx context.Context, feed string) error {
	return d.command(ctx, feed, messages.CommandResume)
}

// Close ends a stream for good, whether or not it has a feed. Events that its feed has read but not
// stored do not become part of it, and the feed stops. A second Close changes nothing. The result
// describes the closed stream. The error matches persistence.ErrNoStream if no stream has that
// name.
func (d *Daemon) Close(ctx context.Context, stream, reason string) (persistence.StreamInfo, error) {
	s, err := d.store.Stream(ctx, stream)
	if err != nil {
		return persistence.StreamInfo{}, err
	}
	if err := s.Close(ctx, reason); err != nil {
		return persistence.StreamInfo{}, err
	}
	info, err := s.Info(ctx)
	if err != nil {
		return info, err
	}
	// Without this message the writer would learn of it only with its next batch.
	if pid := d.feed(stream); pid != nil {
		d.system.Root.Send(pid, &messages.StreamClosed{Reason: info.Ended().Error()})
	}
	return info, nil
}

// UpdateFilter makes a running feed use the filter of fc. The error matches messages.ErrNoFeed if
// no feed has the name of fc.
func (d *Daemon) UpdateFilter(ctx context.Context, fc config.Feed) error {
	return d.command(ctx, fc.Name, &filterUpdate{filterOf(fc)})
}

func (d *Daemon) command(ctx context.Context, feed string, c any) error {
	reply, err := d.askFeed(ctx, feed, c)
	if err != nil {
		return err
	}
	return reply.(*messages.CommandDone).Err
}

func (d *Daemon) askFeed(ctx context.Context, name string, question any) (any, error) {
	if pid := d.feed(name); pid != nil {
		return ask(ctx, d.system, pid, question)
	}
	return nil, fmt.Errorf("%w: %.64q", messages.ErrNoFeed, name)
}

// feed is the PID of the feed of that name, nil if there is none.
func (d *Daemon) feed(name string) *actor.PID {
	for _, fc := range d.cfg.Feeds {
		if fc.Name == name {
			return actor.NewPID(d.root.Address, d.root.Id+"/"+name)
		}
	}
	return nil
}

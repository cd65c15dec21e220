package supervisor

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/jonboulle/clockwork"

	"tempestd/actors"
	"tempestd/internal/archive"
	"tempestd/internal/backfill"
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
	HTTP      *http.Client         // of archives; nil makes one
	UserAgent string               // of the requests to upstreams
	// Sources are the sources of repairs beside those of the endpoints, by feed. One of the same
	// name replaces that of the endpoints.
	Sources map[string][]backfill.Source
	Fault   actors.Fault // nil, except in tests of faults
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
	d := &Daemon{opt: o, store: o.Store, failed: make(chan error, 1), changing: make(chan struct{}, 1),
		negotiator: jetstream.NewNegotiator(filepath.Join(o.Config.DataDir, "dictionaries"), o.Clock)}
	now := &feeds{cfg: o.Config, dicts: make(map[string]dictionaries, len(o.Config.Feeds))}
	var all []feedConfig
	for _, fc := range o.Config.Feeds {
		known, err := newDictionaries(fc, d.negotiator)
		if err != nil {
			return nil, fmt.Errorf("feed %s: %w", fc.Name, err)
		}
		now.dicts[fc.Name] = known
		cfg, err := newFeedConfig(ctx, o, fc, known, openStream)
		if err != nil {
			return nil, fmt.Errorf("feed %s: %w", fc.Name, err)
		}
		all = append(all, cfg)
	}
	d.feeds.Store(now)
	logger := slog.New(errorsOnly{o.Observer.Library("protoactor").Handler()})
	d.system = actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return logger }))
	props := newRoot(all, newBalancerConfig(o), o.Clock, o.Observer, o.Fault, d.fail).
		Configure(actor.WithGuardian(newGuardian(o.Clock, o.Observer, d.fail)))
	root, err := d.system.Root.SpawnNamed(props, "tempestd")
	if err != nil {
		return nil, err
	}
	d.root = root
	// The root answers when it has started the feeds, so that the first request finds them. If it
	// fails instead, Failed says why.
	_, _ = ask(ctx, d.system, root, &messages.ReadyQuery{})
	return d, nil
}

// newFeedConfig makes what the supervisor of a feed needs. It opens the feed's stream by open, unless
// that needs a lease.
func newFeedConfig(ctx context.Context, o Options, fc config.Feed, known dictionaries, open streamOpener) (feedConfig, error) {
	cfg := feedConfig{
		Feed: fc, Checkpoints: o.Checkpoints, SeparateStore: o.Checkpoints != nil, Filters: o.Filters,
		Dial: o.Dial, Clock: o.Clock, Monotonic: o.Monotonic, Observer: o.Observer,
		// Each feed has its own generator, because actors share nothing.
		Rand:  rand.New(rand.NewPCG(o.Rand.Uint64(), o.Rand.Uint64())),
		Fault: o.Fault.Of(fc.Name),
	}
	if cfg.Checkpoints == nil {
		cfg.Checkpoints = o.Store
	}
	if cfg.Dial == nil {
		cfg.Dial = websocketDialer(fc, known, o)
	}
	http := o.HTTP
	if http == nil {
		http = archive.HTTPClient()
	}
	cfg.Archive = archiveOpener(o, fc, http, cfg.Rand.Uint64())
	cfg.Repairs = newRepairConfig(o, fc, cfg.Dial, http, cfg.Rand.Uint64())
	if leases, shared := o.Store.(persistence.LeaseStore); shared {
		cfg.Lease = newLeaseConfig(o, leases, fc)
		return cfg, nil
	}
	var err error
	if cfg.Stream, err = open(ctx, o.Store, fc, messages.Lease{}); err != nil {
		return cfg, fmt.Errorf("open its stream: %w", err)
	}
	info, err := cfg.Stream.Info(ctx)
	if err != nil {
		return cfg, fmt.Errorf("look at its stream: %w", err)
	}
	cfg.Interval = interval(info)
	return cfg, nil
}

// upstreams are the endpoints of a feed, in order of preference.
func upstreams(fc config.Feed) []jetstream.Endpoint {
	all := make([]jetstream.Endpoint, len(fc.Endpoints))
	for i, e := range fc.Endpoints {
		all[i] = e.Endpoint
	}
	return all
}

// streamOpener opens a feed's stream.
type streamOpener func(context.Context, persistence.Store, config.Feed, messages.Lease) (persistence.Stream, error)

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

// newBalancerConfig makes what the balancer needs. It returns nil where feeds are not shared.
func newBalancerConfig(o Options) *balancerConfig {
	ha := &o.Config.HA
	leases, shared := o.Store.(persistence.LeaseStore)
	if !shared || !isShared(ha) {
		return nil
	}
	renew, look := leaseTimes(ha)
	return &balancerConfig{Store: leases, Node: o.Node, Candidate: ha.Candidate, TTL: ha.LeaseTTL, Renew: renew, Look: look,
		Clock: o.Clock, Observer: o.Observer, Fault: o.Fault}
}

// websocketDialer dials a feed's upstreams. All feeds share the negotiator, and so what it learns
// about an endpoint.
func websocketDialer(fc config.Feed, known dictionaries, o Options) actors.Dialer {
	opt := jetstream.DialOptions{MaxMessageSize: fc.MaxMessageSize, V1Dictionary: known.v1, Negotiator: known.negotiator, Clock: o.Clock, UserAgent: o.UserAgent}
	return func(ctx context.Context, req jetstream.Request) (actors.Upstream, error) {
		return jetstream.Dial(ctx, req, opt)
	}
}

// archiveOpener makes readers of a feed's archives.
func archiveOpener(o Options, fc config.Feed, http *http.Client, seed uint64) actors.ArchiveOpener {
	return func(req jetstream.Request, a actors.Archive) (actors.Sweeper, error) {
		return archive.NewConn(archive.Options{
			BaseURL: req.Endpoint.ArchiveURL(), Key: fc.Repair.ArchiveKeys[req.Endpoint.Host()].Reveal(), UserAgent: o.UserAgent, HTTP: http, Clock: o.Clock, Rand: rand.New(rand.NewPCG(seed, uint64(a.SinceUS))),
		}, archive.Request{Filter: req.Filter, Raw: req.Raw, Point: a.Point, SinceUS: a.SinceUS}), nil
	}
}

// dictionaries are the dictionaries with which a feed's upstreams compress their messages.
type dictionaries struct {
	v1         []byte // nil unless it is configured
	negotiator *jetstream.Negotiator
	upstreams  []jetstream.Endpoint
}

func newDictionaries(fc config.Feed, n *jetstream.Negotiator) (dictionaries, error) {
	known := dictionaries{negotiator: n, upstreams: upstreams(fc)}
	if fc.ZstdDictionary == "" {
		return known, nil
	}
	var err error
	if known.v1, err = os.ReadFile(fc.ZstdDictionary); err != nil {
		return known, fmt.Errorf("zstd_dictionary: %w", err)
	}
	return known, nil
}

func filterOf(fc config.Feed) jetstream.Filter {
	return jetstream.Filter{Collections: fc.Collections, DIDs: fc.DIDs, Kinds: fc.Kinds}
}

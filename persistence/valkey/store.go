package valkey

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"hash/maphash"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"
	valkeygo "github.com/valkey-io/valkey-go"

	"tempestd/persistence"
)

// Options say where a Valkey (7.2 or later) or Redis (7.0 or later) server is and how to use
// it. Only Addresses is required.
type Options struct {
	Addresses      []string // host:port of servers, cluster nodes or sentinels
	Mode           string   // ModeAuto to ModeCluster; "" means ModeAuto
	SentinelMaster string   // the sentinels' name for the primary

	Username, Password                 string
	SentinelUsername, SentinelPassword string
	DB                                 int    // the number of a standalone server's database, 0…
	Prefix                             string // of every key; "" means "tempestd:"
	TLS                                *tls.Config

	ConnectTimeout time.Duration // of one dial, 0 for 5 s
	CommandTimeout time.Duration // of one command or batch, 0 for 5 s

	// Durability is what an append waits for, and what an entry must be before readers get it:
	// DurabilityMemory to DurabilityReplicas; "" means DurabilityMemory.
	Durability string
	Replicas   int // how many replicas must have an append, for DurabilityReplicas; 0 means 1

	// Fields are the fields that an entry has beside "json": any of "did", "kind", "collection" and
	// "time_us". Describe finds "did" and "collection" in an event's JSON. It is required if Fields
	// contains one of the two.
	Fields   []string
	Describe func(event []byte) (did, collection []byte)

	// Dial connects to a server in place of the network. It is nil, except in tests. TLS must be nil
	// then.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	Clock clockwork.Clock // for the ages of entries; nil means the real one
	// OnNotice is called with every notice, from the goroutine in which it happens. It must not
	// block and must not call the store.
	OnNotice func(persistence.Notice)
}

// Values of Options.Mode.
const (
	// ModeAuto uses Sentinel if SentinelMaster is set, and otherwise follows the server's answer.
	ModeAuto       = "auto"
	ModeStandalone = "standalone"
	ModeSentinel   = "sentinel"
	ModeCluster    = "cluster"
)

// EntryFields are the accepted values of Options.Fields.
var EntryFields = []string{"did", "kind", "collection", "time_us"}

// DefaultPrefix is the beginning of all keys of a Valkey store.
const DefaultPrefix = "tempestd:"

const defaultTimeout = 5 * time.Second

// Store is a store in a server, which many daemons can share. Its streams are native streams, which
// any client can read. It is safe for concurrent use.
//
// It connects on first use, and again whenever that is needed. Opening it succeeds while the server
// is away; then every call returns an *UnavailableError.
type Store struct {
	opt   Options
	clock clockwork.Clock
	emit  func(persistence.Notice)

	commands *link // short commands of many callers
	readers  *link // pages for readers, which may be large

	seed maphash.Seed // of the tokens of appends

	mu      sync.Mutex
	closed  chan struct{}
	hubs    map[string]*hub
	writers map[string]*stream // by stream: the newest handle that may append
	// troubles are the recent failures, by the name of the operation.
	troubles map[string]trouble
	users    sync.WaitGroup
}

var (
	_ persistence.Store         = (*Store)(nil)
	_ persistence.LeaseStore    = (*Store)(nil)
	_ persistence.ConsumerStore = (*Store)(nil)
)

// Open checks the options and returns the store. It returns all errors at once; each is a
// *ConfigError. It does not contact the server.
func Open(_ context.Context, opt Options) (*Store, error) {
	if err := opt.check(); err != nil {
		return nil, err
	}
	if opt.Prefix == "" {
		opt.Prefix = DefaultPrefix
	}
	if opt.ConnectTimeout <= 0 {
		opt.ConnectTimeout = defaultTimeout
	}
	if opt.CommandTimeout <= 0 {
		opt.CommandTimeout = defaultTimeout
	}
	if opt.Durability == "" {
		opt.Durability = DurabilityMemory
	}
	if opt.Replicas == 0 {
		opt.Replicas = 1
	}
	if opt.Clock == nil {
		opt.Clock = clockwork.NewRealClock()
	}
	if opt.OnNotice == nil {
		opt.OnNotice = func(persistence.Notice) {}
	}
	v := &Store{opt: opt, clock: opt.Clock, emit: opt.OnNotice, closed: make(chan struct{}),
		seed: maphash.MakeSeed(),
		hubs: make(map[string]*hub), writers: make(map[string]*stream), troubles: make(map[string]trouble)}
	v.commands = v.newLink(nil)
	v.readers = v.newLink(func(o *valkeygo.ClientOption) {
		o.PipelineMultiplex = 2
		o.DisableRetry = false // a read may be repeated, until the command timeout
	})
	return v, nil
}

// check finds all faults of the options.
func (o *Options) check() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, &persistence.ConfigError{Field: field, Message: fmt.Sprintf(format, args...)})
	}
	if len(o.Addresses) == 0 {
		bad("Addresses", "is empty; accepted: one or more of host:port")
	}
	switch o.Mode {
	case "", ModeAuto, ModeStandalone, ModeCluster:
		if o.SentinelMaster != "" && (o.Mode == ModeStandalone || o.Mode == ModeCluster) {
			bad("SentinelMaster", "is for the mode sentinel; the mode is %s", o.Mode)
		}
	case ModeSentinel:
		if o.SentinelMaster == "" {
			bad("SentinelMaster", "is missing; accepted: the name that the sentinels know the primary by")
		}
	default:
		bad("Mode", "is %.40q; accepted: auto, standalone, sentinel, cluster", o.Mode)
	}
	if o.DB < 0 {
		bad("DB", "is %d; accepted: 0 and above", o.DB)
	}
	if o.DB > 0 && o.Mode == ModeCluster {
		bad("DB", "is %d; a cluster has only 0", o.DB)
	}
	if strings.ContainsAny(o.Prefix, "{}") {
		bad("Prefix", "is %.40q; accepted: anything without { and }, which mark what a cluster keeps together", o.Prefix)
	}
	if o.Durability != "" && !slices.Contains(Durabilities, o.Durability) {
		bad("Durability", "is %.40q; accepted: %s", o.Durability, strings.Join(Durabilities, ", "))
	}
	if o.Replicas < 0 {
		bad("Replicas", "is %d; accepted: 0 and above", o.Replicas)
	}
	for _, f := range o.Fields {
		if !slices.Contains(EntryFields, f) {
			bad("Fields", "has %.40q; accepted: %s", f, strings.Join(EntryFields, ", "))
		}
		if (f == "did" || f == "collection") && o.Describe == nil {
			bad("Describe", "is missing; the field %s needs it", f)
		}
	}
	return errors.Join(errs...)
}

// OpenStream implements persistence.Store. A stream is put on the list of streams when it is
// opened. If the server is away, the first use does that.
func (v *Store) OpenStream(ctx context.Context, name string, opt persistence.StreamOptions) (persistence.Stream, error) {
	if err := persistence.CheckName(name); err != nil {
		return nil, err
	}
	s, err := v.newStream(name)
	if err != nil {
		return nil, err
	}
	s.retention, s.lease = opt.Retention, opt.Lease
	if err := v.list(ctx, name); err != nil && !persistence.Temporary(err) {
		return nil, err
	}
	if !opt.Lease.IsZero() {
		s.conn = v.newLink(nil)
		v.mu.Lock()
		before := v.writers[name]
		v.writers[name] = s
		v.mu.Unlock()
		if before != nil {
			before.conn.close()
		}
		if v.opt.waits() {
			// What another writer left in doubt becomes visible now, although nothing is appended
			// for a while. If this fails, the first append does it.
			_ = s.find(ctx)
		}
	}
	return s, nil
}

// list puts the stream on the list of streams.
func (v *Store) list(ctx context.Context, name string) error {
	_, err := v.do(ctx, func(b valkeygo.Builder) valkeygo.Completed {
		return b.Sadd().Key(v.streamsKey()).Member(name).Build()
	})
	return err
}

// Stream implements persistence.Store.
func (v *Store) Stream(ctx context.Context, name string) (persistence.Stream, error) {
	if persistence.CheckName(name) != nil {
		return nil, fmt.Errorf("%w: %.80q", persistence.ErrNoStream, name)
	}
	v.mu.Lock()
	_, known := v.hubs[name]
	writer := v.writers[name]
	v.mu.Unlock()
	if writer != nil {
		return writer, nil
	}
	if !known {
		m, err := v.do(ctx, func(b valkeygo.Builder) valkeygo.Completed {
			return b.Sismember().Key(v.streamsKey()).Member(name).Build()
		})
		if err != nil {
			return nil, err
		}
		n, err := decodeNumber("the list of streams", m)
		if err != nil {
			return nil, v.refuse("%v", err)
		}
		if n == 0 {
			return nil, fmt.Errorf("%w: %.80q", persistence.ErrNoStream, name)
		}
	}
	return v.newStream(name)
}

// newStream returns a handle for reading.
func (v *Store) newStream(name string) (*stream, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	select {
	case <-v.closed:
		return nil, persistence.ErrStoreClosed
	default:
	}
	h := v.hubs[name]
	if h == nil {
		h = newHub(v, name)
		v.hubs[name] = h
	}
	return &stream{store: v, name: name, keys: h.keys, hub: h}, nil
}

// Streams implements persistence.Store.
func (v *Store) Streams(ctx context.Context) ([]persistence.StreamInfo, error) {
	m, err := v.do(ctx, func(b valkeygo.Builder) valkeygo.Completed { return b.Smembers().Key(v.streamsKey()).Build() })
	if err != nil {
		return nil, err
	}
	names, err := decodeTexts("the list of streams", m)
	if err != nil {
		return nil, v.refuse("%v", err)
	}
	slices.Sort(names)
	infos := make([]persistence.StreamInfo, 0, len(names))
	for _, name := range names {
		if persistence.CheckName(name) != nil {
			continue // of another client: no daemon makes such a name, and no request can name it
		}
		s, err := v.newStream(name)
		if err != nil {
			return nil, err
		}
		info, err := s.Info(ctx)
		if err != nil {
			return nil, err
		}
		infos = append(infos, info)
	}
	return infos, nil
}

// Close implements persistence.Store.
func (v *Store) Close() error {
	v.mu.Lock()
	select {
	case <-v.closed:
		v.mu.Unlock()
		return nil
	default:
		close(v.closed)
	}
	hubs, writers := v.hubs, v.writers
	v.mu.Unlock()
	for _, h := range hubs {
		h.close()
	}
	for _, s := range writers {
		s.conn.close()
	}
	v.commands.close()
	v.readers.close()
	v.users.Wait() // their calls end with their connections
	return nil
}

package config

import (
	"log/slog"
	"net/netip"
	"time"

	"tempestd/internal/jetstream"
)

// Config is the effective configuration of a daemon: validated, with every default filled in. It
// does not change after Load, and may be read concurrently.
type Config struct {
	Path            string        // its file, "" for the built-in defaults
	DataDir         string        // the directory of streams and checkpoints
	ShutdownTimeout time.Duration // how long a graceful stop may take
	Repair          bool          // gaps are repaired, as each feed says
	Log             Log
	HTTP            HTTP
	MetricsListen   string // host:port of a listener for metrics alone, "" for none
	Stream          Stream
	Valkey          Valkey // with BackendValkey
	HA              HA
	Network         Network
	Feeds           []Feed // sorted by name

	// Unresolved are the secrets that this process cannot read: their variable is not set, or their
	// file is for another user. A daemon must not run without them. Other commands can do their work.
	Unresolved []*Error
	// Warnings say what is allowed and unwise.
	Warnings []*Error
}

// Network says where the servers of accounts are found, for repairs and for feeds that follow an
// account.
type Network struct {
	PLC   string // the origin of the directory of did:plc
	Relay string // the origin of a relay that knows who has a collection, "" for none
	// Local says that servers at addresses that are not public are called too, and without TLS. It is
	// for tests.
	Local bool
}

// Log configures the structured log, which is written to standard error.
type Log struct {
	Level  slog.Level
	Format string // "auto" (text on a terminal, else JSON), "json", "text"
}

// HTTP configures the listener.
type HTTP struct {
	Listen string // host:port; "" turns the listener off
	// ControlSocket is a Unix socket that asks for no token, "auto" for the one under DataDir, "" for
	// none.
	ControlSocket string
	// TLSCertFile and TLSKeyFile make the listener speak TLS; "" for plain HTTP.
	TLSCertFile, TLSKeyFile string
	// Token is the bearer token for everything, ReadToken the one that only reads. Either may be a
	// hash. One of them is required when Listen is not loopback.
	Token, ReadToken Secret

	// MaxTails bounds the requests that wait on one stream, or follow it, at one time.
	MaxTails int
	// MaxTailsPerClient bounds the same requests of one address, on all streams.
	MaxTailsPerClient int
	// MaxConnections bounds the connections of the listener, MaxConnectionsPerClient those of one
	// address.
	MaxConnections, MaxConnectionsPerClient int
	// Memory is how many bytes all readers may use together.
	Memory int64
	// DefaultStream is the stream of Jetstream clients that name none; "" means the only stream
	// there is.
	DefaultStream string

	// AllowedOrigins lists the origins of other servers' web pages that may read, as browsers send
	// them: "*" for any origin, "https://*.example.org" for all hosts below example.org.
	AllowedOrigins []string
	// AllowedHosts lists the host names under which a loopback listener answers, besides its own:
	// "*.example.org" for all below example.org.
	AllowedHosts []string
	// TrustedProxies are the addresses of reverse proxies that say for whom they forward.
	TrustedProxies []netip.Prefix
}

// Stream configures where streams are stored.
type Stream struct {
	Backend      Backend
	Sync         Sync
	SyncInterval time.Duration // with Sync "interval"
	MinFree      int64         // bytes of disk that must stay free; appends wait below it
}

// Backend is the kind of store that has the streams.
type Backend string

// Backends.
const (
	BackendEmbedded Backend = "embedded" // files under data_dir
	BackendValkey   Backend = "valkey"   // a server
)

// Sync says when an embedded store makes appends durable.
type Sync string

// Values of Sync.
const (
	SyncBatch    Sync = "batch"    // before each append is acknowledged
	SyncInterval Sync = "interval" // every Stream.SyncInterval
)

// Dedupe says when events are compared with the stored ones.
type Dedupe string

// Values of Dedupe.
const (
	DedupeAlways  Dedupe = "always"
	DedupeOverlap Dedupe = "overlap" // only while a replay overlaps the stream
)

// Feed is one upstream subscription and the stream it fills.
type Feed struct {
	Name           string
	Endpoints      []Endpoint // in order of preference, without repeats
	Protocol       jetstream.Protocol
	Compress       jetstream.Compression
	ZstdDictionary string // file with the dictionary of v1 servers, "" for none
	Raw            bool   // store v2 frames as they were sent
	Kinds          []string
	Collections    []string
	DIDs           []string // from dids and dids_file together
	Account        Account  // the account that it follows
	Start          Start    // where the feed begins if it has no position
	Backoff        []time.Duration
	// ReplayWindow is how far back a resume may reach. With ReplayWindowAuto it applies only to
	// servers that do not report a cursor that is too old (v1).
	ReplayWindow time.Duration
	// ReplayWindowAuto lets a server that reports a cursor that is too old (v2) decide instead of
	// ReplayWindow.
	ReplayWindowAuto   bool
	Rewind             time.Duration
	Dedupe             Dedupe
	DedupeHorizon      DedupeHorizon
	CheckpointInterval time.Duration
	StaleAfter         time.Duration // 0 means "auto": the adaptive detector alone
	BlindAfter         time.Duration // the same for commits, while other frames arrive
	PingInterval       time.Duration
	MaxMessageSize     int64         // bytes; a larger message is skipped and becomes a gap entry
	BatchEvents        int           // most events in one append
	BatchBytes         int64         // most bytes in one append
	BatchDelay         time.Duration // longest time that an event waits for others
	Retention          Retention
	Repair             Repair
}

// DedupeHorizon bounds the index of identities that a replay is compared with.
type DedupeHorizon struct {
	Entries int
	Age     time.Duration
}

// Retention bounds what a stream keeps. 0 sets no bound.
type Retention struct {
	Age     time.Duration
	Bytes   int64
	Entries int64
}

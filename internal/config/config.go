package config

import (
	"log/slog"
	"time"
)

// Config is the effective configuration of a daemon: validated, with every default filled in. It is not changed after Load and may
// be read concurrently.
type Config struct {
	Path            string        // the file it came from, "" for the built-in defaults
	DataDir         string        // where streams and checkpoints live
	ShutdownTimeout time.Duration // how long a graceful stop may take
	Log             Log
	HTTP            HTTP
	Stream          Stream
	Valkey          Valkey // with Stream.Backend "valkey"
	HA              HA
	Feeds           []Feed // sorted by name
}

// Log configures the structured log, which goes to standard error.
type Log struct {
	Level  slog.Level
	Format string // "auto" (text on a terminal, else JSON), "json", "text"
}

// HTTP configures the listener.
type HTTP struct {
	Listen string // host:port; "" turns the listener off
	Token  Secret // bearer token; required when Listen is not loopback

	MaxTails          int    // requests that wait on one stream, or follow it, at one time
	MaxTailsPerClient int    // of one address, on all streams
	DefaultStream     string // of Jetstream clients that name none; "" for the only one there is

	// AllowedOrigins are the origins of other servers' web pages that may read, as browsers send them; "*" for any, "https://*.example.org" for all below.
	AllowedOrigins []string
}

// Stream configures where streams are stored.
type Stream struct {
	Backend      string        // "embedded" or "valkey"
	Sync         string        // "batch": fsync before an append is acknowledged; "interval": every SyncInterval
	SyncInterval time.Duration // with Sync "interval"
	MinFree      int64         // bytes of disk that must stay free; below it appends are held back
}

// Feed is one upstream subscription and the stream it fills.
type Feed struct {
	Name               string
	Endpoints          []string // in order of preference, without repeats; URLs or bare hosts
	Protocol           string   // "auto", "v1", "v2"
	Compress           string   // "auto", "off", "zstd", "deflate"
	ZstdDictionary     string   // file with the dictionary of v1 servers, "" for none
	Raw                bool     // keep v2 frames as they are
	Kinds              []string
	Collections        []string
	DIDs               []string // from dids and dids_file together
	Backoff            []time.Duration
	ReplayWindow       time.Duration // how far back a resume may reach; with ReplayWindowAuto where the server says nothing about it
	ReplayWindowAuto   bool          // a server that says when it cannot go back far enough (v2) decides instead of ReplayWindow
	Rewind             time.Duration
	Dedupe             string // "always" or "overlap"
	DedupeHorizon      DedupeHorizon
	CheckpointInterval time.Duration
	StaleAfter         time.Duration // 0: "auto", the adaptive detector alone
	BlindAfter         time.Duration // the same for commits while other frames flow; 0: "auto"
	PingInterval       time.Duration
	MaxMessageSize     int64         // bytes of one frame; a larger one ends the connection
	BatchEvents        int           // most events of one append
	BatchBytes         int64         // most bytes of one append
	BatchDelay         time.Duration // longest an event waits for others before its append
	Retention          Retention
}

// DedupeHorizon bounds the identity index that a replay is compared with.
type DedupeHorizon struct {
	Entries int
	Age     time.Duration
}

// Retention bounds what a stream keeps; 0 sets no bound.
type Retention struct {
	Age     time.Duration
	Bytes   int64
	Entries int64
}

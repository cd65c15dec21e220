package observe

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"

	"tempestd/internal/version"
)

// namespace is the first word of the name of every tempestd metric.
const namespace = "tempestd"

// Metrics are the daemon's Prometheus collectors, in their own registry. They are safe for
// concurrent use. The comments below give the labels, then the meaning or the unit.
type Metrics struct {
	Registry *prometheus.Registry

	Events *prometheus.CounterVec // event, feed: events of the catalogue that were emitted

	Frames     *prometheus.CounterVec   // feed: websocket messages read
	Stored     *prometheus.CounterVec   // feed: entries appended
	Duplicates *prometheus.CounterVec   // feed: events dropped because the stream held them
	Skipped    *prometheus.CounterVec   // feed: events older than the stream or its index, dropped
	Gaps       *prometheus.CounterVec   // feed, cause: gap entries written
	BadFrames  *prometheus.CounterVec   // feed
	Ledger     *prometheus.GaugeVec     // feed, state: gaps in the ledger
	Lacking    *prometheus.GaugeVec     // feed: seconds of upstream time in gaps that may still be closed
	Recovered  *prometheus.CounterVec   // feed, source: entries appended by repairs
	Downloaded *prometheus.CounterVec   // feed, source: bytes downloaded by repairs
	RepairFail *prometheus.CounterVec   // feed, source: attempts that ended with an error
	Follows    *prometheus.GaugeVec     // feed: accounts that the feed's account follows
	FollowsAt  *prometheus.GaugeVec     // feed: when they were read last, Unix s
	NoSession  *prometheus.GaugeVec     // feed: 1 while one cannot log in as the feed's account
	Misses     *prometheus.CounterVec   // feed: events that an overlap looked up and that are new
	FalseHits  *prometheus.CounterVec   // feed: fingerprint hits that the stored entry disproved
	State      *prometheus.GaugeVec     // feed, state: 1 for the state the feed is in
	Lease      *prometheus.GaugeVec     // feed: fencing epoch of the lease that is held
	Position   *prometheus.GaugeVec     // feed: upstream time of the durable position, Unix seconds
	Lag        *prometheus.GaugeVec     // feed: seconds behind the upstream
	Suspicion  *prometheus.GaugeVec     // feed: phi
	Append     *prometheus.HistogramVec // feed: seconds
	BatchSize  *prometheus.HistogramVec // feed: entries
	StreamSize *prometheus.GaugeVec     // stream: bytes
	StreamLen  *prometheus.GaugeVec     // stream: entries
	StreamFrom *prometheus.GaugeVec     // stream: time of the oldest entry, Unix seconds

	LastFrame  *prometheus.GaugeVec   // feed: when a frame came last, Unix seconds
	ReplayLeft *prometheus.GaugeVec   // feed: seconds until events would be lost
	Ends       *prometheus.CounterVec // feed, cause: connections and attempts that ended
	Endpoint   *prometheus.GaugeVec   // feed, endpoint: 1 for the one that is used
	EndpointKO *prometheus.GaugeVec   // feed, endpoint: unhealthy connections in a row
	LostTime   *prometheus.CounterVec // feed, cause: seconds of upstream time in new gaps
	Restarts   *prometheus.CounterVec // feed, actor: restarts because of a fault of ours

	StoreBytes  prometheus.Gauge // of the files under data_dir
	DiskFree    prometheus.Gauge // bytes
	DiskMinFree prometheus.Gauge // stream.min_free
	StoreUp     prometheus.Gauge // 1 while the store takes appends
	Connections prometheus.Gauge // of the HTTP listener, without websockets

	HTTP   *prometheus.HistogramVec // route, code: seconds
	Served *prometheus.CounterVec   // stream: frames written to readers
	Tails  *prometheus.GaugeVec     // stream: tails being served

	Memory  prometheus.Gauge       // bytes that readers use of http.memory
	Refused *prometheus.CounterVec // cause: requests and connections refused for a bound of the server

	// Metrics of named consumers, with the labels stream and consumer. They are deleted with the
	// consumer.
	ConsumerLag  *prometheus.GaugeVec   // entries after its position
	ConsumerAge  *prometheus.GaugeVec   // seconds from its position to the newest entry
	ConsumerBusy *prometheus.GaugeVec   // 1 while a batch is leased
	Redeliveries *prometheus.CounterVec // batches that this daemon handed out again

	ConfigOK prometheus.Gauge // 1 if the configuration was taken over when it was read last

	definitions []MetricDefinition
	ofFeeds     []series
}

// series are the series of one metric.
type series interface {
	DeletePartialMatch(labels prometheus.Labels) int
}

// MetricDefinition documents one metric.
type MetricDefinition struct {
	Name   string
	Type   string // "counter", "gauge" or "histogram"
	Help   string
	Labels []string
}

// NewMetrics creates and registers the collectors.
func NewMetrics() *Metrics {
	m := &Metrics{Registry: prometheus.NewRegistry()}
	m.Events = m.counter("events_total", "events of the catalogue, by name", "event", "feed")
	m.Frames = m.counter("frames_total", "websocket messages read from the upstream", "feed")
	m.Stored = m.counter("stored_entries_total", "entries appended to the stream", "feed")
	m.Duplicates = m.counter("duplicates_total", "events dropped because the stream held them already", "feed")
	m.Skipped = m.counter("skipped_total", "events of a replay that were left out because they stand before the stream's or its index's first entry", "feed")
	m.Gaps = m.counter("gaps_total", "gap entries written", "feed", "cause")
	m.Ledger = m.gauge("gap_rows", "gaps in the ledger, by state", "feed", "state")
	m.Lacking = m.gauge("gap_lost_seconds", "upstream time that is missing in gaps which may still be closed, as far as their ends are known", "feed")
	m.Recovered = m.counter("gap_recovered_entries_total", "entries appended by repairs", "feed", "source")
	m.Downloaded = m.counter("gap_downloaded_bytes_total", "bytes downloaded by repairs", "feed", "source")
	m.RepairFail = m.counter("gap_attempts_failed_total", "attempts to repair a gap that ended with an error", "feed", "source")
	m.Follows = m.gauge("follows", "accounts that the feed's account follows", "feed")
	m.FollowsAt = m.gauge("follows_read_timestamp_seconds", "when the accounts that the feed's account follows were read last", "feed")
	m.NoSession = m.gauge("session_failed", "1 while one cannot log in as the feed's account", "feed")
	m.BadFrames = m.counter("bad_frames_total", "frames that could not be parsed and were left out", "feed")
	m.Misses = m.counter("dedupe_misses_total", "events that were looked up during an overlap and are new", "feed")
	m.FalseHits = m.counter("dedupe_false_hits_total", "fingerprint hits that the stored entry disproved", "feed")
	m.State = m.gauge("feed_state", "1 for the state the feed is in, 0 for the others", "feed", "state")
	m.Lease = m.gauge("lease_epoch", "fencing epoch under which this daemon owns the feed, 0 while it does not", "feed")
	m.Position = m.gauge("position_timestamp_seconds", "upstream time of the durable position, Unix seconds", "feed")
	m.Lag = m.gauge("lag_seconds", "how far the stream is behind its upstream: since its newest event; at the tip what that took to get here, 0 when it is quiet there", "feed")
	m.Suspicion = m.gauge("watchdog_suspicion", "phi of the watchdog's adaptive failure detector", "feed")
	m.Append = m.histogram("append_seconds", "time of one append, fsync included", prometheus.ExponentialBuckets(0.0005, 2, 14), "feed")
	m.BatchSize = m.histogram("append_entries", "entries in one append", prometheus.ExponentialBuckets(1, 4, 8), "feed")
	m.StreamSize = m.gauge("stream_bytes", "compressed size of the stream", "stream")
	m.StreamLen = m.gauge("stream_entries", "entries in the stream", "stream")
	m.StreamFrom = m.gauge("stream_oldest_timestamp_seconds", "time of the stream's oldest entry, by its ID", "stream")
	m.LastFrame = m.gauge("last_frame_timestamp_seconds", "when a frame came last, wanted or not", "feed")
	m.ReplayLeft = m.gauge("replay_left_seconds", "time until the upstream would no longer have what the stream lacks: replay_window without the lag", "feed")
	m.Ends = m.counter("reconnects_total", "connections, and attempts to make one, that ended: what the watchdog or an operator forced by that cause; else closed by the upstream, refused, unreachable or lost", "feed", "cause")
	m.Endpoint = m.gauge("endpoint_current", "1 for the endpoint that the feed uses, 0 for its others", "feed", "endpoint")
	m.EndpointKO = m.gauge("endpoint_failures", "connections to the endpoint in a row that were not healthy", "feed", "endpoint")
	m.LostTime = m.counter("gap_seconds_total", "upstream time in gaps when they were recorded, as far as their ends were known", "feed", "cause")
	m.Restarts = m.counter("actor_restarts_total", "actors that were restarted because of a fault of ours", "feed", "actor")
	m.StoreBytes = m.single("store_bytes", "size of the files of the store under data_dir, as taken on the disk; looked at once a minute")
	m.DiskFree = m.single("disk_free_bytes", "free space of the disk of data_dir")
	m.DiskMinFree = m.single("disk_min_free_bytes", "stream.min_free: appends wait when less is free")
	m.StoreUp = m.single("store_up", "1 while the store takes appends, 0 while its disk is full or its server is away")
	m.StoreUp.Set(1)
	m.Connections = m.single("http_connections", "open connections of the HTTP listener, without websockets")
	// A tail may wait for 30 s. The default buckets end at 10 s, so they cannot tell it from a
	// longer request.
	m.HTTP = m.histogram("http_request_seconds", "time of HTTP requests, the wait of tails included",
		[]float64{.001, .0025, .01, .025, .1, .25, 1, 2.5, 10, 30, 60}, "route", "code")
	m.Served = m.counter("served_frames_total", "frames written to HTTP readers", "stream")
	m.Tails = m.gauge("tails", "tails being served", "stream")
	m.Memory = m.single("http_memory_bytes", "memory in use for readers: their pages, filters and buffers, of http.memory")
	m.Refused = m.counter("http_refused_total", "requests and connections that were refused because something was used up: memory, connections, client_connections; or a wrong token", "cause")
	m.ConsumerLag = m.gauge("consumer_lag_entries", "entries after a named consumer's position", "stream", "consumer")
	m.ConsumerAge = m.gauge("consumer_lag_seconds", "time from a named consumer's position to the newest entry, by their IDs", "stream", "consumer")
	m.ConsumerBusy = m.gauge("consumer_leased", "1 while a batch of a named consumer is leased", "stream", "consumer")
	m.Redeliveries = m.counter("consumer_redeliveries_total", "batches of a named consumer that were handed out again", "stream", "consumer")
	m.ConfigOK = m.gauge("config_last_reload_successful", "1 if the configuration was taken over when it was read last, 0 if it was rejected").WithLabelValues()
	m.ConfigOK.Set(1)
	build := version.This()
	m.gauge("build_info", "1; the labels say which build runs", "version", "commit", "go").WithLabelValues(build.Version, build.Commit, build.Go).Set(1)
	m.Registry.MustRegister(collectors.NewGoCollector(), collectors.NewBuildInfoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// TailsOf returns how many tails of the stream are being served now.
func (m *Metrics) TailsOf(stream string) int {
	var now dto.Metric
	if m.Tails.WithLabelValues(stream).Write(&now) != nil {
		return 0
	}
	return int(now.GetGauge().GetValue())
}

// Definitions returns every tempestd metric, in the order of the table in docs/operate.md. The
// metrics of the Go runtime and of the process are not among them.
func (m *Metrics) Definitions() []MetricDefinition { return m.definitions }

// forget deletes the series of a feed.
func (m *Metrics) forget(feed string) {
	for _, s := range m.ofFeeds {
		s.DeletePartialMatch(prometheus.Labels{"feed": feed})
	}
}

func (m *Metrics) counter(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
	m.add(c, "counter", name, help, labels)
	return c
}

func (m *Metrics) gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, labels)
	m.add(g, "gauge", name, help, labels)
	return g
}

// single makes a gauge without labels.
func (m *Metrics) single(name, help string) prometheus.Gauge {
	return m.gauge(name, help).WithLabelValues()
}

func (m *Metrics) histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets}, labels)
	m.add(h, "histogram", name, help, labels)
	return h
}

func (m *Metrics) add(c prometheus.Collector, kind, name, help string, labels []string) {
	m.Registry.MustRegister(c)
	if vec, ok := c.(series); ok && slices.Contains(labels, "feed") {
		m.ofFeeds = append(m.ofFeeds, vec)
	}
	m.definitions = append(m.definitions, MetricDefinition{Name: namespace + "_" + name, Type: kind, Help: help, Labels: labels})
}

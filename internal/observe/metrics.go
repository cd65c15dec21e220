package observe

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Metrics are the daemon's Prometheus collectors, in a registry of their own.
type Metrics struct {
	Registry *prometheus.Registry

	Events *prometheus.CounterVec // event, feed: one for every event of the catalogue

	Frames     *prometheus.CounterVec // feed: websocket messages read
	Stored     *prometheus.CounterVec // feed: entries appended
	Duplicates *prometheus.CounterVec // feed: events dropped because the stream held them
	BadFrames  *prometheus.CounterVec // feed
	FalseHits  *prometheus.CounterVec // feed: fingerprint hits that the stored entry disproved
	State      *prometheus.GaugeVec   // feed, state: 1 for the state the feed is in
	Position   *prometheus.GaugeVec   // feed: Unix seconds of the durable position
	Lag        *prometheus.GaugeVec   // feed: seconds between an event's upstream time and its append
	Suspicion  *prometheus.GaugeVec   // feed: phi
	Append     *prometheus.HistogramVec
	BatchSize  *prometheus.HistogramVec
	StreamSize *prometheus.GaugeVec     // stream: bytes
	StreamLen  *prometheus.GaugeVec     // stream: entries
	HTTP       *prometheus.HistogramVec // route, code
	Tails      *prometheus.GaugeVec     // stream: tails waiting
}

// NewMetrics makes and registers the collectors.
func NewMetrics() *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "tempestd", Name: name, Help: help}, labels)
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "tempestd", Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "tempestd", Name: name, Help: help, Buckets: buckets}, labels)
	}
	m := &Metrics{
		Registry:   prometheus.NewRegistry(),
		Events:     counter("events_total", "Events of the catalogue, by name.", "event", "feed"),
		Frames:     counter("frames_total", "Websocket messages read from the upstream.", "feed"),
		Stored:     counter("stored_entries_total", "Entries appended to the stream.", "feed"),
		Duplicates: counter("duplicates_total", "Events dropped because the stream held them already.", "feed"),
		BadFrames:  counter("bad_frames_total", "Frames that could not be parsed and were left out.", "feed"),
		FalseHits:  counter("dedupe_false_hits_total", "Fingerprint hits that the stored entry disproved.", "feed"),
		State:      gauge("feed_state", "1 for the state the feed is in, 0 for the others.", "feed", "state"),
		Position:   gauge("position_timestamp_seconds", "Upstream time of the durable position, Unix seconds.", "feed"),
		Lag:        gauge("lag_seconds", "Time from an event's upstream time to its append.", "feed"),
		Suspicion:  gauge("watchdog_suspicion", "Phi of the watchdog's adaptive failure detector.", "feed"),
		Append:     histogram("append_seconds", "Time of one append, fsync included.", prometheus.ExponentialBuckets(0.0005, 2, 14), "feed"),
		BatchSize:  histogram("append_entries", "Entries in one append.", prometheus.ExponentialBuckets(1, 4, 8), "feed"),
		StreamSize: gauge("stream_bytes", "Compressed size of the stream.", "stream"),
		StreamLen:  gauge("stream_entries", "Entries in the stream.", "stream"),
		HTTP:       histogram("http_request_seconds", "Time of HTTP requests, waiting tails included.", prometheus.DefBuckets, "route", "code"),
		Tails:      gauge("tails", "Tails being served.", "stream"),
	}
	m.Registry.MustRegister(m.Events, m.Frames, m.Stored, m.Duplicates, m.BadFrames, m.FalseHits, m.State, m.Position, m.Lag,
		m.Suspicion, m.Append, m.BatchSize, m.StreamSize, m.StreamLen, m.HTTP, m.Tails,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

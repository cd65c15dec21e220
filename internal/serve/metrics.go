package serve

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"tempestd/internal/serve/api"
	"tempestd/persistence"
)

const (
	// scrapePatience is how long a scrape waits for fresh figures of the store. A store with many
	// consumers takes longer; then the scrape has those of the last measurement.
	scrapePatience = 100 * time.Millisecond
	// measureTime bounds one measurement.
	measureTime = 30 * time.Second
)

// measurement asks the store for the figures of the metrics, one time after the other.
type measurement struct {
	mu      sync.Mutex
	running chan struct{} // closed at the end of the measurement under way; nil while there is none
}

// metrics serves the Prometheus registry. It begins a measurement of the sizes of the streams, the
// lags of the consumers and the numbers of the gaps, unless one is under way, and does not wait long
// for it. The figures of feeds are always those of the last second.
func (s *Server) metrics() api.Handler {
	serve := promhttp.HandlerFor(s.observer.Metrics().Registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
	return func(w http.ResponseWriter, r *http.Request) error {
		patience := s.clock.NewTimer(scrapePatience)
		defer patience.Stop()
		select {
		case <-s.beginMeasurement():
		case <-patience.Chan():
		case <-r.Context().Done():
		}
		serve.ServeHTTP(w, r)
		return nil
	}
}

// beginMeasurement returns a channel that is closed at the end of the measurement under way.
func (s *Server) beginMeasurement() <-chan struct{} {
	m := &s.measurement
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.running != nil {
		return m.running
	}
	done := make(chan struct{})
	if s.ending.Err() != nil {
		close(done)
		return done
	}
	m.running = done
	s.crew.Start("http.measure", func() {
		defer func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.running = nil
			close(done)
		}()
		ctx, cancel := context.WithTimeout(s.ending, measureTime)
		defer cancel()
		s.measure(ctx)
	}, func(error) {})
	return done
}

// endMeasurements ends the one under way. There will be no other.
func (s *Server) endMeasurements() {
	s.measurement.mu.Lock()
	defer s.measurement.mu.Unlock()
	s.end()
}

// measure asks the store. What it cannot answer keeps its last figures.
func (s *Server) measure(ctx context.Context) {
	if s.measureMore != nil {
		s.measureMore()
	}
	streams, err := s.store.Streams(ctx)
	if err != nil {
		return
	}
	s.measureStreams(streams)
	s.consumers.Measure(ctx, streams)
	s.measureGaps(ctx, streams)
}

func (s *Server) measureStreams(streams []persistence.StreamInfo) {
	m := s.observer.Metrics()
	for _, info := range streams {
		m.StreamSize.WithLabelValues(info.Name).Set(float64(info.Bytes))
		m.StreamLen.WithLabelValues(info.Name).Set(float64(info.Entries))
		if info.Oldest != nil {
			m.StreamFrom.WithLabelValues(info.Name).Set(float64(info.Oldest.MS) / 1000)
		}
	}
}

// connections counts the open connections. A connection that becomes a websocket leaves net/http.
func (s *Server) connections(conn net.Conn, state http.ConnState) {
	s.gate.State(conn, state)
	switch state {
	case http.StateNew:
		s.observer.Metrics().Connections.Inc()
	case http.StateClosed, http.StateHijacked:
		s.observer.Metrics().Connections.Dec()
	}
}

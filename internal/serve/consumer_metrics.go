package serve

import (
	"context"
	"sync"

	"tempestd/persistence"
)

// consumerSeries are the consumers that have metrics. A stream has at most
// persistence.MaxConsumers, and the metrics go when the consumer is deleted.
type consumerSeries struct {
	mu    sync.Mutex
	known map[consumerID]struct{}
}

type consumerID struct{ stream, name string }

// measureConsumers updates the metrics of the streams' consumers. When the store cannot answer, the
// metrics stay as they are.
func (s *Server) measureConsumers(ctx context.Context, streams []persistence.StreamInfo) {
	m := s.observer.Metrics()
	s.series.mu.Lock()
	defer s.series.mu.Unlock()
	there := make(map[consumerID]struct{})
	for _, info := range streams {
		stream, err := s.store.Stream(ctx, info.Name)
		if err != nil {
			return
		}
		all, err := s.describeAll(ctx, stream)
		if err != nil {
			return
		}
		for _, c := range all {
			there[consumerID{c.Stream, c.Name}] = struct{}{}
			m.ConsumerLag.WithLabelValues(c.Stream, c.Name).Set(float64(c.LagEntries))
			m.ConsumerAge.WithLabelValues(c.Stream, c.Name).Set(float64(c.LagMS) / 1000)
			leased := 0.0
			if c.Lease != nil {
				leased = 1
			}
			m.ConsumerBusy.WithLabelValues(c.Stream, c.Name).Set(leased)
			m.Redeliveries.WithLabelValues(c.Stream, c.Name)
		}
	}
	for id := range s.series.known {
		if _, stays := there[id]; !stays {
			m.ConsumerLag.DeleteLabelValues(id.stream, id.name)
			m.ConsumerAge.DeleteLabelValues(id.stream, id.name)
			m.ConsumerBusy.DeleteLabelValues(id.stream, id.name)
			m.Redeliveries.DeleteLabelValues(id.stream, id.name)
		}
	}
	s.series.known = there
}

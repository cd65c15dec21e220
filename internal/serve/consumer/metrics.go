package consumer

import (
	"context"
	"sync"

	"tempestd/persistence"
)

// series are the consumers that have metrics. A stream has at most
// persistence.MaxConsumers, and the metrics go when the consumer is deleted.
type series struct {
	mu    sync.Mutex
	known map[key]struct{}
}

// Measure updates the metrics of the streams' consumers. When the store cannot answer, the
// metrics stay as they are.
func (c *Consumers) Measure(ctx context.Context, streams []persistence.StreamInfo) {
	m := c.observer.Metrics()
	c.series.mu.Lock()
	defer c.series.mu.Unlock()
	there := make(map[key]struct{})
	for _, info := range streams {
		stream, err := c.store.Stream(ctx, info.Name)
		if err != nil {
			return
		}
		all, err := c.describeAll(ctx, stream)
		if err != nil {
			return
		}
		for _, one := range all {
			there[key{one.Stream, one.Name}] = struct{}{}
			m.ConsumerLag.WithLabelValues(one.Stream, one.Name).Set(float64(one.LagEntries))
			m.ConsumerAge.WithLabelValues(one.Stream, one.Name).Set(float64(one.LagMS) / 1000)
			leased := 0.0
			if one.Lease != nil {
				leased = 1
			}
			m.ConsumerBusy.WithLabelValues(one.Stream, one.Name).Set(leased)
			m.Redeliveries.WithLabelValues(one.Stream, one.Name)
		}
	}
	for id := range c.series.known {
		if _, stays := there[id]; !stays {
			m.ConsumerLag.DeleteLabelValues(id.stream, id.name)
			m.ConsumerAge.DeleteLabelValues(id.stream, id.name)
			m.ConsumerBusy.DeleteLabelValues(id.stream, id.name)
			m.Redeliveries.DeleteLabelValues(id.stream, id.name)
		}
	}
	c.series.known = there
}

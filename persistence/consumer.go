package persistence

import (
	"context"
	"time"
)

// ConsumerState is the durable state of one named consumer of a stream.
type ConsumerState struct {
	Name      string    `json:"name"`
	CreatedAt time.Time `json:"created_at"`
	Acked     EntryID   `json:"acked"` // everything up to here was dealt with
	// The batch that is leased out, the zero Lease when none is.
	Lease ConsumerLease `json:"lease,omitzero"`
	// Filter is kept for whoever made the consumer; the store does not look at it.
	Filter []byte `json:"filter,omitempty"`
}

// ConsumerLease is a batch that was handed out and not yet acknowledged.
type ConsumerLease struct {
	Token      string    `json:"token"`
	Last       EntryID   `json:"last"`       // an ack moves Acked here
	Until      time.Time `json:"until"`      // by the store's clock; after it the batch is handed out again
	Deliveries int       `json:"deliveries"` // how often it was handed out
}

// MaxConsumers is how many named consumers one stream may have.
const MaxConsumers = 1000

// ConsumerStore keeps named consumers, whose names follow the rules of streams' names. It is safe for concurrent use, across the daemons that share the store too.
type ConsumerStore interface {
	// Consumer returns ErrNoConsumer when the stream has none of that name.
	Consumer(ctx context.Context, stream, name string) (ConsumerState, error)
	// Consumers lists a stream's, by name.
	Consumers(ctx context.Context, stream string) ([]ConsumerState, error)
	// UpdateConsumer changes a consumer in one atomic step. change is given the store's time and the state, nil where there is none, and returns
	// what takes its place: nil deletes. An error of change is returned and changes nothing. It may be called again when another change came first.
	// A new consumer beyond MaxConsumers matches ErrBadBound.
	UpdateConsumer(ctx context.Context, stream, name string, change func(now time.Time, s *ConsumerState) (*ConsumerState, error)) (*ConsumerState, error)
}

package persistence

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// ConsumerState is the durable state of one named consumer of a stream.
type ConsumerState struct {
	Name      string    `json:"name"`
	CreatedAt time.Time `json:"created_at"`
	Acked     EntryID   `json:"acked"`             // everything up to here was dealt with
	MovedAt   time.Time `json:"moved_at,omitzero"` // when Acked last changed
	// The batch that is leased out, or came back and goes out again; the zero Lease when there is none.
	Lease ConsumerLease `json:"lease,omitzero"`
	// Definition is kept for whoever made the consumer: JSON that the store does not look at.
	Definition json.RawMessage `json:"definition,omitempty"`
}

// ConsumerLease is a batch that was handed out and not yet acknowledged.
type ConsumerLease struct {
	Token      string    `json:"token"`      // who has it; "" once it was given back
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

// NoConsumerError matches ErrNoConsumer and says which consumer is not there.
func NoConsumerError(stream, name string) error {
	return fmt.Errorf("%w: stream %s has none named %.80q", ErrNoConsumer, stream, name)
}

// TooManyConsumersError matches ErrBadBound: a stream has MaxConsumers already.
func TooManyConsumersError(stream string) error {
	return fmt.Errorf("%w: stream %s has %d consumers, the most there may be", ErrBadBound, stream, MaxConsumers)
}

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
	Acked     EntryID   `json:"acked"`             // all entries up to this one were dealt with
	MovedAt   time.Time `json:"moved_at,omitzero"` // when Acked last changed
	// Lease is the batch that is leased out, or that was given back and will be delivered again.
	// The zero Lease means none.
	Lease ConsumerLease `json:"lease,omitzero"`
	// Definition is JSON that the store keeps for the consumer's creator and does not interpret.
	Definition json.RawMessage `json:"definition,omitempty"`
}

// ConsumerLease is a batch that was delivered and is not yet acknowledged.
type ConsumerLease struct {
	Token string  `json:"token"` // who has it; "" after it was given back
	Last  EntryID `json:"last"`  // an acknowledgement moves Acked to this entry
	// Until is by the store's clock. After it the batch is delivered again.
	Until      time.Time `json:"until"`
	Deliveries int       `json:"deliveries"` // how often it was delivered
}

// MaxConsumers is the largest number of named consumers of one stream.
const MaxConsumers = 1000

// ConsumerStore keeps named consumers. Their names follow the rules for stream names. It is safe
// for concurrent use, also by several daemons that share the store.
type ConsumerStore interface {
	// Consumer returns ErrNoConsumer if the stream has no consumer of that name.
	Consumer(ctx context.Context, stream, name string) (ConsumerState, error)
	// Consumers returns the consumers of a stream, sorted by name.
	Consumers(ctx context.Context, stream string) ([]ConsumerState, error)
	// UpdateConsumer changes a consumer in one atomic step. change gets the store's time and the
	// current state, or nil if there is none. It returns the new state; nil deletes the consumer.
	// An error of change is returned and changes nothing. change may be called again when another
	// change came first. A new consumer beyond MaxConsumers gives an error that matches
	// ErrBadBound.
	UpdateConsumer(ctx context.Context, stream, name string, change func(now time.Time, s *ConsumerState) (*ConsumerState, error)) (*ConsumerState, error)
}

// NoConsumerError returns an error that matches ErrNoConsumer and names the missing consumer.
func NoConsumerError(stream, name string) error {
	return fmt.Errorf("%w: stream %s has none named %.80q", ErrNoConsumer, stream, name)
}

// TooManyConsumersError returns an error that matches ErrBadBound: the stream already has
// MaxConsumers consumers.
func TooManyConsumersError(stream string) error {
	return fmt.Errorf("%w: stream %s has %d consumers, the most there may be", ErrBadBound, stream, MaxConsumers)
}

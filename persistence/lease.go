package persistence

import (
	"context"
	"fmt"
	"time"

	"tempestd/messages"
)

// LeaseStore is what a store that several daemons share offers besides: it says which of them may append to a stream. The embedded store is one
// process's alone and has none. It is safe for concurrent use. Time is the store's own, so that the daemons' clocks do not matter.
type LeaseStore interface {
	// Acquire takes the stream's lease for ttl, with a new epoch: from then on appends under an older epoch are refused. The node that
	// holds it already gets it anew (its former process is fenced out). A *HeldError says that another node holds it.
	Acquire(ctx context.Context, stream string, node messages.Node, ttl time.Duration) (messages.Lease, error)
	// Renew makes the lease last for ttl from now. A *FencedError says that it is lost.
	Renew(ctx context.Context, lease messages.Lease, ttl time.Duration) error
	// Release gives the lease up at once. One that is lost already is no error.
	Release(ctx context.Context, lease messages.Lease) error

	// Announce lists the node for ttl.
	Announce(ctx context.Context, node messages.Node, ttl time.Duration) error
	// Withdraw takes it off the list.
	Withdraw(ctx context.Context, nodeID string) error
	// Nodes is who is listed, by ID.
	Nodes(ctx context.Context) ([]messages.Node, error)
	// Owners says who holds the leases of the streams, in their order.
	Owners(ctx context.Context, streams []string) ([]messages.Owner, error)
}

// HeldError says that a stream's lease belongs to another node.
type HeldError struct{ messages.Owner }

func (e *HeldError) Error() string {
	return fmt.Sprintf("stream %s is owned by %s (epoch %d), whose lease lasts for another %s", e.Stream, e.Name, e.Epoch, e.Left)
}

// FencedError says that the writer's epoch is over: another daemon owns the stream, or this one lost its lease. Nothing was written, nor ever will
// be under this epoch.
type FencedError struct {
	Stream  string
	Epoch   uint64 // the writer's
	Current uint64 // the stream's
	Owner   string // name of who holds the lease now, "" when nobody does
}

func (e *FencedError) Error() string {
	return fmt.Sprintf("stream %s: epoch %d is fenced out; the stream is at epoch %d, owned by %q", e.Stream, e.Epoch, e.Current, e.Owner)
}

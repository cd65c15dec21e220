package persistence

import (
	"context"
	"fmt"
	"time"

	"tempestd/messages"
)

// LeaseStore is an additional interface of a store that several daemons share. It decides which of
// them may append to a stream. The embedded store belongs to one process and has no leases. A
// LeaseStore is safe for concurrent use. It uses its own clock, so the daemons' clocks do not
// matter.
type LeaseStore interface {
	// Acquire takes the stream's lease for ttl, with a new epoch. From then on appends under an
	// older epoch are refused. A node that already holds the lease gets a new one, and its former
	// process is fenced out. A *HeldError says that another node holds the lease.
	Acquire(ctx context.Context, stream string, node messages.Node, ttl time.Duration) (messages.Lease, error)
	// Renew extends the lease to ttl from now. A *FencedError says that it is lost.
	Renew(ctx context.Context, lease messages.Lease, ttl time.Duration) error
	// Release gives the lease up at once. A lease that is already lost is no error.
	Release(ctx context.Context, lease messages.Lease) error

	// Announce puts the node on the list of nodes for ttl.
	Announce(ctx context.Context, node messages.Node, ttl time.Duration) error
	// Withdraw takes the node off the list.
	Withdraw(ctx context.Context, nodeID string) error
	// Nodes returns the listed nodes, sorted by ID.
	Nodes(ctx context.Context) ([]messages.Node, error)
	// Owners returns the holders of the streams' leases, in the order of streams.
	Owners(ctx context.Context, streams []string) ([]messages.Owner, error)
}

// HeldError says that a stream's lease belongs to another node.
type HeldError struct{ messages.Owner }

func (e *HeldError) Error() string {
	return fmt.Sprintf("stream %s is owned by %s (epoch %d), whose lease lasts for another %s", e.Stream, e.Name, e.Epoch, e.Left)
}

// FencedError says that the writer's epoch is over: another daemon owns the stream, or this daemon
// lost its lease. Nothing was written, and nothing will ever be written under this epoch.
type FencedError struct {
	Stream  string
	Epoch   uint64 // the writer's
	Current uint64 // the stream's
	Owner   string // name of the present holder of the lease, "" if there is none
}

func (e *FencedError) Error() string {
	return fmt.Sprintf("stream %s: epoch %d is fenced out; the stream is at epoch %d, owned by %q", e.Stream, e.Epoch, e.Current, e.Owner)
}

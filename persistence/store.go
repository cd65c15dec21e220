package persistence

import (
	"context"
	"time"

	"tempestd/messages"
)

// Store holds streams and their named consumers.
type Store interface {
	CheckpointStore
	ConsumerStore
	// OpenStream opens the named stream and creates it if it is missing. Names are 1…64 characters
	// of [a-z0-9._-], starting with a letter or digit. A second call for the same name returns the
	// same stream. In a store with leases it returns a stream that appends under the lease of that
	// call.
	OpenStream(ctx context.Context, name string, opt StreamOptions) (Stream, error)
	// Stream returns a stored stream, whether it was opened or not; ErrNoStream if there is none.
	Stream(ctx context.Context, name string) (Stream, error)
	// TailStream is Tail for a stream by name, with the cursor as text: "<ms>-<seq>" or "<ms>", as
	// ParseStreamCursor reads it. It checks all arguments before it asks for anything, and returns
	// one *ConfigError per wrong argument, all joined. Their Field is "stream", "after", "block" or
	// "limit".
	TailStream(ctx context.Context, stream, after string, block time.Duration, limit int) (Page, error)
	// ReadStream is Read for a stream by name, likewise. Field is "stream", "from", "to" or
	// "limit".
	ReadStream(ctx context.Context, stream, from, to string, limit int) (Page, error)
	// DeleteStream removes a stream for good, with its consumers, its ledger of gaps and its
	// checkpoints. Nothing may append to it: where streams are shared, the error matches
	// messages.ErrNotNow while the stream's lease is held. Waiting tails return, and every call about
	// the stream gets ErrNoStream.
	DeleteStream(ctx context.Context, name string) error
	// Streams returns the stored streams, sorted by name.
	Streams(ctx context.Context) ([]StreamInfo, error)
	// Health returns nil while the store can take appends. Otherwise the error is the reason, for
	// example a *NoSpaceError.
	Health() error
	// Close releases the store. Waiting tails return ErrStoreClosed.
	Close() error
}

// StreamOptions are set by the stream's writer.
type StreamOptions struct {
	Retention Retention
	// Lease is the right to append, from the store's LeaseStore. Without a lease the stream can
	// only be read. A store that belongs to one process ignores it.
	Lease messages.Lease
}

// CheckpointStore keeps the checkpoints of the cursor actor, one per feed. It is safe for
// concurrent use.
type CheckpointStore interface {
	// SaveCheckpoint replaces the feed's checkpoint durably.
	SaveCheckpoint(ctx context.Context, feed string, cp messages.Checkpoint) error
	// LoadCheckpoint returns ErrNoCheckpoint when the feed has none.
	LoadCheckpoint(ctx context.Context, feed string) (messages.Checkpoint, error)
}

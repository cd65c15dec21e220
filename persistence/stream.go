package persistence

import (
	"context"
	"fmt"
	"time"

	"tempestd/messages"
)

// EntryID is the ID of a stream's entry.
type EntryID = messages.EntryID

// Bounds of the reading calls. They are part of the contract of tails.
const (
	MaxBlock = 30 * time.Second // the longest a Tail may wait
	MaxCount = 10_000           // the most frames one Read or Tail returns
	// MaxPageBytes is where a page ends besides: after the entry that brings its events to this size (I5).
	MaxPageBytes = 16 << 20
)

// Stream is one feed's durable, append-only log. Implementations are safe for concurrent use, but for Append, which has one
// caller at a time: a stream has one writer (I6).
type Stream interface {
	// Name is the stream's name, the feed's.
	Name() string

	// Append stores the batch's events that are not marked Drop, in order, together with the
	// checkpoint and the events' fingerprints, in one atomic step: after a crash either all of it
	// is there or none. IDs come from messages.DeriveID. cp.LastID is set by the stream. An empty
	// batch stores the checkpoint alone. The batch is only read, and not after Append has returned.
	// A *NoSpaceError means that nothing was written and that trying again later may succeed;
	// ErrStreamClosed that it never will. A remote store returns an *UnavailableError, after which
	// the same batch may be appended again, or whatever comes instead of it; a *FencedError when
	// the stream has another owner; and a *ConflictError when the stream holds what this writer
	// does not know of, after which it must be opened again and resumed from its checkpoint.
	Append(ctx context.Context, batch *messages.Batch, cp messages.Checkpoint) (Appended, error)

	// Checkpoint is the one stored by the last Append; ErrNoCheckpoint on a new stream.
	Checkpoint(ctx context.Context) (messages.Checkpoint, error)

	// Read returns up to limit entries of the closed range [from, to], oldest first. limit is 1…MaxCount; outside it the error matches
	// ErrBadBound. A page may be shorter than limit though more follows; an empty one is the end. A *CorruptError names
	// the block that cannot be read, after which reading may go on.
	Read(ctx context.Context, from, to StreamCursor, limit int) (StreamFrames, error)

	// Tail returns up to limit entries after the exclusive cursor. With none there it waits up to block (0…MaxBlock; 0 is a peek) for
	// one. A time-out is an empty, open result and not an error; a closed stream answers at once with what is left. Tails
	// never delay an Append. The open markers are no exclusive cursor and match ErrBadCursor; "<ms>" stands for "<ms>-0". Pages
	// and errors are Read's, and a *CursorExpiredError when retention has dropped entries after the cursor; 0-0 never expires.
	// What a Tail that may wait tells of a shared stream may be some milliseconds old.
	Tail(ctx context.Context, after StreamCursor, block time.Duration, limit int) (StreamFrames, error)

	// Info tells the stream's bounds and sizes. It is cheap.
	Info(ctx context.Context) (StreamInfo, error)

	// Trim applies the retention now and gives the disk space back. Streams also do it by themselves.
	Trim(ctx context.Context, r Retention) (Trimmed, error)

	// Close ends the stream for good: the marker is durable, later Appends fail with ErrStreamClosed, waiting tails return at once.
	// Closing again changes nothing. To stop using a stream without ending it, close its store.
	Close(ctx context.Context, reason string) error

	// Fingerprints calls yield for the blocks of the newest entries within the horizon, newest block first, until yield returns false.
	Fingerprints(ctx context.Context, h Horizon, yield func(FingerprintBlock) bool) error

	// Entry is entry i (0-based) of the block that ends with last, as Fingerprints named it. It returns ErrNotFound once retention
	// has dropped it. Asking for the entries of one block in turn is cheap. The bytes are valid until the next call of Entry,
	// which has one caller at a time: the writer.
	Entry(ctx context.Context, last EntryID, i int) ([]byte, error)
}

// Appended tells what an Append stored.
type Appended struct {
	First, Last EntryID // IDs of the first and last entry stored; both zero when there was none
	Entries     int
	Bytes       int // bytes written to the store, compressed
	// Blocks are the blocks that the entries became, as Fingerprints and Entry name them; nil where it is one, which ends with Last. Valid until the
	// next Append.
	Blocks []AppendedBlock
}

// AppendedBlock is one of the blocks that an append became.
type AppendedBlock struct {
	Last    EntryID
	Entries int
}

// Retention says what a stream keeps. A zero field sets no bound. Whole blocks are dropped, oldest first, so a stream may keep up to one
// block more than it must.
type Retention struct {
	Age     time.Duration // by entry ID, against the clock
	Bytes   int64         // compressed size on disk
	Entries int64
}

// Trimmed tells what a Trim dropped.
type Trimmed struct {
	Entries int64
	Bytes   int64
}

// Horizon bounds how far back fingerprints are wanted. A zero field sets no bound.
type Horizon struct {
	Entries int
	Age     time.Duration // before the newest entry, by entry ID
}

// FingerprintBlock is the identity index of one block.
type FingerprintBlock struct {
	Last         EntryID  // the block's key
	First        EntryID  // its first entry
	Fingerprints []uint64 // one an entry, in order; valid during the call only
}

// StreamInfo describes a stream.
type StreamInfo struct {
	Name         string     `json:"name"`
	Entries      int64      `json:"entries"`
	Bytes        int64      `json:"bytes"` // compressed
	Oldest       *EntryID   `json:"oldest,omitempty"`
	Newest       *EntryID   `json:"newest,omitempty"`
	Trimmed      *EntryID   `json:"trimmed,omitempty"` // the newest entry that retention has dropped: the smallest cursor to tail after that misses nothing
	ClosedAt     *time.Time `json:"closed_at,omitempty"`
	ClosedReason string     `json:"closed_reason,omitempty"`
	// Lost is set from the store's opening until the stream's first append after it, when the stream was found to end before what was known to be stored.
	Lost *Truncation `json:"lost,omitempty"`
}

// Ended is nil while the stream is open, and then an error that matches ErrStreamClosed and tells the reason.
func (i StreamInfo) Ended() error {
	if i.ClosedAt == nil {
		return nil
	}
	return ClosedError(i.Name, i.ClosedReason)
}

// ClosedError matches ErrStreamClosed and says why the stream was closed.
func ClosedError(stream, reason string) error {
	return fmt.Errorf("%w: %s (%.80s)", ErrStreamClosed, stream, reason)
}

// CheckpointStore keeps the cursor actor's checkpoints, one a feed. It is safe for concurrent use.
type CheckpointStore interface {
	// SaveCheckpoint replaces the feed's checkpoint, durably.
	SaveCheckpoint(ctx context.Context, feed string, cp messages.Checkpoint) error
	// LoadCheckpoint returns ErrNoCheckpoint when the feed has none.
	LoadCheckpoint(ctx context.Context, feed string) (messages.Checkpoint, error)
}

// Store holds streams, and the consumers of each.
type Store interface {
	CheckpointStore
	ConsumerStore
	// OpenStream opens the named stream, making it when missing. Names are 1…64 of [a-z0-9._-], starting with a letter or digit.
	// A second call for the same name returns the same stream; where there are leases, one that appends under the lease it was opened with.
	OpenStream(ctx context.Context, name string, opt StreamOptions) (Stream, error)
	// Stream returns a stream that is stored, opened or not; ErrNoStream when there is none.
	Stream(ctx context.Context, name string) (Stream, error)
	// TailStream is Tail of a stream by its name, with the cursor as text: "<ms>-<seq>" or "<ms>", as ParseStreamCursor reads them. What is wrong with the
	// arguments is one *ConfigError each, all at once, before anything is asked: its Field is "stream", "after", "block" or "limit".
	TailStream(ctx context.Context, stream, after string, block time.Duration, limit int) (StreamFrames, error)
	// ReadStream is Read likewise; its Field is "stream", "from", "to" or "limit".
	ReadStream(ctx context.Context, stream, from, to string, limit int) (StreamFrames, error)
	// Streams lists what is stored, by name.
	Streams(ctx context.Context) ([]StreamInfo, error)
	// Health is nil while the store can take appends; otherwise it says why not (a *NoSpaceError, say).
	Health() error
	// Close releases the store. Tails that wait return ErrStoreClosed.
	Close() error
}

// StreamOptions are set by the stream's writer.
type StreamOptions struct {
	Retention Retention
	// Lease is the right to append, from the store's LeaseStore; the stream is for reading only without one. A store that is one process's alone
	// ignores it.
	Lease messages.Lease
}

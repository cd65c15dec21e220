package persistence

import (
	"context"
	"encoding/json"
	"time"

	"tempestd/messages"
)

// EntryID is the ID of an entry in a stream.
type EntryID = messages.EntryID

// Bounds of the reading calls. They are part of the contract of tails.
const (
	MaxBlock = 30 * time.Second // the longest a Tail may wait
	MaxCount = 10_000           // the most entries one Read or Tail returns
	// MaxPageBytes also bounds a page: it ends after the entry that brings its events to this size
	// (I5). A context of WithPageBytes lowers this bound.
	MaxPageBytes = 16 << 20
)

// Stream is the durable, append-only log of one feed. It is safe for concurrent use, except for
// Append, which must have one caller at a time: a stream has one writer (I6).
type Stream interface {
	Ledger

	// Name is the name of the stream and of its feed.
	Name() string

	// Append stores the batch's events that are not marked Drop, in order, together with the
	// checkpoint and the events' fingerprints, in one atomic step: after a crash either all of it
	// is stored or nothing. IDs come from messages.DeriveID. The stream sets cp.LastID. An empty
	// batch stores the checkpoint alone. Append only reads the batch, and does not use it after it
	// has returned. A *NoSpaceError means that nothing was written and that a later try may
	// succeed. ErrStreamClosed means that no try ever will. A remote store returns an
	// *UnavailableError, after which the same batch or another one may be appended. It returns a
	// *FencedError when the stream has another owner. It returns a *ConflictError when the stream
	// contains entries that this writer does not know; then the stream must be opened again and
	// resumed from its checkpoint.
	Append(ctx context.Context, batch *messages.Batch, cp messages.Checkpoint) (Appended, error)

	// Checkpoint returns the checkpoint of the last Append, ErrNoCheckpoint on a new stream.
	Checkpoint(ctx context.Context) (messages.Checkpoint, error)

	// Read returns up to limit entries of the closed range [from, to], oldest first. limit is
	// 1…MaxCount; other values give an error that matches ErrBadBound. A page may be shorter than
	// limit although more entries follow; an empty page is the end. A *CorruptError names a block
	// that cannot be read; reading may continue after it.
	Read(ctx context.Context, from, to StreamCursor, limit int) (Page, error)

	// Tail returns up to limit entries after the exclusive cursor. When there are none, it waits up
	// to block for one (0…MaxBlock; 0 does not wait). A time-out is not an error: the result is
	// empty and open. On a closed stream Tail returns the remaining entries at once. Tails never
	// delay an Append. The open markers are no exclusive cursors and give an error that matches
	// ErrBadCursor. "<ms>" means "<ms>-0". Pages and errors are the same as for Read, plus a
	// *CursorExpiredError when retention has dropped entries after the cursor. Cursor 0-0 never
	// expires. In a shared store, the answer of a Tail that may wait can be some milliseconds old.
	Tail(ctx context.Context, after StreamCursor, block time.Duration, limit int) (Page, error)

	// Info returns the stream's bounds and sizes. It is cheap.
	Info(ctx context.Context) (StreamInfo, error)

	// Trim applies the retention now and frees the disk space. Streams also trim without being
	// asked.
	Trim(ctx context.Context, r Retention) (Trimmed, error)

	// Close closes the stream for good: the closed marker is durable, later Appends fail with
	// ErrStreamClosed, and waiting tails return at once. Closing again changes nothing. To stop
	// using a stream without closing it for good, close its store.
	Close(ctx context.Context, reason string) error

	// Fingerprints calls yield for the blocks of the newest entries within the horizon, newest
	// block first, until yield returns false.
	Fingerprints(ctx context.Context, h Horizon, yield func(FingerprintBlock) bool) error

	// Entry returns entry i (0-based) of the block that ends with last, as Fingerprints named it.
	// It returns ErrNotFound when retention has dropped the entry. Asking for the entries of one
	// block in order is cheap. The bytes are valid until the next call of Entry, which must have
	// one caller at a time: the writer.
	Entry(ctx context.Context, last EntryID, i int) ([]byte, error)
}

// Entry is an entry of a stream as readers get it.
type Entry struct {
	ID    EntryID         `json:"id"`
	Event json.RawMessage `json:"event"` // the JSON of the upstream, unchanged
}

// Page is what a Read or a Tail returns. On the wire, in the JSON of the HTTP API, its Entries are
// named "frames". Nothing writes to the memory that the entries share. All fields describe the
// stream at one instant: the tip or the end of a closed stream is reported (Behind is 0) only with
// the entries up to it.
type Page struct {
	Entries      []Entry
	ClosedAt     time.Time // zero while the stream is open
	ClosedReason string

	// Cursor is the exclusive cursor to continue with: the last entry. In an empty page it is the
	// greatest ID up to which there is no entry.
	Cursor         EntryID
	Oldest, Newest EntryID // of the stream; zero when it has no entries
	Behind         int64   // entries after Cursor; 0 at the tip
	// Appended is how many entries were ever appended to the stream up to Newest, kept or not. So
	// the entry at Cursor has number Appended−Behind. An entry keeps its number as long as it is
	// stored, and no later entry gets it.
	Appended int64
}

// IsClosed reports whether the stream was closed for good when the entries were read.
func (p Page) IsClosed() bool { return !p.ClosedAt.IsZero() }

// Appended is the result of an Append.
type Appended struct {
	First, Last EntryID // IDs of the first and last entry stored; both zero when none was stored
	Entries     int
	Bytes       int // bytes written to the store, compressed
	// Blocks are the blocks that the entries were stored in, as Fingerprints and Entry name them.
	// nil means one block, which ends with Last. Valid until the next Append.
	Blocks []AppendedBlock
}

// AppendedBlock is one block of an append.
type AppendedBlock struct {
	Last    EntryID
	Entries int
}

// Retention says how much a stream keeps. A zero field sets no bound. Whole blocks are dropped,
// oldest first, so a stream may keep up to one block more than the bounds require.
type Retention struct {
	Age     time.Duration // the time of an entry's ID, compared with the clock
	Bytes   int64         // compressed size on disk
	Entries int64
}

// Trimmed is what a Trim dropped.
type Trimmed struct {
	Entries int64
	Bytes   int64
}

// Horizon limits how far back fingerprints are read. A zero field sets no bound.
type Horizon struct {
	Entries int
	Age     time.Duration // before the newest entry, by the time of the IDs
}

// FingerprintBlock is the identity index of one block.
type FingerprintBlock struct {
	Last         EntryID  // the block's key
	First        EntryID  // its first entry
	Fingerprints []uint64 // one per entry, in order; valid during the call only
}

// StreamInfo describes a stream.
type StreamInfo struct {
	Name    string   `json:"name"`
	Entries int64    `json:"entries"`
	Bytes   int64    `json:"bytes"` // compressed
	Oldest  *EntryID `json:"oldest,omitempty"`
	Newest  *EntryID `json:"newest,omitempty"`
	// Trimmed is the newest entry that retention has dropped. It is the smallest cursor after which
	// a Tail misses nothing.
	Trimmed      *EntryID   `json:"trimmed,omitempty"`
	ClosedAt     *time.Time `json:"closed_at,omitempty"`
	ClosedReason string     `json:"closed_reason,omitempty"`
	// Retention is what the stream keeps, nil where only its writer knows that.
	Retention *messages.Retention `json:"retention,omitempty"`
	// Lost is set when the stream was found to end before the newest entry known to be stored. It
	// is set from the opening of the store until the stream's first append.
	Lost *Truncation `json:"lost,omitempty"`
}

// Ended returns nil while the stream is open. For a closed stream it returns an error that matches
// ErrStreamClosed and contains the reason.
func (i StreamInfo) Ended() error {
	if i.ClosedAt == nil {
		return nil
	}
	return ClosedError(i.Name, i.ClosedReason)
}

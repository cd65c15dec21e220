package persistence

import (
	"errors"
	"fmt"
)

// The errors callers can match with errors.Is.
var (
	ErrNoStream     = errors.New("no such stream")
	ErrNoConsumer   = errors.New("no such consumer")
	ErrNoCheckpoint = errors.New("no checkpoint")
	ErrNotFound     = errors.New("no such entry")
	ErrStreamClosed = errors.New("stream is closed")
	ErrStoreClosed  = errors.New("store is closed")
	ErrLocked       = errors.New("another process holds the data directory")
	ErrBadName      = errors.New("bad stream name")
	ErrBadCursor    = errors.New("malformed cursor")
	ErrBadBound     = errors.New("argument out of bounds")
)

// NoSpaceError says that the store stopped writing before the disk was full. Nothing was written; appends work again once
// there is room.
type NoSpaceError struct {
	Dir  string // the store's directory
	Free uint64 // bytes free
	Need uint64 // bytes that must be free
}

func (e *NoSpaceError) Error() string {
	return fmt.Sprintf("%s has %d MiB free; writing needs %d MiB free", e.Dir, e.Free>>20, e.Need>>20)
}

// CorruptError says that a stored block cannot be read. Its entries are lost here; a reader goes on with what comes after
// Block, which may be used as an exclusive cursor.
type CorruptError struct {
	Stream string
	First  EntryID // the block's first entry; zero where that is not known
	Block  EntryID // the block's last entry, its key
	Err    error   // what is wrong with it
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("stream %s: the block that ends with %s is corrupt: %v; reading goes on after it", e.Stream, e.Block, e.Err)
}

func (e *CorruptError) Unwrap() error { return e.Err }

// UnavailableError says that a store cannot be used now: a server that is away, starting, full, moving, or that refuses what it is asked; a file system that answers
// with an error. Calling again later may succeed. After an Append the outcome may be unknown; the next one finds out, and never stores anything twice.
type UnavailableError struct {
	Store  string // where, without secrets: the server, or the store's directory
	Reason string // one word: "connection", "timeout", "loading", "readonly", "full", "cluster", "busy", "refused", "io"
	Err    error  // what it said: one short, printable line
}

func (e *UnavailableError) Error() string {
	if e.Reason == refused {
		return fmt.Sprintf("the store refuses: %v (%s)", e.Err, e.Store)
	}
	return fmt.Sprintf("%s is unavailable (%s): %v", e.Store, e.Reason, e.Err)
}

func (e *UnavailableError) Unwrap() error { return e.Err }

// ConflictError says that a stream does not end where its writer left it, as after a server came back with older data, or a disk after an error without what had been
// written to it. The writer must open the stream again
// and resume from its checkpoint.
type ConflictError struct {
	Stream   string
	Expected EntryID
	Found    EntryID
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("stream %s ends with %s and not with %s, where its writer left it", e.Stream, e.Found, e.Expected)
}

// CursorExpiredError says that entries after the cursor have been dropped by retention: to go on would leave them out without a word.
type CursorExpiredError struct {
	Stream string
	Cursor EntryID
	Oldest EntryID // the greatest cursor after which nothing is missing yet: the newest entry that was dropped
}

func (e *CursorExpiredError) Error() string {
	return fmt.Sprintf("stream %s: entries after %s have been dropped by retention; reading may go on after %s", e.Stream, e.Cursor, e.Oldest)
}

// Temporary says whether an error passes by itself, so that the same call may succeed later: a disk that is full or does not answer, a server that is away.
func Temporary(err error) bool {
	_, full := errors.AsType[*NoSpaceError](err)
	_, away := errors.AsType[*UnavailableError](err)
	return full || away
}

// ConfigError says which argument or option is wrong, and what is accepted.
type ConfigError struct {
	Field   string // the option's or argument's name: "Addresses", "after", "limit"
	Message string // what it is and what is accepted: "is 0; accepted: 1 to 10000"
	Err     error  // ErrBadCursor, ErrBadBound or ErrBadName of an argument, which it also matches; nil of an option
}

func (e *ConfigError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%v: %s %s", e.Err, e.Field, e.Message)
	}
	return e.Field + " " + e.Message
}

func (e *ConfigError) Unwrap() error { return e.Err }

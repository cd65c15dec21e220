package persistence

import (
	"errors"
	"fmt"
)

// Errors that callers can match with errors.Is.
var (
	ErrNoStream     = errors.New("no such stream")
	ErrNoConsumer   = errors.New("no such consumer")
	ErrNoCheckpoint = errors.New("no checkpoint")
	ErrNotFound     = errors.New("no such entry")
	ErrStreamClosed = errors.New("stream is closed")
	ErrStoreClosed  = errors.New("store is closed")
	ErrLocked       = errors.New("another process holds the data directory")
	ErrVersion      = errors.New("the store was written by another version")
	ErrBadName      = errors.New("bad stream name")
	ErrBadCursor    = errors.New("malformed cursor")
	ErrBadBound     = errors.New("argument out of bounds")
)

// ClosedError returns an error that matches ErrStreamClosed and contains the reason for closing.
func ClosedError(stream, reason string) error {
	return fmt.Errorf("%w: %s (%.80s)", ErrStreamClosed, stream, reason)
}

// NoSpaceError says that the store stopped writing before the disk was full. Nothing was written.
// Appends work again when there is space.
type NoSpaceError struct {
	Dir  string // the store's directory
	Free uint64 // bytes free
	Need uint64 // bytes that must be free
}

func (e *NoSpaceError) Error() string {
	return fmt.Sprintf("%s has %d MiB free; writing needs %d MiB free", e.Dir, e.Free>>20, e.Need>>20)
}

// CorruptError says that a stored block cannot be read. Its entries are lost in this store. A
// reader continues after Block, which may be used as an exclusive cursor.
type CorruptError struct {
	Stream string
	First  EntryID // the block's first entry; zero if not known
	Block  EntryID // the block's last entry, its key
	Err    error   // what is wrong with it
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("stream %s: the block that ends with %s is corrupt: %v; reading goes on after it", e.Stream, e.Block, e.Err)
}

func (e *CorruptError) Unwrap() error { return e.Err }

// Reasons of an UnavailableError.
const (
	ReasonConnection = "connection" // there is no connection, or it ended
	ReasonTimeout    = "timeout"    // no answer came in time
	ReasonLoading    = "loading"    // the server reads its data after a start
	ReasonReadOnly   = "readonly"   // the server is a replica, or lacks replicas of its own
	ReasonFull       = "full"       // memory or disk is full
	ReasonCluster    = "cluster"    // the cluster is down, or moves the keys
	ReasonBusy       = "busy"       // another client holds the server up
	// ReasonRefused is for a command that the server refuses, and for an answer that this version
	// does not know. It passes when an operator has corrected the cause.
	ReasonRefused = "refused"
	ReasonIO      = "io" // the file system returned an error
)

// UnavailableError says that a store cannot be used now: a server is away, starting, full, moving
// or refuses a command, or a file system returned an error. A later call may succeed. After an
// Append the outcome may be unknown. The next Append finds out, and never stores an event twice.
type UnavailableError struct {
	Store  string // the server or the store's directory, without secrets
	Reason string // ReasonConnection to ReasonIO
	Err    error  // the cause in one short, printable line
}

func (e *UnavailableError) Error() string {
	if e.Reason == ReasonRefused {
		return fmt.Sprintf("the store refuses: %v (%s)", e.Err, e.Store)
	}
	return fmt.Sprintf("%s is unavailable (%s): %v", e.Store, e.Reason, e.Err)
}

func (e *UnavailableError) Unwrap() error { return e.Err }

// Repairable reports whether the store itself named a fault that an operator has to repair. The
// other reasons pass by themselves.
func (e *UnavailableError) Repairable() bool {
	switch e.Reason {
	case ReasonRefused, ReasonFull, ReasonReadOnly, ReasonIO:
		return true
	}
	return false
}

// ConflictError says that a stream does not end where its writer left it. This happens when a
// server comes back with older data, or when a disk loses written data after an error. The writer
// must open the stream again and resume from its checkpoint.
type ConflictError struct {
	Stream   string
	Expected EntryID
	Found    EntryID
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("stream %s ends with %s and not with %s, where its writer left it", e.Stream, e.Found, e.Expected)
}

// CursorExpiredError says that retention has dropped entries after the cursor. Reading on would
// silently skip them.
type CursorExpiredError struct {
	Stream string
	Cursor EntryID
	// Oldest is the newest entry that was dropped. It is the smallest cursor after which nothing is
	// missing.
	Oldest EntryID
}

func (e *CursorExpiredError) Error() string {
	return fmt.Sprintf("stream %s: entries after %s have been dropped by retention; reading may go on after %s", e.Stream, e.Cursor, e.Oldest)
}

// Temporary reports whether an error can pass without a change of the call, so that the same call
// may succeed later: a disk that is full or does not answer, or a server that is away.
func Temporary(err error) bool {
	_, full := errors.AsType[*NoSpaceError](err)
	_, away := errors.AsType[*UnavailableError](err)
	return full || away
}

// ConfigError names a wrong argument or option, and says what is accepted.
type ConfigError struct {
	Field   string // the option's or argument's name: "Addresses", "after", "limit"
	Message string // its value and the accepted values: "is 0; accepted: 1 to 10000"
	// Err is ErrBadCursor, ErrBadBound or ErrBadName for an argument, nil for an option. The
	// ConfigError also matches it.
	Err error
}

func (e *ConfigError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%v: %s %s", e.Err, e.Field, e.Message)
	}
	return e.Field + " " + e.Message
}

func (e *ConfigError) Unwrap() error { return e.Err }

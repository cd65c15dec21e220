package persistence

import (
	"errors"
	"fmt"
)

// The errors callers can match with errors.Is.
var (
	ErrNoStream     = errors.New("no such stream")
	ErrNoCheckpoint = errors.New("no checkpoint")
	ErrNotFound     = errors.New("no such entry")
	ErrStreamClosed = errors.New("stream is closed")
	ErrStoreClosed  = errors.New("store is closed")
	ErrStoreFailed  = errors.New("store failed and must be opened again") // a write may or may not be durable; only recovery can tell
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
	Block  EntryID // the block's last entry, its key
	Err    error   // what is wrong with it
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("stream %s: the block that ends with %s is corrupt: %v; reading goes on after it", e.Stream, e.Block, e.Err)
}

func (e *CorruptError) Unwrap() error { return e.Err }

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

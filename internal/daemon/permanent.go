package daemon

import (
	"errors"
	"io/fs"
	"syscall"

	"tempestd/persistence"
)

// Kinds of errors of a start that another start does not mend, until somebody changes something.
// They are matched with errors.Is.
var (
	// ErrTaken: another process has the port or the data directory.
	ErrTaken = errors.New("another process has it: another tempestd?")
	// ErrForbidden: the daemon's user lacks a permission.
	ErrForbidden = errors.New("the user of this process may not")
	// ErrVersion: the store was written by another version of tempestd.
	ErrVersion = persistence.ErrVersion
)

// permanent marks an error of the start that is of one of these kinds.
func permanent(err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE), errors.Is(err, persistence.ErrLocked):
		return &startError{ErrTaken, err}
	case errors.Is(err, fs.ErrPermission):
		return &startError{ErrForbidden, err}
	}
	return err
}

// startError is an error of the start and its kind.
type startError struct{ kind, err error }

func (e *startError) Error() string   { return e.err.Error() + " (" + e.kind.Error() + ")" }
func (e *startError) Unwrap() []error { return []error{e.kind, e.err} }

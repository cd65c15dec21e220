package jetstream

import (
	"errors"
	"fmt"
)

// The errors callers can match with errors.Is.
var (
	ErrBadJSON     = errors.New("not one valid JSON object") // the frame could not be stored as it is
	ErrBadEvent    = errors.New("not an event")              // valid JSON that lacks what every event has
	ErrBadEndpoint = errors.New("bad endpoint")
	ErrBadRequest  = errors.New("bad request")
	ErrForeignSeq  = errors.New("sequence cursor of another host")
	// ErrLegacySeq: the endpoint answered as a legacy server, which compares cursors as text; it must be asked by time.
	ErrLegacySeq = errors.New("sequence cursor for a legacy server")
	// ErrNeedsReconnect: the protocol cannot change a subscription's filter.
	ErrNeedsReconnect = errors.New("the filter cannot be changed on this connection; connect again with the new one")
	ErrClosed         = errors.New("closed by us")
	ErrStopped        = errors.New("stopped by the sink")
)

// FrameError says why a frame gave no event. Its text is bounded and holds nothing of the frame.
type FrameError struct {
	Kind   error  // ErrBadJSON or ErrBadEvent
	Detail string // what is wrong and what is accepted
	Offset int    // ErrBadJSON: the byte the frame is wrong at
}

func (e *FrameError) Error() string {
	if e.Kind == ErrBadJSON {
		return fmt.Sprintf("%v: %s at byte %d", e.Kind, e.Detail, e.Offset)
	}
	return fmt.Sprintf("%v: %s", e.Kind, e.Detail)
}

// Unwrap is the kind.
func (e *FrameError) Unwrap() error { return e.Kind }

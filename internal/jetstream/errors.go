package jetstream

import (
	"errors"
	"fmt"
)

// Errors that callers can match with errors.Is.
var (
	// ErrBadJSON: the frame could not be stored as it is.
	ErrBadJSON = errors.New("not one valid JSON object")
	// ErrBadEvent: valid JSON that lacks a member that every event has.
	ErrBadEvent    = errors.New("not an event")
	ErrBadEndpoint = errors.New("bad endpoint")
	ErrBadRequest  = errors.New("bad request")
	ErrForeignSeq  = errors.New("sequence cursor of another host")
	// ErrLegacySeq: the endpoint answered as a legacy server. Such a server compares cursors as
	// text, so it must be asked by time.
	ErrLegacySeq = errors.New("sequence cursor for a legacy server")
	// ErrNeedsReconnect: the protocol cannot change the filter of a subscription.
	ErrNeedsReconnect = errors.New("the filter cannot be changed on this connection; connect again with the new one")
	ErrClosed         = errors.New("closed by us")
	ErrStopped        = errors.New("stopped by the sink")
)

// FrameError says why a frame gave no event. Its text is bounded and contains nothing of the frame.
type FrameError struct {
	Kind   error  // ErrBadJSON or ErrBadEvent
	Detail string // what is wrong and what is accepted
	Offset int    // for ErrBadJSON: the index of the wrong byte
}

func (e *FrameError) Error() string {
	if e.Kind == ErrBadJSON {
		return fmt.Sprintf("%v: %s at byte %d", e.Kind, e.Detail, e.Offset)
	}
	return fmt.Sprintf("%v: %s", e.Kind, e.Detail)
}

// Unwrap returns Kind.
func (e *FrameError) Unwrap() error { return e.Kind }

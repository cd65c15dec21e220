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
	ErrForeignSeq  = errors.New("sequence cursor of another host")
	ErrClosed      = errors.New("closed by us")
	ErrStopped     = errors.New("stopped by the sink")
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

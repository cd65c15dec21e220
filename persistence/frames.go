package persistence

import (
	"encoding/json"
	"time"
)

// Frame is one entry as readers get it.
type Frame struct {
	ID    EntryID         `json:"id"`
	Event json.RawMessage `json:"event"` // the upstream's JSON, verbatim
}

// StreamFrames is what a Read or a Tail returns. The frames share memory that nothing writes to.
type StreamFrames struct {
	Frames       []Frame
	ClosedAt     time.Time // zero while the stream is open
	ClosedReason string
}

// IsClosed says whether the stream was closed for good when the frames were read.
func (f StreamFrames) IsClosed() bool { return !f.ClosedAt.IsZero() }

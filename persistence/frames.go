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

// StreamFrames is what a Read or a Tail returns. The frames share memory that nothing writes to. All of it is the stream at one instant: nothing says
// "closed" or "that is all" before its frames do.
type StreamFrames struct {
	Frames       []Frame
	ClosedAt     time.Time // zero while the stream is open
	ClosedReason string

	Cursor         EntryID // the exclusive cursor to go on with: the last frame, or how far nothing was found
	Oldest, Newest EntryID // the stream's entries; zero when it has none
	Behind         int64   // entries after Cursor; 0 at the tip
	// Appended is how many entries the stream was ever given up to Newest, kept or not. The entry at Cursor is thus number Appended−Behind: a
	// number that an entry keeps as long as it is stored, and that no later entry gets.
	Appended int64
}

// IsClosed says whether the stream was closed for good when the frames were read.
func (f StreamFrames) IsClosed() bool { return !f.ClosedAt.IsZero() }

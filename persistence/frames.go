package persistence

import (
	"encoding/json"
	"time"
)

// Frame is one entry as readers get it.
type Frame struct {
	ID    EntryID         `json:"id"`
	Event json.RawMessage `json:"event"` // the JSON of the upstream, unchanged
}

// StreamFrames is the result of a Read or a Tail. Nothing writes to the memory that the frames
// share. All fields describe the stream at one instant: the tip or the end of a closed stream is
// reported (Behind is 0) only with the frames up to it.
type StreamFrames struct {
	Frames       []Frame
	ClosedAt     time.Time // zero while the stream is open
	ClosedReason string

	// Cursor is the exclusive cursor to continue with: the last frame, or without frames the place
	// up to which there is no entry.
	Cursor         EntryID
	Oldest, Newest EntryID // of the stream; zero when it has no entries
	Behind         int64   // entries after Cursor; 0 at the tip
	// Appended is how many entries were ever appended to the stream up to Newest, kept or not. So
	// the entry at Cursor has number Appended−Behind. An entry keeps its number as long as it is
	// stored, and no later entry gets it.
	Appended int64
}

// IsClosed reports whether the stream was closed for good when the frames were read.
func (f StreamFrames) IsClosed() bool { return !f.ClosedAt.IsZero() }

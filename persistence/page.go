package persistence

import (
	"encoding/json"
	"time"
)

// Entry is an entry of a stream as readers get it.
type Entry struct {
	ID    EntryID         `json:"id"`
	Event json.RawMessage `json:"event"` // the JSON of the upstream, unchanged
}

// Page is what a Read or a Tail returns. On the wire, in the JSON of the HTTP API, its Entries are
// named "frames". Nothing writes to the memory that the entries share. All fields describe the stream at one instant: the tip or the end of a closed stream is
// reported (Behind is 0) only with the entries up to it.
type Page struct {
	Entries      []Entry
	ClosedAt     time.Time // zero while the stream is open
	ClosedReason string

	// Cursor is the exclusive cursor to continue with: the last entry. In an empty page it is the
	// greatest ID up to which there is no entry.
	Cursor         EntryID
	Oldest, Newest EntryID // of the stream; zero when it has no entries
	Behind         int64   // entries after Cursor; 0 at the tip
	// Appended is how many entries were ever appended to the stream up to Newest, kept or not. So
	// the entry at Cursor has number Appended−Behind. An entry keeps its number as long as it is
	// stored, and no later entry gets it.
	Appended int64
}

// IsClosed reports whether the stream was closed for good when the entries were read.
func (p Page) IsClosed() bool { return !p.ClosedAt.IsZero() }

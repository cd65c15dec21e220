package messages

import "time"

// Cursor is the position of a feed as people see it, and as it is moved to another machine.
type Cursor struct {
	Feed     string    `json:"feed"`
	At       time.Time `json:"at"` // when it was read
	Position Position  `json:"position"`
	// CoveredUS is the moment, on the clock of the position's host, up to which nothing is missing,
	// Unix µs; 0 without a position.
	CoveredUS int64   `json:"covered_us"`
	LastID    EntryID `json:"last_id"` // the stream's last entry, 0-0 for none
}

// Trimmed is what a trim on request has dropped.
type Trimmed struct {
	Entries int64 `json:"dropped_entries"`
	Bytes   int64 `json:"dropped_bytes"`
	Kept    int64 `json:"entries"` // that the stream has now
}

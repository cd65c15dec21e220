package backfill

import (
	"context"
	"time"

	"tempestd/internal/accounts"
	"tempestd/messages"
)

// Held tells a source without revs what the stream holds, so that it hands over nothing that is
// there. It is used by one goroutine at a time.
type Held interface {
	// Revs returns the last revs that were stored before the gap, by account. Accounts of which the
	// stream has nothing from before the gap are missing, and, if it has too much, those that did
	// nothing shortly before it.
	Revs(ctx context.Context) (map[string]string, error)
	// Records reads what the stream holds of some accounts: with all from its beginning on, as far
	// as that is not too much, and otherwise from shortly before the gap on.
	Records(ctx context.Context, dids []string, all bool) (HeldRecords, error)
}

// HeldRecords are the records of some accounts that a stream holds.
type HeldRecords interface {
	// Refresh reads on to the stream's end.
	Refresh(ctx context.Context) error
	// Compared is the last entry that was read.
	Compared() messages.EntryID
	// Since is the time of the first entry that was read.
	Since() time.Time
	// Compare says what the stream has at a record's place.
	Compare(r accounts.Record) Standing
	// Alive lists the records of an account that are believed to be there, as of the gap's end.
	Alive(did string) []AliveRecord
	// StillAlive says whether nothing has happened to a record since Alive listed it.
	StillAlive(did string, r AliveRecord) bool
}

// Standing is how a record stands to what a stream has at its place.
type Standing uint8

// Standings.
const (
	// Absent: the stream has nothing at the place.
	Absent Standing = iota
	// Differs: the stream has another record there, from before or within the gap.
	Differs
	// Settled: the stream has the record, or an event from after the gap at its place.
	Settled
)

// AliveRecord is a record that the stream believes to be there.
type AliveRecord struct {
	accounts.Path
	At messages.EntryID // the entry that says so
}

package messages

import "encoding/json"

// The conversation about the ledger's gaps. The writer alone gives rows their versions, because it
// alone makes them durable:
//
//	backfill → writer          LedgerQuery                 "which rows are there?"
//	writer → feed → backfill   LedgerLoaded                also at each start of the writer
//	writer → feed → backfill   GapRecorded, GapChanged     a row, as it is stored now
//	backfill → writer          BeginFetch                  "a source fetches this gap now"
//	writer → feed → backfill   FetchReady                  "I can compare what comes with the stream"
//	backfill → writer          AppendFetched …
//	backfill → writer          EndFetch                    "that was all"
//	writer → feed → backfill   FetchDone                   everything that was fetched is durable
//	backfill → writer          ChangeGap                   "this is the row's state now"
//	feed → backfill            RepairGap, DismissGap       an operator's command; answered with GapAnswer

// LedgerQuery asks the writer for the rows of the ledger.
type LedgerQuery struct{}

// LedgerLoaded has all rows of the ledger, in no order. The writer that sends it knows of no fetch.
type LedgerLoaded struct{ Rows []GapRow }

// StopFetches tells the backfill to fetch no gap until it is told to start again.
type StopFetches struct{}

// GapChanged says that a row of the ledger has changed, with or without entries.
type GapChanged struct{ Row GapRow }

// BeginFetch tells the writer that a source will fetch the events of a gap. Row is the row with its
// new state and source.
type BeginFetch struct {
	ID  uint64 // the number of the fetch; greater than that of the fetch before
	Row GapRow
}

// FetchReady answers BeginFetch: the writer has loaded what it compares the fetched events with.
type FetchReady struct {
	ID  uint64
	Row GapRow
}

// AppendFetched hands the writer a batch that a source fetched, at most 1024 events. The events that
// the stream lacks are appended, in one step with the row's progress. Live batches go first.
type AppendFetched struct {
	ID             uint64
	Batch          *Batch
	At             json.RawMessage // GapRow.Progress once the batch is stored
	Bytes, Planned int64           // as in GapRow, of this fetch alone
	Release        chan<- *Batch
}

// EndFetch says that a fetch has handed over all its batches.
type EndFetch struct {
	ID      uint64
	Batches uint64
	Bytes   int64 // downloaded by this fetch
}

// FetchDone answers EndFetch, or a BeginFetch that cannot be. Err is nil if every batch is stored.
type FetchDone struct {
	ID  uint64
	Row GapRow // as it is now, with its progress
	Err error
}

// ChangeGap tells the writer to change a row: its State, Source, Attempts, Planned, Why, Missing,
// RetryAt, Tried and rest. With another source, or after a final state, its Progress is lost. A state that becomes final gets a closing entry in the stream.
type ChangeGap struct{ Row GapRow }

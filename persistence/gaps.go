package persistence

import (
	"context"

	"tempestd/messages"
)

// MaxGaps is the largest number of rows of one stream's ledger. Beyond it the oldest final rows are
// dropped; their gap entries stay in the stream.
const MaxGaps = 10_000

// Ledger has the rows about a stream's gaps. It outlives the gaps' entries, which retention drops.
// It is safe for concurrent use.
type Ledger interface {
	// Gaps returns the rows of the stream, oldest first by OpenedAt and then by ID. It includes
	// the rows that the stream's checkpoint carries (messages.Checkpoint.Gaps), so it agrees with
	// the entries at every moment.
	Gaps(ctx context.Context) ([]messages.GapRow, error)
	// SaveGaps makes the rows durable, in one step. A row that is stored with the same or a greater
	// version stays. In a shared store it returns a *FencedError when the stream has another owner.
	SaveGaps(ctx context.Context, rows []messages.GapRow) error
}

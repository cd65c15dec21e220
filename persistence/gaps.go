package persistence

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"tempestd/messages"
)

// MaxGaps is the largest number of rows of one stream's ledger. Beyond it rows are dropped, a tenth
// of them at once: the oldest final rows first, then the oldest of the others. Their gap entries
// stay in the stream.
const MaxGaps = 10_000

// Ledger has the rows about a stream's gaps. It outlives the gaps' entries, which retention drops.
// It is safe for concurrent use.
type Ledger interface {
	// Gaps returns the rows of the stream, oldest first by OpenedAt and then by ID. It includes
	// the rows that the stream's checkpoint carries (messages.Checkpoint.Gaps), so it agrees with
	// the entries at every moment. Nothing may change the memory that the rows share.
	Gaps(ctx context.Context) ([]messages.GapRow, error)
	// SaveGaps makes the rows durable. A row that is stored with the same or a greater version
	// stays. After an error some of the rows may be stored; saving all of them again changes
	// nothing else. In a shared store it returns a *FencedError when the stream has another owner.
	SaveGaps(ctx context.Context, rows []messages.GapRow) error
}

// MergeGaps merges the rows that a store has with those that the stream's checkpoint carries. Of
// two rows with the same ID the one with the greater version remains. The result has the order of
// Ledger.Gaps.
func MergeGaps(stored, carried []messages.GapRow) []messages.GapRow {
	all := slices.Concat(stored, carried)
	slices.SortStableFunc(all, func(a, b messages.GapRow) int {
		return cmp.Or(strings.Compare(a.ID, b.ID), -cmp.Compare(a.Version, b.Version))
	})
	all = slices.CompactFunc(all, func(a, b messages.GapRow) bool { return a.ID == b.ID })
	slices.SortFunc(all, func(a, b messages.GapRow) int {
		return cmp.Or(a.OpenedAt.Compare(b.OpenedAt), strings.Compare(a.ID, b.ID))
	})
	return all
}

// SurplusGaps returns the rows that a store drops from a ledger of more than MaxGaps rows, which
// are in the order of Ledger.Gaps.
func SurplusGaps(rows []messages.GapRow) []messages.GapRow {
	if len(rows) <= MaxGaps {
		return nil
	}
	ordered := slices.Clone(rows)
	slices.SortStableFunc(ordered, func(a, b messages.GapRow) int {
		switch {
		case a.State.Final() == b.State.Final():
			return 0
		case a.State.Final():
			return -1
		}
		return 1
	})
	return ordered[:len(rows)-MaxGaps*9/10]
}

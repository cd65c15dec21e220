package messages

import "time"

// GapStatus is a row of a ledger as the API shows it.
type GapStatus struct {
	GapRow
	From *time.Time `json:"from,omitempty"` // FromUS, omitted while it is unknown
	To   *time.Time `json:"to,omitempty"`   // likewise
}

// NewGapStatus returns the row with its range as times.
func NewGapStatus(row GapRow) GapStatus {
	at := func(us int64) *time.Time {
		if us == 0 {
			return nil
		}
		t := time.UnixMicro(us).UTC()
		return &t
	}
	return GapStatus{row, at(row.FromUS), at(row.ToUS)}
}

// GapList is what the API tells of gaps.
type GapList struct {
	Gaps []GapStatus `json:"gaps"` // those first that may still be closed; of each kind the newest first
	// States counts the gaps by state, whichever of them the list has.
	States map[GapState]int `json:"states"`
}

// GapPrice is what the sources would give of a gap.
type GapPrice struct {
	Gap    GapStatus  `json:"gap"`
	Offers []GapOffer `json:"offers"`
}

package messages

// RepairGap is an operator's command to a feed: to fetch the events of a gap now, whatever the
// gap's state and the feed's policy. The feed answers with a GapAnswer.
type RepairGap struct {
	ID     string // of the row
	DryRun bool   // only say what the sources would cost
}

// DismissGap is an operator's command to a feed: to give a gap up. The feed answers with a
// GapAnswer.
type DismissGap struct {
	ID  string // of the row
	Why string // one line, for the row
}

// GapAnswer answers RepairGap and DismissGap. Err matches ErrNoGap if the feed has no such gap, and
// ErrNotNow if the feed cannot follow the command now.
type GapAnswer struct {
	Row    GapRow     // after the command
	Offers []GapOffer // of a dry run, in the order in which the sources would be tried
	Err    error
}

// GapOffer is what one source would give of a gap.
type GapOffer struct {
	Source   GapSource `json:"source"`
	Bytes    int64     `json:"bytes"` // to download
	Requests int64     `json:"requests"`
	Events   int64     `json:"events"` // at most; 0 if unknown
	// Why says why the source would give nothing, or cannot say; "" if it would be fetched from.
	Why string `json:"why,omitempty"`
}

package messages

import "time"

// FeedHistory is what a feed remembers of itself, for the status page. It begins with the daemon and is bounded in every part.
type FeedHistory struct {
	Feed        string       `json:"feed"`
	Now         time.Time    `json:"now"`         // the daemon's clock
	Started     time.Time    `json:"started"`     // when remembering began
	Transitions []Transition `json:"transitions"` // oldest first, as are the others
	Restarts    []Restart    `json:"restarts"`
	Gaps        []GapNote    `json:"gaps"`
	StepSeconds int          `json:"step_s"`  // length of a sample
	Samples     []Sample     `json:"samples"` // whole ones only
}

// Restart is one actor restarted because of a fault of ours.
type Restart struct {
	At     time.Time `json:"at"`
	Actor  string    `json:"actor"`
	Reason string    `json:"reason"` // one line, bounded, free of secrets
}

// GapNote is one gap entry written.
type GapNote struct {
	At time.Time `json:"at"`
	ID EntryID   `json:"id"` // the entry's
	Gap
}

// Sample is what a feed did in one step of time.
type Sample struct {
	At        time.Time `json:"at"`     // its beginning
	Events    uint64    `json:"events"` // entries stored
	LagMS     *int64    `json:"lag_ms"` // the greatest of its batches, nil where nothing was stored
	Suspicion float64   `json:"phi"`    // the greatest
}

// HistoryQuery asks a feed for its FeedHistory: what came at or after Since, in samples no shorter than Step.
type HistoryQuery struct {
	Since time.Time
	Step  time.Duration
}

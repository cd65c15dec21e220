package messages

import "time"

// FeedHistory is what a feed remembers of itself, for the status page. It begins when the daemon
// starts, and every part of it is bounded.
type FeedHistory struct {
	Feed        string       `json:"feed"`
	Now         time.Time    `json:"now"`         // by the daemon's clock
	Started     time.Time    `json:"started"`     // when the history began
	Transitions []Transition `json:"transitions"` // oldest first, like the others
	Restarts    []Restart    `json:"restarts"`
	Gaps        []GapNote    `json:"gaps"`
	StepSeconds int          `json:"step_s"`  // length of a sample
	Samples     []Sample     `json:"samples"` // complete samples only
}

// Restart is one restart of an actor because of a fault of ours.
type Restart struct {
	At     time.Time `json:"at"`
	Actor  string    `json:"actor"`
	Reason string    `json:"reason"` // one line, bounded, without secrets
}

// GapNote is one gap entry that was written.
type GapNote struct {
	At time.Time `json:"at"`
	ID EntryID   `json:"id"` // of the gap entry
	Gap
}

// Sample is what a feed did in one step of time.
type Sample struct {
	At        time.Time `json:"at"`     // its beginning
	Events    uint64    `json:"events"` // entries stored
	LagMS     *int64    `json:"lag_ms"` // the greatest of its batches, nil if nothing was stored
	Suspicion float64   `json:"phi"`    // the greatest
}

// HistoryQuery asks a feed for its FeedHistory: everything at or after Since, in samples that are
// not shorter than Step.
type HistoryQuery struct {
	Since time.Time
	Step  time.Duration
}

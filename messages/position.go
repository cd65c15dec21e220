package messages

import "time"

// Position is a place in an upstream's stream: the last event a feed has durably stored or knowingly passed over. It holds
// everything a resume may need; which part is sent is decided at resume (DESIGN.md, Resume).
type Position struct {
	Host   string `json:"host,omitempty"`    // the upstream instance that sent the event here, and Seq, "host:port"; "" where no event stands
	Seq    int64  `json:"seq,omitempty"`     // its sequence number, 0 where unknown
	TimeUS int64  `json:"time_us,omitempty"` // its time, Unix microseconds, 0 before the first event
}

// IsZero says whether nothing was ever read.
func (p Position) IsZero() bool { return p == Position{} }

// Checkpoint is what a restart needs. One travels with every append, in the same transaction as the entries (I1).
type Checkpoint struct {
	Position
	CommitUS int64   `json:"commit_us,omitempty"` // upstream time of the newest commit stored, Unix microseconds: where to resume after a blind host
	Filter   uint64  `json:"filter,omitempty"`    // hash of the filter the position was reached with
	LastID   EntryID `json:"last_id"`             // the stream's last entry when this was taken
	Clean    bool    `json:"-"`                   // the upstream had ended the connection in good order (close 1001); only the process that saw it knows
	AtTip    int64   `json:"at_tip_us,omitempty"` // Unix µs up to which a healthy connection had nothing more to give, 0 unknown
	Saved    int64   `json:"saved_us,omitempty"`  // Unix µs when this was taken
}

// CoveredUS is the Unix µs up to which nothing is missing: the last event's time, or the last moment a healthy connection
// stood at the tip. A feed that gets one event a day covers more than its last event tells.
func (c Checkpoint) CoveredUS() int64 { return max(c.TimeUS, c.AtTip) }

// GapCause says why events are missing.
type GapCause string

// Why a gap entry was written.
const (
	GapReplayWindow GapCause = "replay_window" // we were away for longer than the feed's replay_window
	GapServerMoved  GapCause = "server_moved"  // the upstream started later than it was asked to
	GapHandover     GapCause = "handover"      // a legacy server's change from replay to live left events out, and they could not be fetched
)

// Gap is a known or suspected loss (I4). It becomes an entry of the stream.
type Gap struct {
	Host   string   `json:"host"`
	FromUS int64    `json:"from_us"` // Unix µs of the last event before it
	ToUS   int64    `json:"to_us"`   // Unix µs of the first event after it, 0 while unknown
	Cause  GapCause `json:"cause"`
}

// Duration is how much upstream time is missing.
func (g Gap) Duration() time.Duration {
	return time.Duration(max(g.ToUS-g.FromUS, 0)) * time.Microsecond
}

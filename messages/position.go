package messages

import (
	"encoding/json"
	"time"
)

// Position is a place in one upstream host's stream: everything that the host sends up to there is stored, or was knowingly passed
// over. It holds whatever a resume may need; which part is sent is decided at resume.
type Position struct {
	Host   string `json:"host,omitempty"`    // the instance that sent the event here, "host:port"; its clock and its numbers
	Seq    int64  `json:"seq,omitempty"`     // the event's sequence number, 0 where unknown
	TimeUS int64  `json:"time_us,omitempty"` // the event's time on the host's clock, Unix µs, 0 before the first; never beyond the host's present
	// StampUS is what the event itself says its time is, where that is not TimeUS: a time beyond the host's present is no place to ask for.
	StampUS int64 `json:"stamp_us,omitempty"`
	// Moment says that no event stands here: it is a moment from which on nothing is missing, such as that of the first connection.
	Moment bool `json:"moment,omitempty"`
}

// IsZero says whether nothing was ever read.
func (p Position) IsZero() bool { return p == Position{} }

// At is the position's moment, on its host's clock.
func (p Position) At() UpstreamTime { return UpstreamTime{Host: p.Host, US: p.TimeUS} }

// IsOf says whether an event with the number and the time is the one that stands at the position: the very one, because a host
// that numbers its events anew stamps them anew.
func (p Position) IsOf(seq, timeUS int64) bool {
	stamp := p.TimeUS
	if p.StampUS != 0 {
		stamp = p.StampUS
	}
	return seq == p.Seq && timeUS == stamp
}

// Checkpoint is what a restart needs. One travels with every append, in the same transaction as the entries (I1).
type Checkpoint struct {
	Position
	// Replay is where a replay stands that has not reached the position yet: everything its host sends up to there is stored. A
	// connection that ends within a replay goes on from here; the position itself stays where it is.
	Replay Position `json:"replay,omitzero"`
	// The first event that was ever stored: its upstream time, Unix µs, and, where it had one, its number and the host that gave it.
	FirstUS   int64  `json:"first_us,omitempty"`
	FirstSeq  int64  `json:"first_seq,omitempty"`
	FirstHost string `json:"first_host,omitempty"`
	CommitUS  int64  `json:"commit_us,omitempty"` // upstream time of the newest commit stored, Unix µs: where to resume after a blind host
	Filter    uint64 `json:"filter,omitempty"`    // hash of the filter that holds
	// FilterUS is the moment, on the position's host's clock, from which Filter holds: of what is older only that is stored which
	// the filter before it wanted, too. 0 where Filter holds since the beginning.
	FilterUS int64   `json:"filter_us,omitempty"`
	LastID   EntryID `json:"last_id"`             // the stream's last entry when this was taken
	Clean    bool    `json:"-"`                   // the upstream had ended the connection in good order (close 1001); only the process that saw it knows
	AtTip    int64   `json:"at_tip_us,omitempty"` // the last moment, on the position's host's clock, at which a healthy connection had nothing more to give; 0 unknown
	Saved    int64   `json:"saved_us,omitempty"`  // when this was taken, by our wall clock, Unix µs
}

// Covered is the moment up to which nothing is missing, on the position's host's clock: the last event's, or the last one at which a
// healthy connection stood at the tip. A feed that gets one event a day covers more than its last event tells.
func (c Checkpoint) Covered() UpstreamTime {
	return UpstreamTime{Host: c.Host, US: max(c.TimeUS, c.AtTip)}
}

// GapCause says why events are missing.
type GapCause string

// Why a gap entry was written.
const (
	GapReplayWindow GapCause = "replay_window" // we were away for longer than the feed's replay_window
	GapServerMoved  GapCause = "server_moved"  // the upstream started later than it was asked to
	GapHandover     GapCause = "handover"      // a legacy server's change from replay to live left events out, and they could not be fetched
	GapOversized    GapCause = "oversized"     // one event is larger than max_message_size
	GapSkipped      GapCause = "skipped"       // connections ended again and again at the same place, which was passed
	GapStoreLost    GapCause = "store_lost"    // the store lost what it held, and the upstream cannot send it again
	GapCorrupt      GapCause = "corrupt"       // a stored block cannot be read, and its events could not be fetched again
)

// Gap is a known or suspected loss (I4). It becomes an entry of the stream.
type Gap struct {
	Host   string   `json:"host"`
	FromUS int64    `json:"from_us"` // Unix µs, on the host's clock, of the last event before it
	ToUS   int64    `json:"to_us"`   // likewise of the first event after it, 0 while unknown
	Cause  GapCause `json:"cause"`
	// Event is what is known of the one event that is missing, where it is one.
	Event *MissingEvent `json:"event,omitempty"`
}

// MissingEvent is what is known of an event that could not be stored.
type MissingEvent struct {
	TimeUS int64 `json:"time_us,omitempty"` // its upstream time
	Seq    int64 `json:"seq,omitempty"`
	Bytes  int64 `json:"bytes,omitempty"` // of its JSON or, where that could not be told, of its packed message

	DID        string `json:"did,omitempty"`
	Rev        string `json:"rev,omitempty"`
	Collection string `json:"collection,omitempty"`
	RKey       string `json:"rkey,omitempty"`
	Operation  string `json:"operation,omitempty"`
}

// Entry is the JSON of the gap's entry: the shape of an upstream event, with a kind of our own.
func (g Gap) Entry() []byte {
	buf, err := json.Marshal(struct {
		Kind   string `json:"kind"`
		TimeUS int64  `json:"time_us"`
		Gap    Gap    `json:"gap"`
	}{KindGap.String(), g.ToUS, g})
	if err != nil {
		panic(err) // strings and integers always encode
	}
	return buf
}

// Duration is how much upstream time is missing.
func (g Gap) Duration() time.Duration {
	return time.Duration(max(g.ToUS-g.FromUS, 0)) * time.Microsecond
}

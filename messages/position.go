package messages

import "encoding/json"

// Position is a place in the events of one upstream host. Everything that the host sends up to this
// place is stored, or was passed over knowingly. A Position has everything that a resume may need;
// the resume decides which part is sent.
type Position struct {
	// Host is the instance that sent the event here, "host:port". The number and the time are the
	// instance's.
	Host string `json:"host,omitempty"`
	Seq  int64  `json:"seq,omitempty"` // the event's sequence number, 0 if unknown
	// TimeUS is the event's time on the host's clock, Unix µs; 0 before the first event. It is
	// never later than the host's present.
	TimeUS int64 `json:"time_us,omitempty"`
	// StampUS is the time that the event itself has, if that is not TimeUS: a time later than the
	// host's present cannot be asked for.
	StampUS int64 `json:"stamp_us,omitempty"`
	// Moment says that there is no event at this position. It is a moment, such as that of the
	// first connection, from which on nothing is missing.
	Moment bool `json:"moment,omitempty"`
}

// IsZero says whether nothing was ever read.
func (p Position) IsZero() bool { return p == Position{} }

// At returns the position's moment, on its host's clock.
func (p Position) At() UpstreamTime { return UpstreamTime{Host: p.Host, US: p.TimeUS} }

// IsOf says whether an event with this number and time is exactly the event at the position. Both
// must be equal, because a host that renumbers its events also gives them new times.
func (p Position) IsOf(seq, timeUS int64) bool {
	stamp := p.TimeUS
	if p.StampUS != 0 {
		stamp = p.StampUS
	}
	return seq == p.Seq && timeUS == stamp
}

// Checkpoint is what a restart needs. Every append stores one in the same atomic step as the
// entries (I1).
type Checkpoint struct {
	Position
	// Replay is the place of a replay that has not reached the position yet: everything that its
	// host sends up to this place is stored. If the connection ends during the replay, the next one
	// continues here. The position itself does not change meanwhile.
	Replay Position `json:"replay,omitzero"`
	// The first event that was ever stored: its upstream time, Unix µs, and, if it had a number,
	// that number and the host that gave it.
	FirstUS   int64  `json:"first_us,omitempty"`
	FirstSeq  int64  `json:"first_seq,omitempty"`
	FirstHost string `json:"first_host,omitempty"`
	// CommitUS is the upstream time of the newest commit stored, Unix µs. The feed resumes here
	// after a host that sent none of the wanted events.
	CommitUS int64  `json:"commit_us,omitempty"`
	Filter   uint64 `json:"filter,omitempty"` // hash of the present filter
	// FilterUS is the moment, on the clock of the position's host, from which Filter applies. An
	// older event is stored only if the previous filter wanted it too. 0 if Filter applied from the
	// beginning.
	FilterUS int64   `json:"filter_us,omitempty"`
	LastID   EntryID `json:"last_id"` // the stream's last entry at this moment
	// AtTip is the last moment, on the clock of the position's host, at which a healthy connection
	// had nothing more to give; 0 if unknown.
	AtTip int64 `json:"at_tip_us,omitempty"`
	Saved int64 `json:"saved_us,omitempty"` // when this was taken, by our wall clock, Unix µs
	// Ledger says that every gap entry of the stream has its row in the ledger. It is false where an
	// earlier version has written the stream.
	Ledger bool `json:"ledger,omitempty"`
	// Bare is where the stream has entries without a rev; zero if none is within reach.
	Bare BareRange `json:"bare,omitzero"`
	// Fill is how far the feed has come with the history that it begins with; nil when it has it.
	Fill *Fill `json:"fill,omitempty"`
	// Gaps are the rows of the ledger that changed with this append or with one before it, and that
	// the ledger itself may not have yet.
	Gaps []GapRow `json:"gaps,omitempty"`
}

// BareRange is the part of a stream that has bare entries: records that a repair found at a source
// without revs. While it is within reach, events that come live are compared with them.
type BareRange struct {
	From EntryID `json:"from"` // the first of them, or an entry before it
	To   EntryID `json:"to"`   // the last of them, or an entry after it
}

// IsZero says whether there are none.
func (r BareRange) IsZero() bool { return r.To.IsZero() }

// Fill is the state of a feed that begins with history. A Fill is immutable.
type Fill struct {
	// SinceUS is the time at which the feed begins, Unix µs: older events are left out. 0 leaves
	// out none.
	SinceUS int64 `json:"since_us,omitempty"`
	// Point is how far the archive of the position's host is stored; nil while the history comes
	// from the socket. Only the reader of the archive interprets it.
	Point json.RawMessage `json:"point,omitempty"`
}

// Covered returns the moment, on the clock of the position's host, up to which nothing is missing.
// It is the time of the last event, or the last moment at which a healthy connection was at the
// tip. For a feed that gets one event a day the second is much later.
func (c Checkpoint) Covered() UpstreamTime {
	return UpstreamTime{Host: c.Host, US: max(c.TimeUS, c.AtTip)}
}

// GapCause says why events are missing.
type GapCause string

// Causes of gap entries.
const (
	// GapReplayWindow: the feed was away for longer than its replay_window.
	GapReplayWindow GapCause = "replay_window"
	GapServerMoved  GapCause = "server_moved" // the upstream began later than it was asked to
	// GapHandover: a legacy server left events out when it changed from replay to live, and they
	// could not be fetched.
	GapHandover GapCause = "handover"
	// GapOversized: one event is larger than max_message_size.
	GapOversized GapCause = "oversized"
	// GapSkipped: connections ended again and again at the same place, which was passed over.
	GapSkipped GapCause = "skipped"
	// GapOperator: an operator moved the feed's position forward.
	GapOperator GapCause = "operator"
	// GapStoreLost: the store lost entries, and the upstream cannot send them again.
	GapStoreLost GapCause = "store_lost"
	// GapCorrupt: a stored block cannot be read, and its events could not be fetched again.
	GapCorrupt GapCause = "corrupt"
)

// Gap is a known or suspected loss (I4). It becomes a gap entry of the stream.
type Gap struct {
	Host   string `json:"host"`
	FromUS int64  `json:"from_us"` // Unix µs, on the host's clock, of the last event before it
	ToUS   int64  `json:"to_us"`   // the same for the first event after it, 0 while unknown
	// FromSeq and ToSeq are the host's numbers of the same two events, 0 if unknown.
	FromSeq int64    `json:"from_seq,omitempty"`
	ToSeq   int64    `json:"to_seq,omitempty"`
	Cause   GapCause `json:"cause"`
	// Event describes the missing event, if exactly one is missing.
	Event *MissingEvent `json:"event,omitempty"`
}

// MissingEvent is what is known of an event that could not be stored.
type MissingEvent struct {
	TimeUS int64 `json:"time_us,omitempty"` // its upstream time, Unix µs
	Seq    int64 `json:"seq,omitempty"`
	// Bytes is the size of its JSON or, if that is unknown, of its compressed message.
	Bytes int64 `json:"bytes,omitempty"`

	DID        string `json:"did,omitempty"`
	Rev        string `json:"rev,omitempty"`
	Collection string `json:"collection,omitempty"`
	RKey       string `json:"rkey,omitempty"`
	Operation  string `json:"operation,omitempty"`
}

// Entry returns the JSON of the gap entry: the shape of an upstream event, with our own kind.
func (g Gap) Entry() []byte {
	buf, err := json.Marshal(struct {
		Kind   string `json:"kind"`
		TimeUS int64  `json:"time_us"`
		Gap    Gap    `json:"gap"`
	}{KindGap.String(), g.ToUS, g})
	if err != nil {
		panic(err) // cannot happen: strings and integers always encode
	}
	return buf
}

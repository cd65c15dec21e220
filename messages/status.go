package messages

import "time"

// Epoch numbers the connections of one feed: 1 for the first since the daemon started, one more for
// each next one.
type Epoch uint64

// FeedState is the state of a feed.
type FeedState string

// States of a feed.
const (
	// StateConnecting: the first connection since the start is being made.
	StateConnecting FeedState = "connecting"
	StateLive       FeedState = "live" // connected; events are stored
	// StateBackpressured: the store does not keep up, or refuses. The feed does not read, or does
	// not even connect.
	StateBackpressured FeedState = "backpressured"
	// StateFilling: the feed begins with history, which is read from the upstream's archive.
	StateFilling FeedState = "filling"
	// StateDisconnected: the connection ended; the next one waits for its backoff.
	StateDisconnected FeedState = "disconnected"
	StateReconnecting FeedState = "reconnecting" // a later connection is being made
	StateGapped       FeedState = "gapped"       // connected after a loss that is being recorded
	StatePaused       FeedState = "paused"       // by an operator
	// StateFailed: the upstream refuses us for good. The feed retries slowly.
	StateFailed FeedState = "failed"
	// StateStopped: the daemon is stopping, or the stream was closed for good.
	StateStopped FeedState = "stopped"
	StateStandby FeedState = "standby" // another daemon owns the stream
)

// FeedStates lists every state, in the order in which a feed usually has them. It must not be
// changed.
var FeedStates = []FeedState{StateConnecting, StateFilling, StateLive, StateBackpressured, StateDisconnected, StateReconnecting,
	StateGapped, StatePaused, StateFailed, StateStopped, StateStandby}

// Transition is one change of a feed's state.
type Transition struct {
	At     time.Time `json:"at"`
	From   FeedState `json:"from"`
	To     FeedState `json:"to"`
	Reason string    `json:"reason,omitempty"` // one line, bounded, without secrets
}

// FeedStatus is a snapshot of one feed, as HTTP and the status command show it.
type FeedStatus struct {
	Feed   string    `json:"feed"`
	State  FeedState `json:"state"`
	Since  time.Time `json:"since"` // when State began
	Reason string    `json:"reason,omitempty"`
	// AwaySince is when the feed was last connected, or everything until then is stored; nil while
	// it is live. Attempts between do not change it.
	AwaySince   *time.Time `json:"away_since,omitempty"`
	Epoch       Epoch      `json:"epoch"`
	Endpoint    string     `json:"endpoint"`              // without userinfo and query
	Protocol    string     `json:"protocol,omitempty"`    // as spoken on the last connection
	Compression string     `json:"compression,omitempty"` // as on the last connection
	Position    Position   `json:"position"`              // durable position upstream
	LastID      *EntryID   `json:"last_id,omitempty"`
	LastFrameAt *time.Time `json:"last_frame_at,omitempty"` // any frame, wanted or not
	// LagMS is how far the feed is behind its upstream: the time since the newest stored event. At
	// the tip it is the time that this event took to get here, or 0 if no event comes.
	LagMS         int64        `json:"lag_ms"`
	EventsPerSec  float64      `json:"events_per_sec"` // entries stored, over the last 10 s
	Stored        uint64       `json:"stored"`         // entries stored since the daemon started
	Duplicates    uint64       `json:"duplicates"`     // events dropped: the stream held them
	Bad           uint64       `json:"bad_frames"`     // frames that could not be parsed
	Reconnects    uint64       `json:"reconnects"`     // connections made after the first
	Restarts      uint64       `json:"restarts"`       // actor restarts because of a fault of ours
	Stalls        uint64       `json:"stalls"`         // ForceReconnects sent by the watchdog
	Gaps          uint64       `json:"gaps"`           // gap entries written
	Backfilled    uint64       `json:"backfilled"`     // events that a second connection fetched
	Suspicion     float64      `json:"suspicion"`      // phi of the watchdog's adaptive detector
	NextAttemptAt *time.Time   `json:"next_attempt_at,omitempty"`
	History       []Transition `json:"history"` // oldest first, the last 64

	Follows *FollowStatus `json:"follows,omitempty"` // of a feed with an account

	Fill *FillStatus `json:"fill,omitempty"` // while the feed reads the history that it begins with

	Endpoints []EndpointStatus `json:"endpoints"` // in order of preference
	Retention Retention        `json:"retention"`

	// If several daemons share the store; all empty if not.
	Owner string `json:"owner,omitempty"`       // name of the daemon that owns the stream
	Fence uint64 `json:"fence_epoch,omitempty"` // the newest epoch that was granted
	// Standbys are the names of the daemons that may own the stream, without its owner.
	Standbys []string `json:"standbys,omitempty"`
}

// FollowStatus is how the account of a feed stands: whom it follows, and its session.
type FollowStatus struct {
	Account     string    `json:"account"`               // its handle or DID
	Follows     int       `json:"follows"`               // 0 where the feed does not follow them
	RefreshedAt time.Time `json:"refreshed_at,omitzero"` // when they were read last
	// Trouble is why they could not be read since then, from Since on; "" if they were.
	Trouble string    `json:"trouble,omitempty"`
	Since   time.Time `json:"trouble_since,omitzero"`
	// SessionTrouble is why one cannot log in as the account, from SessionSince on, and NextLoginAt is
	// when that is tried again; "" if one can, or if it was not tried.
	SessionTrouble string    `json:"session_trouble,omitempty"`
	SessionSince   time.Time `json:"session_trouble_since,omitzero"`
	NextLoginAt    time.Time `json:"next_login_at,omitzero"`
}

// FillStatus is how far a feed has come with the history that it begins with.
type FillStatus struct {
	Source       GapSource `json:"source"` // where it is read at present: archive or socket
	Since        time.Time `json:"since"`  // when this daemon began to read it
	Events       uint64    `json:"events"` // stored since
	EventsPerSec float64   `json:"events_per_sec"`
	// Skipped counts archived events that cannot be delivered, as records with floats.
	Skipped int64 `json:"skipped,omitempty"`
	// Bytes and PlannedBytes are of the present reading of the archive. PlannedBytes is 0 while it is
	// not known.
	Bytes        int64   `json:"bytes"`
	PlannedBytes int64   `json:"planned_bytes,omitempty"`
	Done         float64 `json:"done,omitempty"`  // part of the archive, 0 to 1
	ETASeconds   int64   `json:"eta_s,omitempty"` // until the archive is read, 0 if unknown
	// WaitUntil is when reading goes on by itself, for the reason Why; zero while it does not wait.
	WaitUntil time.Time `json:"wait_until,omitzero"`
	Why       string    `json:"why,omitempty"`
}

// Retention is the most that a feed's stream keeps; 0 sets no bound.
type Retention struct {
	AgeSeconds int64 `json:"age_s"`
	Bytes      int64 `json:"bytes"` // compressed
	Entries    int64 `json:"entries"`
}

// EndpointStatus is what a feed knows about one of its upstreams.
type EndpointStatus struct {
	Endpoint string `json:"endpoint"` // without userinfo and query
	Current  bool   `json:"current"`
	Failures int    `json:"failures"` // connections in a row that were not healthy
	// Reason is that of the last failure, "" after a success.
	Reason  string     `json:"reason,omitempty"`
	ReadyAt *time.Time `json:"ready_at,omitempty"` // not used before this time
}

// Readiness is the answer of the whole actor tree to "are you ready?".
type Readiness struct {
	Ready   bool     `json:"ready"`
	Reasons []string `json:"reasons,omitempty"` // why it is not ready
}

package messages

import "time"

// Epoch numbers the incarnations of one feed's connection: 1 for the first since the daemon started, one more for each that follows.
type Epoch uint64

// FeedState is where a feed stands.
type FeedState string

// The states of a feed.
const (
	StateConnecting    FeedState = "connecting"    // the first connection since the start is being made
	StateLive          FeedState = "live"          // connected; what comes is stored
	StateBackpressured FeedState = "backpressured" // the store does not keep up, or refuses: nothing is read, or not even connected
	StateDisconnected  FeedState = "disconnected"  // the connection ended; the next one waits for its backoff
	StateReconnecting  FeedState = "reconnecting"  // a connection after the first is being made
	StateGapped        FeedState = "gapped"        // connected past a loss that is being recorded
	StatePaused        FeedState = "paused"        // an operator said so
	StateFailed        FeedState = "failed"        // the upstream refuses us for good; retried slowly
	StateStopped       FeedState = "stopped"       // the daemon is stopping, or the stream was closed for good
	StateStandby       FeedState = "standby"       // another daemon owns the stream
)

// FeedStates lists every state, in the order a feed usually meets them.
var FeedStates = []FeedState{StateConnecting, StateLive, StateBackpressured, StateDisconnected, StateReconnecting,
	StateGapped, StatePaused, StateFailed, StateStopped, StateStandby}

// Transition is one change of a feed's state.
type Transition struct {
	At     time.Time `json:"at"`
	From   FeedState `json:"from"`
	To     FeedState `json:"to"`
	Reason string    `json:"reason,omitempty"` // one line, bounded, free of secrets
}

// FeedStatus is a snapshot of one feed, as HTTP and the status command show it.
type FeedStatus struct {
	Feed          string       `json:"feed"`
	State         FeedState    `json:"state"`
	Since         time.Time    `json:"since"` // when State began
	Reason        string       `json:"reason,omitempty"`
	Epoch         Epoch        `json:"epoch"`
	Endpoint      string       `json:"endpoint"`              // without userinfo and query
	Protocol      string       `json:"protocol,omitempty"`    // as spoken on the last connection
	Compression   string       `json:"compression,omitempty"` // likewise
	Position      Position     `json:"position"`              // durable position upstream
	LastID        *EntryID     `json:"last_id,omitempty"`
	LastFrameAt   *time.Time   `json:"last_frame_at,omitempty"` // any frame, wanted or not
	LagMS         int64        `json:"lag_ms"`                  // behind the upstream: since the newest stored event; at the tip what that took to get here, 0 if it is quiet there
	EventsPerSec  float64      `json:"events_per_sec"`          // entries stored, over the last 10 s
	Stored        uint64       `json:"stored"`                  // entries stored since the daemon started
	Duplicates    uint64       `json:"duplicates"`              // events dropped because the stream held them
	Bad           uint64       `json:"bad_frames"`              // frames that could not be parsed
	Reconnects    uint64       `json:"reconnects"`              // connections made after the first
	Restarts      uint64       `json:"restarts"`                // actors restarted because of a fault of ours
	Stalls        uint64       `json:"stalls"`                  // ForceReconnect sent by the watchdog
	Gaps          uint64       `json:"gaps"`                    // gap entries written
	Backfilled    uint64       `json:"backfilled"`              // events that a second connection had to fetch
	Suspicion     float64      `json:"suspicion"`               // phi of the watchdog's adaptive detector
	NextAttemptAt *time.Time   `json:"next_attempt_at,omitempty"`
	History       []Transition `json:"history"` // newest last, the last 64

	Endpoints []EndpointStatus `json:"endpoints"` // in order of preference
	Retention Retention        `json:"retention"`

	// Where several daemons share the store; all empty where not.
	Owner    string   `json:"owner,omitempty"`       // name of the daemon that owns the stream
	Fence    uint64   `json:"fence_epoch,omitempty"` // the newest epoch that was granted
	Standbys []string `json:"standbys,omitempty"`    // names of the others that may own it, this one included
}

// Retention is what a feed's stream keeps at most; 0 sets no bound.
type Retention struct {
	AgeSeconds int64 `json:"age_s"`
	Bytes      int64 `json:"bytes"` // compressed
	Entries    int64 `json:"entries"`
}

// EndpointStatus is what a feed knows about one of its upstreams.
type EndpointStatus struct {
	Endpoint string     `json:"endpoint"` // without userinfo and query
	Current  bool       `json:"current"`
	Failures int        `json:"failures"`           // connections in a row that were not healthy
	Reason   string     `json:"reason,omitempty"`   // of the last failure, while there is no better word
	ReadyAt  *time.Time `json:"ready_at,omitempty"` // left alone until then
}

// Readiness is the answer of the whole actor tree to "are you ready?".
type Readiness struct {
	Ready   bool     `json:"ready"`
	Reasons []string `json:"reasons,omitempty"` // why not
}

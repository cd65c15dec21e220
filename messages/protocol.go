package messages

import "time"

// The conversation of one feed, in the order it usually runs:
//
//	connection → feed      ConnectionReady        "I have started, what shall I do?"
//	feed → writer          Quiesce                "commit what you hold of earlier epochs"
//	writer → feed          Quiesced
//	feed → cursor          ResumeQuery            "resume from where?"
//	cursor → feed          ResumePoint
//	feed → writer          BeginEpoch             "this is what comes next, and what it follows"
//	feed → connection      (actors.Connect)       "dial this endpoint with this cursor"
//	connection → feed      Connected
//	connection → writer    Opened                 "past any gap now: record it"
//	feed → watchdog        Watch
//	connection → writer    AppendBatch …
//	writer → feed          Proven, NoOverlap      what the replay began with
//	writer → cursor, feed  Committed …
//	connection → watchdog, feed  Heartbeat …
//	watchdog → connection  ForceReconnect
//
// The end of a connection is the connection actor's failure; the feed's supervision answers it.

// ConnectionReady says that the connection actor has started and waits for an epoch.
type ConnectionReady struct{}

// Quiesce asks the writer to finish what it was given and to accept nothing until BeginEpoch.
type Quiesce struct{ Epoch Epoch }

// Quiesced answers Quiesce: every batch of an earlier epoch is durable or dropped.
type Quiesced struct{ Epoch Epoch }

// ResumeQuery asks the cursor where to resume.
type ResumeQuery struct{ Epoch Epoch }

// ResumePoint answers ResumeQuery.
type ResumePoint struct {
	Epoch      Epoch
	Checkpoint Checkpoint
	Found      bool       // false on a feed that never stood anywhere
	Lost       *Gap       // what the store is known to have lost: from its first entry on, unless the upstream sends it again
	Filters    *FilterLog // what the feed wanted when it was last saved; nil where that is not known
}

// BeginEpoch tells the writer what the coming batches follow.
type BeginEpoch struct {
	Epoch  Epoch
	Host   string // the instance the batches' sequence numbers and times belong to
	Resume Checkpoint
	From   Position // the place that was asked for, or rewound from

	Overlap bool // the upstream may send again what the stream holds
	Short   bool // … of the newest entries alone
	// Prove asks for proof that the replay begins early enough: by Proven, or with Held by a first event that the stream has. Until it comes
	// nothing is stored and the position stays. Without it nothing of the epoch is stored and the feed is told NoOverlap; or, with Accept, a gap is
	// recorded and the epoch goes on.
	Prove, Held, Accept bool
	BySeq               bool // resumed by the numbers of Host, which stand: what precedes Resume is a replay of it

	Gap  *Gap // certain: recorded as soon as the connection stands
	Skip *Gap // what is passed over: recorded before the first event
	Lost *Gap // what the store has lost: recorded before the first event unless that is as old

	// Before are the filters that held until FilterUS of Resume and before: of what is older than a filter only that is stored which
	// the one before it wanted too. Oldest first.
	Before []FormerFilter
	// Passed is a position that was reached with a filter that is not known: what the stream lacks of Host's events up to there was not wanted. It is zero where the
	// filter is known.
	Passed Position
}

// FormerFilter is a filter that held until a moment of the position's host's clock, Unix µs.
type FormerFilter struct {
	UntilUS int64
	Wants   interface{ WantsEvent(event []byte) bool } // nil wants everything
}

// NoOverlap says that the epoch's replay does not begin with anything that the stream holds: something between may be missing. Nothing of it was stored.
type NoOverlap struct {
	Epoch Epoch
	Said  bool // the upstream said that it cannot go back further
}

// Proven says that the epoch's replay begins where it should: nothing between the position and it is missing.
type Proven struct {
	Epoch Epoch
	Exact bool // with the very event at the position
}

// Opened tells the writer, before the epoch's first batch, that the connection stands: a pending gap ends here, and a feed that never had a
// position has one.
type Opened struct {
	Epoch Epoch
	// Present is the host's clock at that moment, or a moment it had surely reached; of no host where it had to be taken from our own clock.
	Present UpstreamTime
}

// Connected says that a websocket is open.
type Connected struct {
	Epoch       Epoch
	At          time.Time
	Took        time.Duration
	Protocol    string // as spoken
	Compression string
	Fallback    string       // why it is not what was preferred, "" when it is
	Present     UpstreamTime // what the host's clock shows; of no host where that had to be taken from ours
}

// SuspectGap tells the writer that the upstream began later than it was asked to. The gap is recorded before the epoch's first event, unless the
// stream turns out to hold something of its first batch: then nothing was left out.
type SuspectGap struct {
	Epoch Epoch
	Gap   Gap
	Said  bool // by the upstream itself: to ask for more is useless
}

// AppendBatch hands a batch to the writer, which returns it through Release once it is durable or dropped. Release has room for every batch
// there is, so that returning one never blocks.
type AppendBatch struct {
	Batch   *Batch
	Release chan<- *Batch
}

// Committed says that a batch is durable.
type Committed struct {
	Epoch      Epoch
	Checkpoint Checkpoint // as stored with it
	Entries    int        // stored
	Duplicates int        // dropped: the stream holds them
	Bad        int        // frames that could not be parsed
	Frames     int        // frames read
	Moved      bool       // the position moved on, or the replay on its way to it
	At         time.Time
	NewestUS   int64 // upstream time of the newest stored event, 0 when none was stored
}

// GapRecorded says that the epoch's gap entry is durable.
type GapRecorded struct {
	Epoch Epoch
	ID    EntryID
	Gap   Gap
	Known bool // the stream had it already
}

// BeginRepair announces the batches of a backfill to the writer, and what it is to fetch: Unix µs of the host's clock, inclusive.
type BeginRepair struct {
	ID           uint64
	FromUS, ToUS int64
}

// AppendRepair hands the writer a batch that a backfill fetched. What the stream lacks of it is appended; the feed's position stays where it is.
type AppendRepair struct {
	ID      uint64
	Batch   *Batch
	Release chan<- *Batch
}

// EndRepair says that a backfill has handed over all its batches, or why it has not.
type EndRepair struct {
	ID      uint64
	Batches uint64
	Err     error
}

// StopBackfill tells the backfill to leave what it does.
type StopBackfill struct{}

// BackfillDone says what became of a backfill, once everything it fetched is durable.
type BackfillDone struct {
	ID    uint64
	Found int   // events that the stream lacked
	Known int   // events that it held
	EndUS int64 // how far it came, Unix µs of the host's clock; 0 for nowhere
	Err   error // nil when everything was fetched and stored
}

// FilterChanged tells the writer that what comes from the moment on was read with another filter.
type FilterChanged struct {
	Hash    uint64
	SinceUS int64 // on the host's clock, Unix µs
}

// BlockLost tells a feed that a stored block of its stream cannot be read any more: its entries' times, Unix µs by their IDs. FromUS is 0 where it is not known.
type BlockLost struct{ FromUS, ToUS int64 }

// RecordGap tells the writer to append a gap entry where the stream stands; the feed's position stays where it is.
type RecordGap struct{ Gap Gap }

// Fenced says that the stream refuses the writer's lease: another daemon owns it, or nobody does.
type Fenced struct {
	Stream         string
	Epoch, Current uint64 // the writer's, the stream's
	Owner          string // name, "" when nobody
}

// StreamMoved says that the stream does not end where the writer left it: its server came back with older data. Nothing was written; whoever reads the stream's
// position anew goes on from what there is.
type StreamMoved struct{ Expected, Found EntryID }

// StreamClosed says that the stream was closed for good and takes no appends any more.
type StreamClosed struct{ Reason string }

// WriterStalled says that appends fail and are being retried; nothing is lost, the socket is not read.
type WriterStalled struct{ Reason string }

// WriterResumed says that appends work again.
type WriterResumed struct{}

// ReadAgain says that what was read in the epoch and is not stored was given up: the store refused it. It is to be read again.
type ReadAgain struct{ Epoch Epoch }

// Drain asks the writer to commit everything it holds. What the store does not take now is given up: the next reader reads it again.
type Drain struct{}

// Drained answers Drain.
type Drained struct{}

// SaveCheckpoint asks the cursor to persist now.
type SaveCheckpoint struct{ Cause string }

// CheckpointSaved answers SaveCheckpoint; Err is nil when it is durable or nothing had changed.
type CheckpointSaved struct{ Err error }

// CursorStalled says that the stored position cannot be read for now, and why; "" once it was.
type CursorStalled struct{ Reason string }

// AtTip tells the cursor that a healthy connection had nothing more to give at that moment of the host's clock.
type AtTip struct{ At UpstreamTime }

// Heartbeat is the connection's account of itself, once a second while its socket is open.
type Heartbeat struct {
	Epoch     Epoch
	At        time.Time
	Frames    uint64    // read on this connection so far, wanted or not
	LastFrame time.Time // zero before the first
	NewestUS  int64     // upstream time of the newest event, 0 before the first

	// The same for commits, which are what a feed is there for: identity and account events pass every filter of collections.
	Commits    uint64
	LastCommit time.Time
	CommitUS   int64

	Blocked time.Duration // how long it has been waiting for the writer; 0 when it is reading
	Pong    time.Time     // when the last answered ping was sent, zero before
	// TipUS is a moment that the host's clock had surely reached when that ping was sent, Unix µs; 0 where its clock is not known.
	TipUS int64
	// PresentUS is what the host's clock shows now, as far as it is known, Unix µs; 0 where it is not.
	PresentUS int64
}

// PingFailed says that a ping went unanswered although the socket was being read.
type PingFailed struct {
	Epoch   Epoch
	Timeout time.Duration
}

// Unwatch tells the watchdog that there is nothing to watch: disconnected, paused or stopping.
type Unwatch struct{}

// ReconnectCause says who wants a reconnect.
type ReconnectCause string

// Why a reconnect is forced.
const (
	CauseSilence   ReconnectCause = "silence"   // no frame for stale_after
	CauseAdaptive  ReconnectCause = "adaptive"  // the phi-accrual detector
	CauseHalfOpen  ReconnectCause = "half_open" // a ping without a pong
	CauseSleep     ReconnectCause = "sleep"     // the machine slept
	CauseBlind     ReconnectCause = "blind"     // frames flow, but none of what we want
	CauseOperator  ReconnectCause = "operator"
	CauseWriter    ReconnectCause = "writer"     // the writer was restarted: what was in flight must be read again
	CausePreferred ReconnectCause = "preferred"  // the preferred endpoint is tried again
	CauseNoOverlap ReconnectCause = "no_overlap" // the replay began too late: ask for more
	CauseFilter    ReconnectCause = "filter"     // the feed's filter changed
	CauseClock     ReconnectCause = "clock"      // the host's own clock, or its protocol, says otherwise than was assumed about the replay window
)

// ForceReconnect ends the connection of its epoch. It is safe at any moment: about another epoch, or without a connection, it does nothing.
type ForceReconnect struct {
	Epoch Epoch
	Cause ReconnectCause
}

// Suspicion is the watchdog's opinion, for the status.
type Suspicion struct {
	Epoch Epoch
	Phi   float64
}

// Stalled says that the watchdog sent a ForceReconnect.
type Stalled struct {
	Epoch   Epoch
	Cause   ReconnectCause
	Silence time.Duration
}

// StopReading asks the connection to stop reading, hand over what it has read and close the socket.
type StopReading struct{}

// ReadingStopped answers StopReading.
type ReadingStopped struct{}

// HealthCheck travels down the tree; every actor answers with a HealthReply.
type HealthCheck struct{ ID uint64 }

// ReadyQuery asks the root for its Readiness.
type ReadyQuery struct{}

// FeedQuery asks a feed for its FeedStatus.
type FeedQuery struct{}

// Command is what an operator asks of a feed. The feed answers with a CommandDone.
type Command string

// The commands.
const (
	CommandReconnect Command = "reconnect"
	CommandPause     Command = "pause"
	CommandResume    Command = "resume"
)

// CommandDone answers a Command.
type CommandDone struct{ Err error }

// Stop asks a feed, or the root, for a graceful stop: stop reading, drain, save, close.
type Stop struct{ Reason string }

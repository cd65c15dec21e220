package messages

import "time"

// The conversation of one feed, in its usual order:
//
//	connection → feed      ConnectionReady        "I have started, what shall I do?"
//	feed → writer          Quiesce                "commit what you hold of earlier epochs"
//	writer → feed          Quiesced
//	feed → cursor          ResumeQuery            "resume from where?"
//	cursor → feed          ResumePoint
//	feed → writer          (actors.BeginEpoch)    "this is what comes next, and what it follows"
//	feed → connection      (actors.Connect)       "dial this endpoint with this cursor"
//	connection → feed      (actors.Connected)
//	connection → writer    EpochOpened            "past any gap now: record it"
//	feed → watchdog        (actors.Watch)
//	connection → writer    AppendBatch …
//	writer → feed          Proven, NoOverlap      what the replay began with
//	writer → cursor, feed  Committed …
//	connection → watchdog, feed  Heartbeat …
//	watchdog → connection  ForceReconnect
//
// The end of a connection is a failure of the connection actor; the feed's supervision handles it.

// ConnectionReady says that the connection actor has started and waits for an epoch.
type ConnectionReady struct{}

// Quiesce asks the writer to finish the batches that it has and to accept no others until
// BeginEpoch.
type Quiesce struct{ Epoch Epoch }

// Quiesced answers Quiesce: every batch of an earlier epoch is durable or dropped.
type Quiesced struct{ Epoch Epoch }

// ResumeQuery asks the cursor where to resume.
type ResumeQuery struct{ Epoch Epoch }

// ResumePoint answers ResumeQuery.
type ResumePoint struct {
	Epoch      Epoch
	Checkpoint Checkpoint
	Found      bool // false if the feed never had a position
	// Lost is what the store is known to have lost: everything from its FromUS on, unless the
	// upstream sends it again.
	Lost *Gap
	// Filters are what the feed wanted when they were last saved; nil if unknown.
	Filters *FilterLog
}

// FormerFilter is a filter that applied until a moment of the clock of the position's host, Unix
// µs.
type FormerFilter struct {
	UntilUS int64
	Wants   interface{ WantsEvent(event []byte) bool } // nil wants everything
}

// NoOverlap says that the epoch's replay does not begin with an event that the stream holds, so
// events in between may be missing. Nothing of the replay was stored.
type NoOverlap struct {
	Epoch    Epoch
	Outdated bool // the upstream said that it cannot go back further
}

// Proven says that the epoch's replay begins where it should: nothing is missing between the
// position and the replay.
type Proven struct {
	Epoch Epoch
	Exact bool // with exactly the event at the position
}

// EpochOpened tells the writer, before the epoch's first batch, that the connection is open. A
// pending gap ends here, and a feed that never had a position gets one.
type EpochOpened struct {
	Epoch Epoch
	// Present is the host's clock at that moment, or a moment that it had surely reached. It has no
	// host if it had to be taken from our own clock.
	Present UpstreamTime
}

// SuspectGap tells the writer that the upstream began later than it was asked to, and said that it
// cannot go back further: to ask for more is useless. The gap is recorded before the epoch's first
// event, unless the stream holds an event of the epoch's first batch: then nothing was left out.
type SuspectGap struct {
	Epoch Epoch
	Gap   Gap
}

// AppendBatch hands a batch to the writer. The writer returns the batch through Release once it is
// durable or dropped. Release has room for all batches, so the return never blocks.
type AppendBatch struct {
	Batch   *Batch
	Release chan<- *Batch
}

// Committed says that a batch is durable.
type Committed struct {
	Epoch      Epoch
	Checkpoint Checkpoint // as stored with the batch
	Entries    int        // stored
	Duplicates int        // dropped because the stream holds them
	Bad        int        // frames that could not be parsed
	Frames     int        // frames read
	Moved      bool       // the position moved on, or the replay that has not reached it yet
	At         time.Time
	Age        time.Duration // how long ago the newest frame was read
	NewestUS   int64         // upstream time of the newest stored event, 0 if none was stored
}

// GapRecorded says that a gap entry is durable.
type GapRecorded struct {
	ID    EntryID
	Gap   Gap
	Row   GapRow // as it was stored with the entry; without an ID where the gap has no row
	Known bool   // the stream had it already
}

// BeginBackfill tells the writer that batches of a backfill will come, and the range that the
// backfill will fetch: Unix µs of the host's clock, inclusive.
type BeginBackfill struct {
	ID           uint64
	FromUS, ToUS int64
}

// AppendBackfill hands the writer a batch that a backfill fetched. The events that the stream lacks
// are appended; the feed's position does not move.
type AppendBackfill struct {
	ID      uint64
	Batch   *Batch
	Release chan<- *Batch
}

// EndBackfill says that a backfill has handed over all its batches, or why it has not.
type EndBackfill struct {
	ID      uint64
	Batches uint64
	Err     error
}

// StopBackfill tells the backfill to stop.
type StopBackfill struct{}

// BackfillDone gives the result of a backfill, once everything that it fetched is durable.
type BackfillDone struct {
	ID    uint64
	Found int   // events that the stream lacked
	Known int   // events that the stream held
	EndUS int64 // how far it came, Unix µs of the host's clock; 0 if it fetched nothing
	Err   error // nil if everything was fetched and stored
}

// FilterChanged tells the writer that all events from the moment on were read with another filter.
type FilterChanged struct {
	Hash    uint64
	SinceUS int64 // on the host's clock, Unix µs
}

// BlockLost tells a feed that a stored block of its stream cannot be read any more. FromUS and ToUS
// are the times of the block's entries by their IDs, Unix µs; FromUS is 0 if it is unknown.
type BlockLost struct{ FromUS, ToUS int64 }

// RecordGap tells the writer to append a gap entry at the stream's end. The feed's position does
// not move.
type RecordGap struct{ Gap Gap }

// Fenced says that the stream refuses the writer's lease: another daemon owns the stream, or none
// does.
type Fenced struct {
	Epoch uint64 // of the writer's lease
	Owner string // the name of the stream's owner, "" if there is none
}

// StreamMoved says that the stream does not end where the writer left it, because its server
// returned with older data. Nothing was written. The feed must read the stream's position again and
// continue from there.
type StreamMoved struct{ Expected, Found EntryID }

// StreamClosed says that the stream was closed for good and accepts no more appends.
type StreamClosed struct{ Reason string }

// WriterTrouble says why appends fail and are being retried; "" once they work again. Nothing is
// lost; the socket is not read.
type WriterTrouble struct{ Reason string }

// ReadAgain says that the writer gave up the events of the epoch that are not stored, because the
// store refused them. They must be read again.
type ReadAgain struct{ Epoch Epoch }

// Drain asks the writer to commit everything that it has. Batches that the store does not accept
// now are given up: they are read again later.
type Drain struct{}

// Drained answers Drain.
type Drained struct{}

// SaveCheckpoint asks the cursor to persist now.
type SaveCheckpoint struct{ Cause string }

// CheckpointSaved answers SaveCheckpoint. Err is nil if the checkpoint is durable or nothing had
// changed.
type CheckpointSaved struct{ Err error }

// CursorTrouble says why the stored position cannot be read for now; "" once it was read.
type CursorTrouble struct{ Reason string }

// AtTip tells the cursor that a healthy connection had nothing more to give at that moment of the
// host's clock.
type AtTip struct{ At UpstreamTime }

// Heartbeat is the connection's report about itself, once per second while its socket is open.
type Heartbeat struct {
	// Sweep is how far a connection has come that reads an archive; nil for a websocket.
	Sweep *SweepProgress

	Epoch     Epoch
	At        time.Time
	Frames    uint64    // read on this connection so far, wanted or not
	LastFrame time.Time // zero before the first
	NewestUS  int64     // greatest upstream time of an event, 0 before the first
	LatestUS  int64     // upstream time of the event that came last, 0 before the first

	// The same for commits. They are counted separately because identity and account events pass
	// every filter of collections, so these say nothing about the wanted events.
	Commits    uint64
	LastCommit time.Time
	CommitUS   int64

	Blocked time.Duration // how long it has been waiting for the writer; 0 while it reads
	Pong    time.Time     // when the last answered ping was sent, zero before
	// TipUS is a moment, Unix µs, that the host's clock had surely reached when that ping was sent;
	// 0 if its clock is unknown.
	TipUS int64
	// PresentUS is what the host's clock shows now, as far as it is known, Unix µs; 0 if unknown.
	PresentUS int64
}

// SweepProgress is how far a connection has come that reads an archive.
type SweepProgress struct {
	// From, Through and Sealed are sequence numbers: where it began, up to where everything was
	// handed over, and where it will end (0 while that is not known).
	From, Through, Sealed uint64
	Bytes                 int64     // downloaded
	Planned               int64     // to be downloaded in all, 0 while that is not known
	Skipped               int64     // archived events that cannot be delivered
	WaitUntil             time.Time // when it goes on by itself, for the reason Why; zero while it does not wait
	Why                   string
}

// PingFailed says that a ping was not answered although the socket was being read.
type PingFailed struct{ Epoch Epoch }

// Unwatch tells the watchdog that there is nothing to watch: disconnected, paused or stopping.
type Unwatch struct{}

// ReconnectCause says why a reconnect is forced.
type ReconnectCause string

// Causes of a forced reconnect.
const (
	CauseSilence  ReconnectCause = "silence"   // no frame for stale_after
	CauseAdaptive ReconnectCause = "adaptive"  // the phi-accrual detector
	CauseHalfOpen ReconnectCause = "half_open" // a ping without a pong
	CauseSleep    ReconnectCause = "sleep"     // the machine slept
	CauseBlind    ReconnectCause = "blind"     // frames come, but none that the feed wants
	CauseOperator ReconnectCause = "operator"
	// CauseWriter: the writer was restarted, so the batches in flight must be read again.
	CauseWriter    ReconnectCause = "writer"
	CausePreferred ReconnectCause = "preferred"  // the preferred endpoint is tried again
	CauseNoOverlap ReconnectCause = "no_overlap" // the replay began too late: ask for more
	CauseFilter    ReconnectCause = "filter"     // the feed's filter changed
	// CauseClock: the host's own clock, or its protocol, contradicts what the plan assumed about
	// the replay window.
	CauseClock ReconnectCause = "clock"
)

// ForceReconnect ends the connection of its epoch. It is safe at any moment: without a connection
// of that epoch it does nothing.
type ForceReconnect struct {
	Epoch Epoch
	Cause ReconnectCause
}

// Suspicion is the value of the watchdog's detector, for the status.
type Suspicion struct {
	Epoch Epoch
	Phi   float64
}

// Stalled says that the watchdog sent a ForceReconnect.
type Stalled struct{ Epoch Epoch }

// StopReading asks the connection to stop reading, hand over what it has read and close the socket.
type StopReading struct{}

// ReadingStopped answers StopReading.
type ReadingStopped struct{}

// HealthCheck travels down the actor tree; every actor answers with a HealthReply.
type HealthCheck struct{ ID uint64 }

// ReadyQuery asks the root for its Readiness.
type ReadyQuery struct{}

// FeedQuery asks a feed for its FeedStatus.
type FeedQuery struct{}

// Command is an operator's command to a feed. The feed answers with a CommandDone.
type Command string

// Commands.
const (
	CommandReconnect Command = "reconnect"
	CommandPause     Command = "pause"
	CommandResume    Command = "resume"
)

// CommandDone answers a Command.
type CommandDone struct{ Err error }

// Stop asks a feed, or the root, for a graceful stop: stop reading, drain, save, close.
type Stop struct{ Reason string }

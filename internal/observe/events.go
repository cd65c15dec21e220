package observe

import "log/slog"

// Event is the name of something that happens. It is stable across versions.
type Event string

// The events. Catalogue says what each one means and which fields it has.
const (
	DaemonStarted  Event = "daemon.started"
	DaemonReady    Event = "daemon.ready"
	ConfigReloaded Event = "config.reloaded"
	ConfigRestart  Event = "config.restart_needed"
	ConfigRejected Event = "config.rejected"
	DaemonStopping Event = "daemon.stopping"
	DaemonStopped  Event = "daemon.stopped"
	DaemonFailed   Event = "daemon.failed"

	FeedConnecting    Event = "feed.connecting"
	FeedLive          Event = "feed.live"
	FeedBackpressured Event = "feed.backpressured"
	FeedDisconnected  Event = "feed.disconnected"
	FeedReconnecting  Event = "feed.reconnecting"
	FeedGapped        Event = "feed.gapped"
	FeedPaused        Event = "feed.paused"
	FeedFilling       Event = "feed.filling"
	FeedFailed        Event = "feed.failed"
	FeedStopped       Event = "feed.stopped"
	FeedStandby       Event = "feed.standby"
	FeedCaughtUp      Event = "feed.caught_up"

	FeedWire         Event = "feed.wire"
	StartIgnored     Event = "feed.start_ignored"
	FillProgress     Event = "fill.progress"
	FillDone         Event = "fill.done"
	FeedFilter       Event = "feed.filter_changed"
	FollowsRead      Event = "follows.read"
	FollowsFailed    Event = "follows.failed"
	SessionOpened    Event = "session.opened"
	SessionFailed    Event = "session.failed"
	FeedResume       Event = "feed.resume"
	FeedOverlap      Event = "feed.overlap"
	FeedOverlapEnded Event = "feed.overlap_ended"
	EventsSkipped    Event = "feed.skipped"
	FrameBad         Event = "frame.bad"
	TimeImplausible  Event = "frame.time_implausible"

	BackfillStarted Event = "backfill.started"
	BackfillDone    Event = "backfill.done"
	BackfillFailed  Event = "backfill.failed"

	GapRepairing    Event = "gap.repairing"
	GapWaiting      Event = "gap.waiting"
	GapRepaired     Event = "gap.repaired"
	GapPartly       Event = "gap.partly"
	GapUnrepairable Event = "gap.unrepairable"
	GapDismissed    Event = "gap.dismissed"

	WatchdogStalled Event = "watchdog.stalled"
	ForceReconnect  Event = "feed.force_reconnect"

	CursorSaved     Event = "cursor.saved"
	CursorAging     Event = "cursor.aging"
	CursorFailed    Event = "cursor.failed"
	CursorRecovered Event = "cursor.recovered"

	AppendFailed  Event = "append.failed"
	AppendResumed Event = "append.resumed"
	AppendGivenUp Event = "append.given_up"

	LeaseGranted  Event = "lease.granted"
	LeaseReleased Event = "lease.released"
	LeaseLost     Event = "lease.lost"
	LeaseHeld     Event = "lease.held"
	NodesChanged  Event = "nodes.changed"

	ActorFailed    Event = "actor.failed"
	ActorRestarted Event = "actor.restarted"
	ActorEscalated Event = "actor.escalated"
	ActorGaveUp    Event = "actor.gave_up"

	TaskFailed Event = "task.failed"

	LibraryFailed Event = "library.failed"
	LibraryWarned Event = "library.warned"
	LibrarySaid   Event = "library.said"

	StoreOpened      Event = "store.opened"
	StoreAway        Event = "store.unavailable"
	StoreBack        Event = "store.available"
	StoreSpaceLow    Event = "store.space_low"
	StoreSpaceOK     Event = "store.space_recovered"
	StoreTruncated   Event = "store.truncated"
	StoreCorrupt     Event = "store.corrupt"
	StoreForeign     Event = "store.foreign_entry"
	StoreMaintFail   Event = "store.maintenance_failed"
	StoreDamaged     Event = "store.file_damaged"
	StoreStateLost   Event = "store.state_lost"
	StoreWriteFail   Event = "store.write_failed"
	StoreWriteOK     Event = "store.write_recovered"
	StreamTrimmed    Event = "stream.trimmed"
	StreamClosed     Event = "stream.closed"
	StreamDeleted    Event = "stream.deleted"
	HTTPListening    Event = "http.listening"
	HTTPFailed       Event = "http.failed"
	HTTPAcceptFailed Event = "http.accept_failed"
	HTTPFull         Event = "http.full"
	AuthFailed       Event = "auth.failed"

	ControlUnavailable Event = "control.unavailable"
	CertificateRead    Event = "certificate.read"
	CertificateFailed  Event = "certificate.failed"
	HTTPError          Event = "http.error"
	HTTPPanic          Event = "http.panic"
	SubscriberCut      Event = "subscriber.cut"
	SystemdFailed      Event = "systemd.notify_failed"
	HealthUnanswered   Event = "health.unanswered"
)

// Definition documents one event.
type Definition struct {
	Event Event
	Level slog.Level
	Help  string
	// Fields are the event's own fields, in addition to time, level, msg and event. A field appears
	// only when its value is known. The first field names the subject of the event.
	Fields []string
}

// Catalogue lists every event, in the order of the table in docs/operate.md.
var Catalogue = []Definition{
	{DaemonStarted, slog.LevelInfo, "the process began its work", []string{"version", "config", "data_dir", "feeds"}},
	{DaemonReady, slog.LevelInfo, "the store is open and every feed is supervised", nil},
	{ConfigReloaded, slog.LevelInfo, "the configuration was read again; feeds and keys are those that changed", []string{"config", "feeds", "keys"}},
	{ConfigRestart, slog.LevelWarn, "the configuration was read again; the new values of these keys need a restart", []string{"config", "keys"}},
	{ConfigRejected, slog.LevelError, "the configuration was read again and is wrong; nothing changed", []string{"config", "error"}},
	{DaemonStopping, slog.LevelInfo, "a graceful stop began", []string{"reason", "timeout"}},
	{DaemonStopped, slog.LevelInfo, "everything is closed, and everything read is stored, but for what append.given_up told of", []string{"took"}},
	{DaemonFailed, slog.LevelError, "the daemon gives up; the exit code is not zero", []string{"reason"}},

	{FeedConnecting, slog.LevelDebug, "the first connection is being made", []string{"feed", "from", "reason", "epoch", "endpoint"}},
	{FeedLive, slog.LevelInfo, "connected; what comes is stored", []string{"feed", "from", "reason", "epoch", "endpoint"}},
	{FeedBackpressured, slog.LevelWarn, "the store does not keep up, the socket is not read", []string{"feed", "from", "reason", "epoch", "endpoint"}},
	{FeedDisconnected, slog.LevelWarn, "the connection ended", []string{"feed", "from", "reason", "epoch", "endpoint", "retry_in"}},
	{FeedReconnecting, slog.LevelDebug, "a connection after the first is being made", []string{"feed", "from", "reason", "epoch", "endpoint"}},
	{FeedGapped, slog.LevelWarn, "events are missing; a gap entry is being written", []string{"feed", "from", "reason", "epoch", "endpoint", "id", "gap_from", "gap_to", "host"}},
	{FeedFilling, slog.LevelInfo, "the feed begins with history, which is read from the upstream's archive; reason says what it waits for", []string{"feed", "from", "reason", "epoch", "endpoint"}},
	{FeedPaused, slog.LevelInfo, "an operator paused the feed", []string{"feed", "from", "reason", "epoch", "endpoint"}},
	{FeedFailed, slog.LevelError, "the upstream refuses us for good; retried slowly", []string{"feed", "from", "reason", "epoch", "endpoint", "retry_in"}},
	{FeedStopped, slog.LevelInfo, "the feed stopped: with the daemon, or because its stream was closed", []string{"feed", "from", "reason", "epoch", "endpoint"}},
	{FeedStandby, slog.LevelInfo, "this daemon does not own the feed", []string{"feed", "from", "reason", "epoch", "endpoint"}},

	{FeedCaughtUp, slog.LevelInfo, "after a start or an absence: connected, and the stream has everything that the upstream has, but for what is lost", []string{"feed", "away", "reason", "attempts", "took", "replayed", "dropped", "lost", "endpoint", "protocol", "compression"}},

	{FeedWire, slog.LevelDebug, "what is spoken on the connection, and why it is not what was preferred", []string{"feed", "epoch", "endpoint", "protocol", "compression", "fallback"}},
	{StartIgnored, slog.LevelInfo, "the configured start means nothing, because the feed has a position (said once)", []string{"feed", "start"}},
	{FillProgress, slog.LevelInfo, "how far a feed has come with the history that it begins with (told once a minute)", []string{"feed", "source", "events", "events_per_s", "done", "eta", "bytes", "planned_bytes", "reached"}},
	{FillDone, slog.LevelInfo, "the history is stored, and the feed is live", []string{"feed", "source", "events", "events_per_s", "done", "eta", "bytes", "planned_bytes", "reached"}},
	{FeedFilter, slog.LevelInfo, "the feed's filter is another from now on", []string{"feed", "collections", "dids", "kinds"}},
	{FollowsRead, slog.LevelInfo, "the accounts that the feed's account follows were read, and are the feed's dids now", []string{"feed", "account", "follows", "added", "removed"}},
	{FollowsFailed, slog.LevelWarn, "they could not be read; the feed keeps those it has", []string{"feed", "account", "error", "follows", "retry_in"}},
	{SessionOpened, slog.LevelInfo, "the feed's account is logged in, or its session was renewed", []string{"feed", "account"}},
	{SessionFailed, slog.LevelWarn, "one cannot log in as the feed's account, so its timeline repairs nothing", []string{"feed", "account", "error", "retry_at"}},
	{FeedResume, slog.LevelDebug, "where the connection resumes from", []string{"feed", "epoch", "cursor", "covered", "behind"}},
	{FeedOverlap, slog.LevelDebug, "the identity index was loaded for a replay", []string{"feed", "epoch", "fingerprints", "took"}},
	{FeedOverlapEnded, slog.LevelDebug, "the replay is past the stored stream, the index is dropped", []string{"feed", "epoch", "duplicates"}},
	{EventsSkipped, slog.LevelInfo, "a replay began before what the stream, or its index, begins with; what it brought from there was left out (told once a minute)", []string{"feed", "epoch", "count"}},
	{FrameBad, slog.LevelWarn, "a frame could not be parsed and was left out (at most one record a second)", []string{"feed", "epoch", "error", "frame", "count"}},
	{TimeImplausible, slog.LevelWarn, "an event's time lies beyond its host's present; it is stored under that (told once a minute)", []string{"feed", "epoch", "time_us", "count"}},

	{BackfillStarted, slog.LevelDebug, "a second connection asks for what the first may have been left without", []string{"feed", "from", "to", "attempt"}},
	{BackfillDone, slog.LevelDebug, "it was sent everything; what the stream lacked is appended", []string{"feed", "from", "to", "found"}},
	{BackfillFailed, slog.LevelWarn, "it was not; after the last attempt a gap is recorded", []string{"feed", "from", "to", "error", "attempt", "attempts"}},

	{GapRepairing, slog.LevelInfo, "the missing events of a gap are being fetched", []string{"feed", "gap", "source", "gap_from", "gap_to", "host", "attempt", "planned_bytes"}},
	{GapWaiting, slog.LevelWarn, "a gap cannot be fetched now; it is tried again", []string{"feed", "gap", "source", "reason", "attempt", "retry_at"}},
	{GapRepaired, slog.LevelInfo, "a gap is closed: everything that its source has is stored", []string{"feed", "gap", "source", "recovered", "held", "bytes", "missing", "took"}},
	{GapPartly, slog.LevelWarn, "a part of a gap is stored, and no source has the rest", []string{"feed", "gap", "source", "recovered", "held", "bytes", "missing", "reason"}},
	{GapUnrepairable, slog.LevelWarn, "no source has anything of a gap", []string{"feed", "gap", "missing", "reason"}},
	{GapDismissed, slog.LevelInfo, "an operator gave a gap up", []string{"feed", "gap", "recovered", "reason"}},

	{WatchdogStalled, slog.LevelWarn, "the watchdog found the feed stale", []string{"feed", "epoch", "cause", "silence", "suspicion"}},
	{ForceReconnect, slog.LevelDebug, "a connection was told to reconnect", []string{"feed", "epoch", "cause"}},

	{CursorSaved, slog.LevelDebug, "a checkpoint was persisted", []string{"feed", "cause", "host", "seq", "time_us", "last_id"}},
	{CursorAging, slog.LevelWarn, "the cursor nears the replay window", []string{"feed", "age", "window"}},
	{CursorFailed, slog.LevelError, "a checkpoint could not be read or persisted; it is tried again", []string{"feed", "error", "retry_in"}},
	{CursorRecovered, slog.LevelInfo, "checkpoints are read and persisted again", []string{"feed", "after"}},

	{AppendFailed, slog.LevelError, "an append failed; the batch is kept and tried again", []string{"feed", "error", "retry_in"}},
	{AppendResumed, slog.LevelInfo, "appends work again", []string{"feed", "after"}},
	{AppendGivenUp, slog.LevelWarn, "the feed ended while the store took nothing; what was not stored is read again when it begins again", []string{"feed", "reason"}},

	{LeaseGranted, slog.LevelInfo, "this daemon owns the feed from now on", []string{"feed", "fence", "newest"}},
	{LeaseReleased, slog.LevelInfo, "this daemon gave the feed up, with everything it had read stored, but for what append.given_up told of", []string{"feed", "fence", "reason"}},
	{LeaseLost, slog.LevelWarn, "this daemon owns the feed no longer and has stopped reading it", []string{"feed", "fence", "reason", "owner"}},
	{LeaseHeld, slog.LevelWarn, "another daemon owns a feed that this one is to have for itself; it is waited for", []string{"feed", "fence", "owner"}},
	{NodesChanged, slog.LevelInfo, "the daemons that share feeds are others than before", []string{"nodes"}},

	{ActorFailed, slog.LevelError, "an actor, or what runs beside it, panicked: a fault of ours", []string{"feed", "actor", "task", "error", "stack"}},
	{ActorRestarted, slog.LevelWarn, "an actor was restarted", []string{"feed", "actor", "reason", "delay", "failures"}},
	{ActorEscalated, slog.LevelError, "too many restarts: the failure goes one level up", []string{"feed", "actor", "reason", "failures", "window"}},
	{ActorGaveUp, slog.LevelError, "the root gave up", []string{"reason", "failures", "window"}},

	{TaskFailed, slog.LevelError, "something that runs beside the actors panicked: a fault of ours, which ended nothing else", []string{"task", "error", "stack"}},

	{LibraryFailed, slog.LevelError, "an error in the words of a library: of Badger, which keeps the state beside the streams, of the actors', or of net/http", []string{"library", "error"}},
	{LibraryWarned, slog.LevelWarn, "a warning in its words", []string{"library", "error"}},
	{LibrarySaid, slog.LevelDebug, "anything else in its words", []string{"library", "error"}},

	{StoreOpened, slog.LevelInfo, "the store is open", []string{"dir", "server", "backend", "streams", "took"}},
	{StoreAway, slog.LevelError, "the store's server cannot be asked, or refuses; what is to be stored waits", []string{"server", "error"}},
	{StoreBack, slog.LevelInfo, "the store's server answers again", []string{"server", "after"}},
	{StoreSpaceLow, slog.LevelError, "the disk is nearly full: appends are held back", []string{"dir", "free", "need"}},
	{StoreSpaceOK, slog.LevelInfo, "there is room again: appends go on", []string{"dir", "free"}},
	{StoreTruncated, slog.LevelError, "the log ends before what had been stored; it is fetched again", []string{"stream", "oldest", "expected", "found"}},
	{StoreCorrupt, slog.LevelError, "a block failed its checksum", []string{"stream", "first", "block", "error"}},
	{StoreDamaged, slog.LevelError, "a file of the store is not as it was left; what was not understood of it is set aside", []string{"stream", "file", "aside", "error"}},
	{StoreStateLost, slog.LevelError, "the state beside the streams was damaged and made anew; these consumers may be where they were before", []string{"aside", "consumers", "error"}},
	{StoreWriteFail, slog.LevelError, "the file system refused a write: appends wait and try again", []string{"stream", "error"}},
	{StoreWriteOK, slog.LevelInfo, "writes work again", []string{"stream"}},
	{StoreForeign, slog.LevelError, "a stream in a server has an entry that tempestd did not write and that is no event (said once a stream)", []string{"stream", "entry"}},
	{StoreMaintFail, slog.LevelError, "retention or garbage collection failed", []string{"stream", "error"}},
	{StreamTrimmed, slog.LevelDebug, "retention dropped blocks", []string{"stream", "entries", "bytes"}},
	{StreamClosed, slog.LevelInfo, "a stream was closed for good", []string{"stream", "reason"}},
	{StreamDeleted, slog.LevelInfo, "a stream was deleted, with its consumers and its gaps", []string{"stream"}},
	{HTTPListening, slog.LevelInfo, "the HTTP listener is open", []string{"addr"}},
	{ControlUnavailable, slog.LevelWarn, "the control socket cannot be opened; the commands use the listener", []string{"socket", "error"}},
	{CertificateRead, slog.LevelInfo, "the listener's certificate has changed, and is in force", []string{"file"}},
	{CertificateFailed, slog.LevelError, "the listener's certificate has changed and cannot be read; the old one stays in force", []string{"file", "error"}},
	{HTTPFailed, slog.LevelError, "the HTTP server ended", []string{"error"}},
	{HTTPAcceptFailed, slog.LevelError, "a connection could not be accepted, as when there are no descriptors left; it is tried again", []string{"error"}},
	{HTTPFull, slog.LevelWarn, "a connection was refused, because http.max_connections are open, or http.max_connections_per_client of its address, and none is idle", []string{"cause"}},
	{AuthFailed, slog.LevelWarn, "a request had a wrong token; after some of them, its address has to wait", []string{"client", "route"}},
	{HTTPError, slog.LevelError, "a request failed because of us and was answered with a 500, or not in time", []string{"route", "id", "error"}},
	{HTTPPanic, slog.LevelError, "the handler of a request panicked: a fault of ours", []string{"route", "id", "error", "stack"}},
	{SubscriberCut, slog.LevelInfo, "a websocket subscriber did not take what it was sent, or did not answer, and lost its connection", []string{"stream", "protocol", "reason"}},
	{SystemdFailed, slog.LevelWarn, "systemd could not be notified (said once)", []string{"error"}},
	{HealthUnanswered, slog.LevelError, "the actor tree did not answer a health check in time; systemd's watchdog is not fed", []string{"timeout", "error"}},
}

// subject returns the field that names the subject of an event, "feed" or "stream". It is "" for an
// event about the daemon.
func (d Definition) subject() string {
	if len(d.Fields) > 0 && (d.Fields[0] == "feed" || d.Fields[0] == "stream") {
		return d.Fields[0]
	}
	return ""
}

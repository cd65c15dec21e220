package atproto

// The paths at which Jetstream servers listen.
const (
	SubscribePath  = "/subscribe"                                     // v1
	EventsPath     = "/xrpc/network.bsky.jetstream.subscribeEvents"   // v2
	DictionaryPath = "/xrpc/network.bsky.jetstream.getZstdDictionary" // of v2
	ArchivePath    = "/xrpc/network.bsky.jetstream."                  // of v2: the name of an archive call follows
)

// Subprotocol is the websocket subprotocol that a v2 client may offer and a v2 server then selects.
// It names the framing that v2 has anyway.
const Subprotocol = "xrpc.v1.json"

// EventType is the $type of a v2 payload, without the name of its kind.
const EventType = "network.bsky.jetstream.subscribeEvents#"

// EventFrame is the beginning of a v2 frame, up to the name of the event's kind.
const EventFrame = `{"$type":"message","payload":{"$type":"` + EventType

// DictionaryHeader is the header in which a server says the ID of the zstd dictionary that it gives
// out.
const DictionaryHeader = "X-Zstd-Dictionary-Id"

// DictionaryV1 is the ID of the only dictionary that v1 servers compress with. They do not give it
// out: a client must have it.
const DictionaryV1 = 1612007021

// OptionsUpdate is the type of the message with which a v1 subscriber replaces its filter.
const OptionsUpdate = "options_update"

// Names of the info frames that a v2 server sends before its first event.
const (
	// OutdatedCursor says that the server cannot go back to the requested time: the time is before
	// its retention, or before the oldest event that it ever archived.
	OutdatedCursor = "OutdatedCursor"
	// FutureCursor says that the requested sequence number is beyond the next one that the server
	// will give. So the number is another instance's, or from before this instance was rebuilt.
	// What follows began at the live tip.
	FutureCursor = "FutureCursor"
)

// Names of the errors in a v2 server's answers, and in the frame with which it ends a connection.
const (
	InvalidRequest = "InvalidRequest"
	// CursorTooOld refuses a sequence number below the oldest one that the server still has. A
	// server that is asked by time begins at its oldest event instead.
	CursorTooOld = "CursorTooOld"
	// ConsumerTooSlow ends the connection of a subscriber that does not keep up.
	ConsumerTooSlow = "ConsumerTooSlow"
	// UnknownDictionary refuses a request with another dictionary than the one that the server
	// compresses with.
	UnknownDictionary = "UnknownZstdDictionary"
	// DictionaryNotFound answers a request for a dictionary that the server does not give out.
	DictionaryNotFound = "DictionaryNotFound"
	// ServiceUnavailable says that the server is not ready. If several servers share one name, one
	// that is behind the others says this too.
	ServiceUnavailable = "ServiceUnavailable"
)

// Package jetstream is the upstream wire: where a Jetstream server is, what it is asked for, and how its frames become batches.
//
// The model. A [Request] (an [Endpoint], a [Filter], a [Cursor]) becomes one websocket by [Dial]; [Conn.Run] reads it to its end. Each
// frame is read from the socket straight into the arena of the batch in hand, and scanned there in one forward pass by [Scan],
// which both validates the JSON, so that the bytes can be stored and embedded in a response verbatim, and extracts the few fields needed to
// order an event, to recognise it and to resume after it. A frame that does not scan is cut off the arena again, counted and reported; it never ends
// the connection (I7). One that is larger than what is read goes by without being held, and what its outline tells becomes a messages.SkippedEvent. Full batches
// are handed to a [Sink], which may block: then the socket is not read and the upstream is the buffer (I5).
//
// There are two protocols and one shape. Dial settles with the server which protocol is spoken and how messages are packed, by making attempts that
// each give something up; a [Negotiator] remembers what they taught. A v2 frame's values are copied to the arena in v1's shape ([Unwrap]), a packed
// message is unpacked there; an event's identity is the same whichever way it came. A server filters as far as it can be asked to, and Run does
// the rest, event by event, before anything is copied; what is not wanted still tells how far the stream was read.
//
// Nothing happens per event but the copy and the scan: clocks, deadlines and atomics are touched once a socket read. The batch's deadline is
// kept by the buffer below the websocket (wire), because that alone knows when the socket has nothing more to give, be it in the middle of a message: what is complete
// does not wait for what is not.
//
// An event stands in its upstream's time where the instance says that it witnessed it, and else at the event's own time; the two are the same today. The clock is the
// instance's: [Conn.ServerDate] tells what it showed when the connection was made.
//
// A connection that ended says so in an [EndError]; one that was never made in a [RefusedError] or a network error. [Classify] turns
// any of them into an [Ending].
//
// # Resuming
//
// Where to resume is decided by [PlanResume], a pure function, and checked against the upstream's first answer, because an upstream moves cursors
// without a word.
//
// There are many clocks: one a host, and our own. A position belongs to the host that sent its event: its number and its time mean something there alone.
// The type messages.UpstreamTime keeps times of two hosts from being subtracted. What a host's clock shows is told on our monotonic clock
// ([HostClock]), so that setting our wall clock changes nothing. Our wall clock decides one thing, and not alone: whether an absence was longer than the replay window.
//
//   - The position is the last event's place. It never lies beyond the host's present, it never goes back behind what is stored, and a replay that has not reached
//     it stands apart from it (messages.Checkpoint.Replay): a connection that is cut goes on where it was cut.
//   - The same host is asked for the very event at the position, by number, or by time where it has none. Its first event must be that event, with that number
//     and that time: a host that numbers its events anew stamps them anew. Then the numbers stand and what follows is new ([FirstExact]).
//   - Where it is not, two blocks before it are asked for, then a time, then an earlier one. Another host is asked for a time from the start: the one at which the
//     position was reached, by that host's own clock where it is known. Such a replay is proven by a first event that the stream holds. What only comes later in it
//     proves nothing: it may be a straggler, or an event that was stamped wrongly.
//   - A replay that proves nothing is left, without anything of it being stored, and the next one begins further back. One that began as far back as there is
//     is stored, behind a gap entry. What cannot be decided becomes a gap entry, never a guess.
//   - An event is older than the stream, or than the index of its fingerprints, only by its place: it came before an event that is known to be the stream's first,
//     or both its number and its time, on the host that gave them, are below that event's, or it is found in the stream where its own time says. A time alone drops nothing.
//   - A feed that never had an event stands at the moment of its first connection.
//   - Connections that end where they began ask for less each time: for no more than the event, then for what follows it. After some more the next host is tried, then the
//     other protocol; then what comes next is passed over, with a gap entry ([Reach]). What a connection brought is judged once all of it is committed: a store may write it
//     after the connection's end.
//   - A filter holds from the moment it is set, on whichever wire: what is older is stored only where the filter of its time wanted it as well.
//
// From a frame to an event:
//
//	scan.go        Scan: the event in a frame
//	fields.go      the fields a frame is known by, in any order and spelling
//	envelope.go    v2 frames: Unwrap, and the frames that are no events
//	json.go        validation of JSON values, the hot loop
//	unescape.go    JSON strings with escapes
//	identity.go    the fingerprint of an event's identity, SameIdentity
//
// From a request to a connection:
//
//	endpoint.go    Endpoint
//	cursor.go      Cursor, and the bounds between its two grammars
//	filter.go      Filter, and what servers refuse in one
//	request.go     Request: the one place that builds URLs and first messages
//	dial.go        Dial: one attempt
//	attempt.go     which attempt comes first, and which after one that failed
//	negotiator.go  Negotiator: what attempts taught
//	dictionary.go  the dictionaries that v2 servers give out
//	refused.go     RefusedError: the upstream's answer to a handshake it did not accept
//
// From a connection to batches:
//
//	conn.go        Conn: activity, ping, close
//	update.go      UpdateFilter
//	wire.go        the buffer between socket and websocket, which knows when there is nothing more to read
//	link.go        the frames between the wire and the websocket: what they announce, and the last one
//	run.go         Conn.Run: the read loop, and when a batch is handed over
//	frame.go       one message, from the socket to the batch
//	skip.go        messages that are too large
//	outline.go     what is kept of one
//	inflate.go     packed messages
//	matcher.go     Matcher: the part of a filter that is done here, and the filters of this daemon's readers
//	ending.go      Ending, Classify
//	errors.go      FrameError and the sentinel errors
//
// From a stream to this daemon's own subscribers: entry.go has Entry, which makes v2 frames of events.
//
// And back again: resume.go has PlanResume and VerifyFirst, hostclock.go has HostClock.
package jetstream

// Package jetstream is the upstream wire: where a Jetstream server is, what it is asked for, and how its frames become batches.
//
// The model. A [Request] (an [Endpoint], a [Filter], a [Cursor]) becomes one websocket by [Dial]; [Conn.Run] reads it to its end. Each
// frame is read from the socket straight into the arena of the batch in hand, and scanned there in one forward pass by [Scan],
// which both validates the JSON, so that the bytes can be stored and embedded in a response verbatim, and extracts the few fields needed to
// order an event, to recognise it and to resume after it. A frame that does not scan is cut off the arena again, counted and reported; it never ends
// the connection (I7). Full batches are handed to a [Sink], which may block: then the socket is not read and the upstream is the buffer (I5).
//
// There are two protocols and one shape. Dial settles with the server which protocol is spoken and how messages are packed, by making attempts that
// each give something up; a [Negotiator] remembers what they taught. A v2 frame's values are copied to the arena in v1's shape ([Unwrap]), a packed
// message is unpacked there; an event's identity is the same whichever way it came. A server filters as far as it can be asked to, and Run does
// the rest, event by event, before anything is copied; what is not wanted still tells how far the stream was read.
//
// Nothing happens per event but the copy and the scan: clocks, deadlines and atomics are touched once a socket read. The batch's deadline is
// kept by the buffer below the websocket (wire), because that alone knows when the socket has nothing more to give.
//
// A connection that ended says so in an [EndError]; one that was never made in a [RefusedError] or a network error. [Classify] turns
// any of them into an [Ending]. Where to resume is decided by [PlanResume], a pure function, and checked against the upstream's first answer by
// [VerifyFirst], because an upstream moves cursors silently.
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
//	run.go         Conn.Run: the read loop, and when a batch is handed over
//	frame.go       one message, from the socket to the batch
//	inflate.go     packed messages
//	matcher.go     Matcher: the part of a filter that is done here, and the filters of this daemon's readers
//	ending.go      Ending, Classify
//	errors.go      FrameError and the sentinel errors
//
// From a stream to this daemon's own subscribers: entry.go has Entry, which makes v2 frames of events.
//
// And back again: resume.go has PlanResume and VerifyFirst.
package jetstream

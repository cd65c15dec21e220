// Package jetstream is the upstream wire: where a Jetstream server is, what it is asked for, and how its frames become batches.
//
// The model. A [Request] (an [Endpoint], a [Filter], a [Cursor]) becomes one websocket by [Dial]; [Conn.Run] reads it to its end. Each
// frame is read from the socket straight into the arena of the batch in hand, and scanned there in one forward pass by [Scan],
// which both validates the JSON, so that the bytes can be stored and embedded in a response verbatim, and extracts the few fields needed to
// order an event, to recognise it and to resume after it. A frame that does not scan is cut off the arena again, counted and reported; it never ends
// the connection (I7). Full batches are handed to a [Sink], which may block: then the socket is not read and the upstream is the buffer (I5).
//
// Nothing happens per event but the copy and the scan: clocks, deadlines and atomics are touched once a socket read. The batch's deadline is
// kept by the buffer below the websocket (wire), because that alone knows when the socket has nothing more to give.
//
// A connection that ended says so in an [EndError]; one that was never made in a [RefusedError] or a network error. [Classify] turns
// any of them into an [Ending]. Where to resume is decided by [PlanResume], a pure function, and checked against the upstream's first answer by
// [VerifyFirst], because an upstream moves cursors silently.
//
//	scan.go      Scan: from a frame to a messages.Event
//	fields.go    the fields a frame is known by, in any order and spelling
//	json.go      validation of JSON values, the hot loop
//	unescape.go  JSON strings with escapes
//	identity.go  the fingerprint of an event's identity, SameIdentity
//	endpoint.go  Endpoint
//	cursor.go    Cursor, and the bounds between its two grammars
//	request.go   Filter, Request: the one place that builds URLs
//	resume.go    PlanResume, VerifyFirst
//	dial.go      Dial
//	refused.go   RefusedError: the upstream's answer to a handshake it did not accept
//	wire.go      the buffer between socket and websocket, which knows when there is nothing more to read
//	conn.go      Conn: activity, ping, close
//	run.go       Conn.Run: the read loop
//	ending.go    Ending, Classify
//	errors.go    FrameError and the sentinel errors
package jetstream

// Package jetstream speaks the wire protocol of upstream Jetstream servers. It addresses a server,
// asks it for events, and turns its frames into batches.
//
// The model. [Dial] turns a [Request] (an [Endpoint], a [Filter], a [Cursor]) into one websocket.
// [Conn.Run] reads that websocket to its end. Run reads each frame from the socket straight into
// the arena of the current batch, and [Scan] scans it there in one forward pass. The pass validates
// the JSON, so that the bytes can be stored and embedded in a response verbatim. It also extracts
// the few fields that are needed to order an event, to recognise it and to resume after it. A frame
// that does not scan is removed from the arena, counted and reported; it never ends the connection
// (I7). A message that is larger than the limit is read and discarded, and its outline becomes a
// messages.OversizedEvent. Full batches are handed to a [Sink], which may block. While it blocks, the
// socket is not read and the upstream is the buffer (I5).
//
// There are two protocols and one stored shape. Dial negotiates the protocol and the compression
// with the server: it makes attempts, and each further attempt gives something up. A [Negotiator]
// remembers the results. The values of a v2 frame are copied to the arena in v1's shape ([Unwrap]);
// a compressed message is decompressed into the arena. An event has the same identity in both
// protocols. The server applies the part of the filter that it can be asked for. Run applies the
// rest, event by event, before it copies anything. An event that is not wanted still moves the
// batch's position.
//
// Run does nothing per event but the copy and the scan: it touches clocks, deadlines and atomics
// once per socket read. The buffer below the websocket (wire) keeps the batch's deadline, because
// only that buffer knows when the socket has nothing more to give, even in the middle of a message.
// So complete events do not wait for an incomplete message.
//
// The time of an event's position is the time at which the upstream's instance witnessed it, where
// the event says that, and otherwise the event's own time. The two are the same today. The clock is
// the instance's: [Conn.ServerDate] tells what it showed when the connection was made.
//
// A connection that ended gives an [EndError]. A connection that was never made gives a
// [RefusedError] or a network error. [Classify] turns any of them into an [Ending].
//
// # Resuming
//
// [PlanResume], a pure function, decides where to resume. [VerifyFirst] checks the plan against the
// upstream's first event, because an upstream moves a cursor silently.
//
// Every host has its own clock, and we have ours. A position belongs to the host that sent its
// event: its number and its time have a meaning on that host only. The type messages.UpstreamTime
// prevents the subtraction of times of two hosts. [HostClock] relates a host's clock to our
// monotonic clock, so that a change of our wall clock has no effect. Our wall clock decides one
// thing only, and not alone: whether an absence was longer than the replay window.
//
//   - The position is the place of the last event. It is never later than the host's present, and
//     it never moves back behind what is stored. The place of a replay that has not reached the
//     position yet is kept separately (messages.Checkpoint.Replay), so that after a cut connection
//     the next one continues at the cut.
//   - The same host is asked for exactly the event at the position: by number, or by time if the
//     event has no number. Its first event must be that event, with the same number and the same
//     time, because a host that renumbers its events also gives them new times. Then its numbers
//     are still valid and everything that follows is new ([FirstExact]).
//   - If the first event is another one, the next connection asks for a number two blocks earlier,
//     then for a time, then for earlier times. Another host is asked for a time at once: the time
//     at which the position was reached, on that host's own clock if it is known. The proof of such
//     a replay is a first event that the stream holds. A held event that comes later in the replay
//     proves nothing: it may be a late event, or an event with a wrong time.
//   - A replay without proof is abandoned and none of it is stored. The next one begins further
//     back. When it makes no sense to begin any further back ([Plan].Accept), the replay is stored
//     after a gap entry. A question that cannot be decided gives a gap entry, never a guess.
//   - An event counts as older than the stream, or than the index of its fingerprints, only because
//     of its place: it came before an event that is known to be the stream's first; or its number
//     and its time, on the host that gave them, are both below those of that event; or the stream
//     holds it where its own time says. No event is dropped because of its time alone.
//   - The position of a feed that never had an event is the moment of its first connection.
//   - When connections end where they began, each next one asks for less: first for no more than
//     the event at the position, then for what follows it. After more of them the feed tries the
//     next host, then the other protocol. Then the resume passes over what comes next, with a gap
//     entry ([Reach]). A connection is judged once everything that it brought is committed, because
//     a store may write that after the connection's end.
//   - A filter applies from the moment it is set, in both protocols. Older events are stored only
//     if the filter of their time wanted them as well.
//
// From a frame to an event:
//
//	scan.go        Scan: the event in a frame
//	fields.go      the fields that identify a frame's event, in any order and spelling
//	envelope.go    v2 frames: Unwrap, and the frames that are not events
//	json.go        validation of JSON values, the hot loop
//	unescape.go    JSON strings with escapes
//	identity.go    the fingerprint of an event's identity, SameIdentity
//	content.go     Content: the record of a commit, to compare with sources without revs
//
// From a request to a connection:
//
//	endpoint.go    Endpoint
//	cursor.go      Cursor
//	filter.go      Filter, and what servers refuse in one
//	request.go     Request: the one place that builds URLs and first messages
//	dial.go        Dial: one attempt
//	attempt.go     the first attempt, and the next one after a failure
//	negotiator.go  Negotiator: what attempts have taught
//	dictionary.go  the dictionaries that v2 servers give out
//	refused.go     RefusedError: the upstream's answer to a handshake that it did not accept
//
// From a connection to batches:
//
//	conn.go        Conn: activity, ping, close
//	update.go      UpdateFilter
//	wire.go        the buffer between socket and websocket; it knows when the socket is empty, and
//	               reads a socket that gives little once a batch
//	poll_*.go      poller: reads what a socket has, without waiting
//	link.go        the frames between the wire and the websocket: their lengths, and the last one
//	run.go         Conn.Run: the read loop, and when a batch is handed over
//	frame.go       one message, from the socket to the batch
//	skip.go        messages that are too large
//	outline.go     the part of such a message that is kept
//	inflate.go     compressed messages
//	matcher.go     Matcher: the local part of a filter, and the filters of the daemon's readers
//	ending.go      Ending, Classify
//	errors.go      FrameError and the sentinel errors
//
// From a stream to this daemon's own subscribers: entry.go has Entry, which makes v1 and v2 frames
// of stored events.
//
// To resume: resume.go has PlanResume and VerifyFirst, moment.go what they know of moments, which
// are of several clocks, hostclock.go has HostClock.
package jetstream

// Package messages has every type that crosses an actor boundary.
//
// Three rules make the rest of the daemon simple:
//
//   - A message is immutable once it was sent. The one exception is [Batch], whose ownership moves
//     with it: after the send the sender must not touch the batch until it comes back through
//     Release of the [AppendBatch] or [AppendBackfill].
//   - Every message that belongs to one websocket connection carries that connection's [Epoch]. The
//     receiver drops a message about an older epoch. Therefore [ForceReconnect] is safe at any
//     moment.
//   - The package imports only the standard library, so that every other package may import it. The
//     few messages that carry an actor's address are in package actors.
//
// The vocabulary:
//
//	feed        what is read from one upstream at a time, and written to one stream
//	host        one instance of an upstream; its clock and its sequence numbers are its own
//	event       what an upstream sends; a stored one is an entry of the stream
//	batch       a run of events on the way from a websocket to the stream
//	epoch       the number of a connection; a lease has epochs of its own, which fence
//	position    a place in the events of one host; a moment is one without an event
//	checkpoint  everything that a restart needs: the position and what was known there
//	covered     the moment up to which nothing is missing
//	replay      events of the past that a host sends again, from the place that was asked for
//	tip         the end of a host's events: there is nothing more to send
//	present     what a host's clock shows
//	gap         events that are missing, or may be
//	backfill    missing events, fetched by a second connection
//	lease       the right to append to a stream; its holder is the stream's owner
//	standby     a daemon that may own a stream, and does not
//
// The files:
//
//	id.go        EntryID, the order of a stream's entries
//	event.go     Kind, Event, Batch: what flows from the socket to the stream
//	clock.go     UpstreamTime: a moment on one host's clock
//	position.go  Position, Checkpoint, Gap: the place of a feed in its upstream
//	ledger.go    GapRow: what is known of a gap and of its repair
//	filter.go    what a feed wants, and what it wanted before
//	cursor.go    a feed's position as people see it, and what they trim
//	status.go    feed states and the status that a feed reports
//	history.go   FeedHistory: what a feed remembers of itself
//	consumer.go  ConsumerStatus: a named consumer of a stream
//	protocol.go  the conversation between the actors
//	repair.go    the conversation about gaps and their repair
//	lease.go     the right to append to a stream, and the conversation about it
//	errors.go    the errors that answers carry
package messages

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
// The files:
//
//	id.go        EntryID, the order of a stream's entries
//	event.go     Kind, Event, Batch: what flows from the socket to the stream
//	clock.go     UpstreamTime: a moment on one host's clock
//	position.go  Position, Checkpoint, Gap: the place of a feed in its upstream
//	filter.go    what a feed wants, and what it wanted before
//	status.go    feed states and the status that a feed reports
//	history.go   FeedHistory: what a feed remembers of itself
//	consumer.go  ConsumerStatus: a named consumer of a stream
//	protocol.go  the conversation between the actors
//	lease.go     the right to append to a stream, and the conversation about it
//	errors.go    the errors that answers carry
package messages

// Package messages holds every type that crosses an actor boundary.
//
// Three rules make the rest of the daemon simple:
//
//   - A message is immutable once sent. The one exception is [Batch], whose ownership moves with it: after
//     the send the sender may not touch it until it comes back in a [BatchCommitted] or [BatchRefused].
//   - Whatever belongs to one websocket connection carries that connection's [Epoch]. A message about an older epoch
//     is dropped by whoever receives it, which is what makes [ForceReconnect] safe at any moment.
//   - The package imports the standard library alone, so that every other package may import it. The few messages that carry an actor's address are in package
//     actors.
//
// The files:
//
//	id.go        EntryID, the stream's own order
//	event.go     Kind, Event, Batch: what flows from the socket to the stream
//	clock.go     UpstreamTime: a moment on one host's clock
//	position.go  Position, Checkpoint, Gap: where a feed stands upstream
//	filter.go    what a feed wants, and wanted
//	status.go    feed states and the status a feed reports
//	history.go   FeedHistory: what a feed remembers
//	consumer.go  ConsumerStatus: what is told about a named consumer of a stream
//	protocol.go  the conversation between the actors
//	lease.go     who may append to a stream, and the conversation about it
//	history.go   what a feed remembers
//	errors.go    the errors that answers carry
package messages

// Package actors holds the actors of one feed, one file each: what they do when nothing fails.
// Package supervisor decides what happens when an actor fails.
//
// The model. A websocket connection reads frames into batches and sends them to the writer. The
// writer appends their events to the stream, in order and each once, and reports to the cursor and
// to the feed. The watchdog receives the connection's heartbeats and forces a reconnect when the
// feed is stale. Every connection has an epoch. A message about an older epoch is dropped.
//
//	connection → writer → cursor
//	     │          └───→ feed (supervisor)
//	     └ heartbeat → watchdog → ForceReconnect → connection
//
// Receive never blocks. Blocking work (the socket, the store) runs in a [Task], and nothing else
// starts a goroutine. A panic in a task's goroutine fails its actor, and the supervisor handles
// that failure. A task is cancelled and awaited before the supervisor learns of a failure, and
// before its actor stops or starts its next incarnation. A task's answers reach the actor as
// messages; answers to an earlier incarnation are dropped. No actor here handles a disconnect: the
// connection actor fails with an [Ended], and the feed's supervision decides what follows.
//
// A store may answer with an error that we do not know. That is a state of the store and not a
// failure of an actor: the request is retried with growing waits, and the feed's status shows the
// reason. Only a fault of ours fails an actor. An append that the store refused may still be
// durable, so the writer does not send it again: it ends the epoch, and the feed resumes from the
// position that is stored.
//
// Credits bound the memory: a feed has [Credits] batches. A connection without a free batch stops
// reading its socket (I5).
//
//	task.go        work beside an actor
//	connection.go  the connection actor
//	session.go     one websocket from dial to end, with its heartbeat and pings
//	sink.go        what a websocket fills: batches, the first event, the upstream's notices
//	messages.go    the messages that carry an address, or a type of a package above messages
//	writer.go      the writer actor
//	committer.go   the writer's goroutine: dedupe, gap, append, retry
//	epoch.go       what the committer knows of an epoch: which batch is next, how far it has come
//	expectation.go what an epoch expects of its next batch, and the judgement of that batch
//	report.go      what the committer tells the cursor, the feed and the metrics
//	backfill.go    the backfill actor: a second connection for events that the first one missed
//	gap.go         the form of a gap entry, and when one is appended
//	cursor.go      the cursor actor
//	filters.go     the cursor's part in saving a feed's filters
//	lease_holder.go the lease holder actor: the lease of a stream that several daemons share
//	trouble.go     what a committer does when the store refuses
//	patience.go    waiting for a store that is full, is unavailable or refuses
//	watchdog.go    the watchdog actor
//	detector.go    the adaptive failure detector
package actors

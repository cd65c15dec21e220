// Package actors holds the actors of one feed, one file each: what they do when nothing fails. What happens when one fails is the
// supervisor's business.
//
// The model. A websocket connection reads frames into batches and hands them to the writer; the writer makes them durable, in order and
// once, and tells the cursor and the feed. The watchdog listens to the connection's heartbeat and forces a reconnect when the feed is
// stale. Every connection has an epoch; whatever is said about an older one is dropped.
//
//	connection → writer → cursor
//	     │          └───→ feed (supervisor)
//	     └ heartbeat → watchdog → ForceReconnect → connection
//
// Receive never blocks. Blocking work (the socket, the store) runs in a [Task], and nothing else starts a goroutine. A panic in one is a failure of its actor, which
// supervision answers. A task is cancelled and awaited before the supervisor learns of a failure, and before the actor stops or its next incarnation starts. Its
// answers reach the actor as messages, unless they are an earlier incarnation's. A disconnect is not handled here: the connection actor fails with an [Ended], and
// the feed's supervision decides what follows.
//
// A store may say what we do not know. That is a state it is in, retried with growing waits and shown, and no failure of an actor: only a fault of ours is. An append
// that was refused may have landed, so it is not sent again: the epoch is over, and what it brought is read again from what is stored.
//
// Memory is bounded by credits: a feed has [Credits] batches, and a connection without a free one stops reading its socket (I5).
//
//	task.go        work beside an actor
//	connection.go  the connection actor
//	session.go     one websocket from dial to end, with its heartbeat and pings
//	sink.go        what a websocket fills: its batches, its first event, what the upstream says beside them
//	pool.go        the batches a feed has
//	ended.go       why a connection ended
//	writer.go      the writer actor
//	jobs.go        what a writer was given and has not begun
//	committer.go   the writer's goroutine: dedupe, gap, append, retry
//	expected.go    what an epoch is to bring, and the judgement of its batches
//	repairing.go   the committer's part in a backfill
//	backfill.go    the backfill actor: a second connection for what the first did not bring
//	addressed.go   the messages that carry an actor's address
//	gap.go         what a gap entry looks like, and when one is appended
//	cursor.go      the cursor actor
//	filters.go     the cursor's part in remembering what a feed wanted
//	keeper.go      the keeper actor: the lease of a stream that daemons share
//	trouble.go     what a committer does about a store that refuses
//	patience.go    waiting for a store that is full or away, or refuses
//	watchdog.go    the watchdog actor
//	detector.go    the adaptive failure detector
//	sleep.go       noticing that the machine slept
//	guard.go       what every actor is wrapped in
package actors

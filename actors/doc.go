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
// Receive never blocks. Blocking work (the socket, the store) runs in one goroutine that its actor owns: cancelled and joined before the
// actor stops or its next incarnation starts. A disconnect is not handled here: the connection actor fails with an [Ended], and
// the feed's supervision decides what follows.
//
// Memory is bounded by credits: a feed has [Credits] batches, and a connection without a free one stops reading its socket (I5).
//
//	connection.go  the connection actor
//	session.go     one websocket from dial to end, with its heartbeat and pings
//	pool.go        the batches a feed has
//	ended.go       why a connection ended
//	writer.go      the writer actor
//	committer.go   the writer's goroutine: dedupe, gap, append, retry
//	repairing.go   the committer's part in a backfill
//	backfill.go    the backfill actor: a second connection for what the first did not bring
//	gap.go         what a gap entry looks like
//	cursor.go      the cursor actor
//	keeper.go      the keeper actor: the lease of a stream that daemons share
//	patience.go    waiting for a store that is full or away
//	watchdog.go    the watchdog actor
//	detector.go    the adaptive failure detector
//	sleep.go       noticing that the machine slept
//	guard.go       what every actor is wrapped in
package actors

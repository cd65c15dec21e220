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
// The vocabulary, beside that of package messages:
//
//	turn         what an actor does with one message
//	task         work beside an actor: goroutines that are cancelled and awaited together
//	incarnation  an actor from a start to the next restart
//	fault        a failure that is our own mistake; also a test's hook that makes one
//	session      one websocket from dial to end; a connection has one after the other
//	sink         what takes the batches and the first event of a websocket
//	forced       ended by a ForceReconnect
//	silence      how long no frame came; a lull is one that was healthy
//	blind        a host whose frames come, but none that the feed wants
//	job          a message in the writer's queue; the committer does them in order
//	begin, end   the marks in that queue around an epoch and around a backfill
//	start, stop  the same of actors, goroutines and the order for a backfill
//	fetch        events of one gap of the ledger, brought by a source; a repair is one or more
//	drain        store what the store takes, and give the rest up
//	quiesce      store everything of the epochs before this one
//	expectation  what an epoch expects of its next batch; the judgement of the batch is a verdict
//	proof        what shows that a replay begins early enough, so that no event is missing
//	held         an event that the stream has already
//	outdated     said by an upstream that cannot go back as far as it was asked to
//	trouble      why a store does not do what it should, "" when that is over
//	refused      an append that failed with an unknown error: it may be durable or not
//	load, save   the cursor's checkpoint and filters, from and to their store
//	claim        the request for a lease: it is granted, or held by another daemon
//	renew, lose, release  what becomes of a granted lease
//
// The files:
//
//	messages.go     the messages that carry an address, or a type of a package above messages
//	task.go         the wrapper of every actor, and the work beside it
//	connection.go   the connection actor: what it is told to dial, and why it ended
//	session.go      one websocket, with its heartbeat and pings
//	sink.go         the batches of a websocket, its first event, the upstream's notices
//	writer.go       the writer actor, and its queue
//	committer.go    the writer's goroutine: compare, judge, append
//	times.go        times of events that cannot be true
//	epoch.go        what the committer knows of an epoch: the next batch, the position's way
//	expectation.go  what an epoch expects of its next batch, and the judgement of the batch
//	bare.go         records without revs: what is compared for them
//	fill.go         what a batch of history changes in the checkpoint
//	gap.go          the form of a gap entry, and when one is appended
//	report.go       what the committer tells the cursor, the feed and the metrics
//	trouble.go      what the committer does when the store refuses
//	backfill.go     a backfill: the actor that fetches it, and the committer's part in it
//	repair.go       the same actor's part in the ledger's gaps: which one is fetched, from where
//	fetch.go        one fetch: its source, and the way of its batches
//	fetched.go      the committer's part in a fetch
//	ledger.go       the committer's view of the ledger: rows, their versions, when they are saved
//	found.go        gaps that an earlier version recorded, which kept no ledger
//	cursor.go       the cursor actor
//	filters.go      the cursor's part in saving a feed's filters
//	lease_holder.go the actor that holds a stream's lease, where several daemons share the store
//	retry.go        the waits for a store that is full, is unavailable or refuses
//	watchdog.go     the watchdog actor
//	detector.go     what it notices: an unusual silence, and a sleep of the machine
package actors

// Package supervisor starts the actors and decides what happens when one fails.
//
// The tree: a root, below it one feed supervisor per feed, and below each feed the actors of
// package actors. The root and the feeds are their own supervision strategies, because the actor
// library's built-in strategies stop children silently, never escalate, and back off linearly
// without a cap:
//
//   - The end of a connection is expected. The feed waits for its backoff and restarts the
//     connection with a new epoch.
//   - A refusal by the store is a state: the feed shows it, reports it to readiness and waits.
//   - A fault of ours, in an actor's turn or in its tasks, restarts that actor. If the actor is the
//     writer, the fault also ends the connection, and the batches in flight are read again.
//   - Too many faults within a window escalate: from the feed to the root, which restarts the feed,
//     and from the root to the process, which exits non-zero and leaves the rest to systemd. A feed
//     that fails never affects another feed.
//
// Where several daemons share the store, a feed has its actors only while this daemon holds the
// lease of its stream. Each time of ownership is a tenure. It begins with the keeper's
// LeaseGranted. It may end in good order: the feed stops reading, stores everything that it has
// read, saves the checkpoint, and only then releases the lease. Or the lease is lost: then the
// actors end at once, because the store refuses their appends (I6), and the next owner of the feed
// reads again what they had not stored. The next tenure begins when the last actor has ended.
//
// No single daemon decides who owns which feed. The sharing actor of each daemon looks at the
// daemons and at the owners, and decides by a function of that view (share.go). Daemons with the
// same view decide the same. A feed that moves to another daemon ends its tenure in good order
// first, and then the other daemon takes the lease.
//
// A restart never uses a timer of the actor library's. A timer of ours sends the supervisor a
// message, and a supervisor that is stopping ignores it.
//
//	daemon.go    Start, Stop and the questions of the HTTP server: the tree seen from outside
//	root.go      the root
//	feed.go      the feed supervisor: the conversation with its actors
//	tenure.go    the beginning and the end of a feed's actors
//	ownership.go a feed's lease, where the store is shared
//	sharing.go   the actor that spreads the feeds over the daemons that share them
//	share.go     the decision which daemon owns which feed
//	command.go   the commands of operators
//	resume.go    how a feed begins a connection: the request, and the proof that it was enough
//	resuming.go  what a feed's connections have taught about resuming
//	repair.go    backfills of events that a legacy server leaves out
//	filter.go    a changed filter of a running feed
//	endpoints.go the choice of the next upstream
//	ask.go       questions from outside the tree
//	failure.go   what a feed does when one of its actors fails
//	status.go    a feed's state, its history and its figures
//	lag.go       how far a feed is behind, also while nothing is stored
//	ready.go     what keeps a feed from being ready
//	history.go   what a feed remembers for the status page
//	health.go    the health check that travels down and up the tree
//	backoff.go   the wait before the next connection
//	intensity.go how many faults are too many
package supervisor

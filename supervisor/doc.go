// Package supervisor says who starts whom and what happens when one fails.
//
// The tree: a root, one feed supervisor a feed, and below it the actors of package actors. Both levels are their
// own supervision strategy (the actor library's built-in ones stop children silently, never escalate and back off linearly without a cap):
//
//   - The end of a connection is expected. The feed waits for its backoff and restarts the connection with a new epoch.
//   - What a store refuses is a state: it is shown, told to readiness and waited for.
//   - A fault of ours, in an actor's turn or in what runs beside it, restarts the actor that had it, and ends the connection too when it was the writer:
//     what was in flight is read again.
//   - Too many faults within a window escalate: from the feed to the root, which restarts the feed; from the root to the process, which
//     exits non-zero and leaves the rest to systemd. A feed that fails never touches another.
//
// Where several daemons share the store, a feed has its actors while it holds the lease of its stream, and none otherwise: each time of ownership is a tenure,
// begun by its keeper's LeaseGranted. A tenure ends in good order (nothing is read any more, what was read is stored, the checkpoint saved, and only then the
// lease released), or it is lost: then the actors are ended as they are, for the store refuses their appends (I6), and whoever owns the feed next reads again
// what they had not stored. The next tenure begins when the last actor has ended.
//
// Who is to own which feed is nobody's to say alone. The sharing actor of each daemon looks at who is there and who owns what, and decides (share.go, a function
// of what it saw); with the same view they all decide the same. A feed that goes to another daemon is left in good order by its owner and then taken.
//
// A restart is never left to a timer of the library's: the timer sends the supervisor a message, and a supervisor that is stopping ignores it.
//
//	daemon.go    Start, Stop and the questions HTTP asks: the tree seen from outside
//	root.go      the root
//	feed.go      the feed supervisor: the conversation with its actors
//	tenure.go    the beginning and the end of its actors
//	ownership.go who owns a feed, where the store is shared
//	sharing.go   the actor that spreads the feeds over the daemons that have them in common
//	share.go     who is to own what, decided
//	command.go   what operators ask of a feed
//	resume.go    how a feed begins a connection: what it asks for, and what proves that it was enough
//	resuming.go  what a feed's connections have taught about resuming
//	repair.go    what a legacy server leaves out, fetched by a second connection
//	filter.go    changing a running feed's filter
//	endpoints.go which upstream is connected to next
//	ask.go       questions from outside the tree
//	failure.go   what a feed does when one of them fails
//	status.go    a feed's state, its history and its figures
//	lag.go       how far a feed is behind, while nothing is stored too
//	ready.go     what keeps a feed from being as ready as one can be
//	history.go   what a feed remembers for the status page
//	health.go    the health check that travels down and up the tree
//	backoff.go   how long to wait before the next connection
//	intensity.go how many faults are too many
package supervisor

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
// One value is one life of the feed's actors (life): from their start to the end of the last one.
// What a life does now is its phase (phase.go has the list): a type whose methods say what a
// message or an order means then. The feed above it has what outlives the actors: the lease, the
// choice of endpoints with their backoff, the status, and the count of faults. The next life begins
// with a message of the feed to itself, behind everything that the actors of the former one sent.
//
// Where several daemons share the store, a life lasts while this daemon holds the lease of the
// feed's stream. It begins with the lease holder's LeaseGranted. It may end in good order: the feed
// stops reading, stores everything that it has read, saves the checkpoint, and only then releases
// the lease. Or the lease is lost: then the actors end at once, because the store refuses their
// appends (I6), and the next owner of the feed reads again what they had not stored.
//
// No single daemon decides who owns which feed. The balancer of each daemon looks at the daemons
// and at the owners, and decides by a function of that view (balance.go). Daemons with the same
// view decide the same. A feed that moves to another daemon ends its life in good order first, and
// then the other daemon takes the lease.
//
// A restart never uses a timer of the actor library's. A timer of ours sends the supervisor a
// message, and a supervisor that is stopping ignores it.
//
// # Vocabulary
//
//	feed        one upstream subscription and the stream of the same name
//	life        one run of a feed's actors
//	phase       what a life does now; not the state, which the status shows to people
//	epoch       the number of a connection; every message about a connection carries it
//	incarnation an actor between two restarts
//	fault       a failure of ours; the end of a connection is none
//	trouble     why a store does not do what it should; it keeps a feed from being ready
//	order       what an operator or the daemon wants: halt, resume, leave, another filter
//	halt        read nothing more; the actors stay
//	leave       end the life in good order: drain, save, release
//	end         end the actors at once
//	claim       ask for the lease; it is then granted (to us) or held (by another daemon)
//	release     give the lease up; a lease that is lost was not given up
//	standby     without a lease; another daemon owns the feed, or none does
//	share       the balancer's decision whether this daemon is to own a feed
//	replay      stored events that an upstream sends again; at its end the connection is live
//	tip         the upstream's newest event; a feed at the tip has nothing more to get
//	overlap     a replay begins before the stream's end; an event that we hold proves it
//	late        a replay that begins after the stream's end, so events may be missing
//	moved       the position is further than before; progress
//	fill        the history that a feed begins with, until it is live
//	span        a time span for a backfill to fetch
//	covered     the time up to which the stream holds all events
//
// # Files
//
//	start.go      Start: from the configuration to the tree
//	daemon.go     Stop and the questions of the HTTP server: the tree seen from outside
//	change.go     other feeds, while the tree runs: made ready, then put in force; deleting a stream
//	swap.go       what the root does of that: some feeds end in good order, others begin
//	ask.go        questions from outside the tree
//	root.go       the root
//	feed.go       the feed supervisor: its messages, its questions and commands
//	life.go       one life of a feed's actors: its beginning and its end
//	phase.go      what a life does: all phases but those of a connection
//	resume.go     how a connection begins: the request, and what would prove that it was enough
//	connected.go  the phases of a connection
//	fill.go       a feed that begins with history, and the phase of a connection that reads an archive
//	failure.go    what a feed does when one of its actors fails
//	ownership.go  a feed's lease, where the store is shared
//	continuity.go how each connection continues the one before
//	backfill.go   backfills of events that a legacy server leaves out, and of lost blocks
//	filter.go     a changed filter of a running feed
//	endpoints.go  the choice of the next upstream
//	backoff.go    the wait before the next connection
//	balancer.go   the actor that spreads the feeds over the daemons that share them
//	balance.go    the decision which daemon owns which feed
//	status.go     a feed's state and its figures
//	absence.go    what an absence cost, told at its end
//	history.go    what a feed remembers for the status page
//	lag.go        how far a feed is behind, also while nothing is stored
//	ready.go      what keeps a feed from being ready
//	health.go     the health check that travels down and up the tree
package supervisor

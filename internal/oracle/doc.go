// Package oracle searches for schedules of faults that make the daemon lose, double or reorder an
// event. It runs the whole core in one process and under virtual time: supervisors, actors, the
// embedded store on a disk in memory, simulated upstreams of both generations, the HTTP server and its
// readers. Everything that happens is drawn from one seed.
//
// # The model
//
// A run has a [Setup], the world: servers with their clocks and habits, one daemon with a store of
// its own or several that share a store with leases, and what the feed wants. A [Schedule] adds the
// steps: which fault begins when, and how long it lasts. The run happens in a bubble of
// testing/synctest, so a run of twenty minutes takes some hundredths of a second. All waiting is on
// channels and timers. The daemon speaks the real protocol: it dials with package jetstream over
// connections in memory.
//
// A schedule runs, then everything is healed, and the network falls silent. When nothing changes any
// more, the run is judged, by public interfaces alone. The simulator's log says what was sent and
// what could still be had: the stream must hold that once and in order, with the bytes that were
// sent, and each gap entry must cover something that was really lost. Every reader must have seen
// exactly the stream, over all restarts: the same entries under the same IDs. In the end the feed
// is live and the daemon ready, and it has not dialled too often. Where no server's numbers or times
// go back, the stored position has never gone back; and neither it nor what counts as covered has lain
// beyond the present of a server that tells its clock. No actor has failed that the schedule did not
// make fail.
//
// Two readers use the Go interface. Others use HTTP, each in one of the ways that the daemon has:
// requests that wait, filtered or not, server-sent events, both forms of Durable Streams, both
// Jetstream protocols, and named consumers with two workers. Their connections are short of room, are
// cut, and are not read for minutes. A reader goes on where it was, as its protocol says, at any
// daemon. Where the stream keeps only the newest entries, a reader may miss what was dropped, and
// only what it was told of. A consumer must have acknowledged every entry, none twice as new. An
// append must take no time at all, whoever reads (I8).
//
// A bad schedule shrinks: steps are dropped by halves and then one by one, and what is left gets
// shorter, as long as the run is bad in the same way. It prints as a text that is also its input
// (-oracle.schedule), with the differences and the log of the run as comments. The runs of one
// schedule are the same, except for the order of goroutines that are ready at the same instant.
//
// Kill and power cut end a process at one instant: from then on nothing that it does reaches the
// network or the disk. After a power cut unsynced writes are dropped, kept or torn. A disk may also
// bring other bytes than it has, and lie: what it says to have synced is lost.
//
// # The machine's own measure
//
// testdata/breaks has bugs as patches. breaks.sh puts them back one by one, and says after how many
// seeds each is found. testdata/found has schedules that have found a bug. A test runs them.
//
// # What is not simulated
//
// Some questions cannot be decided, and the draw leaves them out. A feed that has no event yet cannot
// tell how far behind an undated server's clock is, nor what another server had that says that it does
// not go back so far. After a change of the filter nothing proves a replay by time: a time in the
// future of an undated server begins at its tip without a word. A server whose clock was wrong does not
// tell by its times what it has dropped. A feed that has stored nothing believes a server of its own
// age that it has dropped nothing. An event that was too large leaves an entry with which no replay can
// be compared. A stream that keeps less than a server repeats has it twice.
//
// The shared store of several daemons is that of package valkey on a model of a server
// (internal/valkeysim), or one that keeps the same contract and costs less. A server that has lost
// everything that it had is not among its faults, nor is a write that goes elsewhere. The state beside
// the streams of a store on the disk in memory is kept in memory: after a kill the named consumers are
// those of its last copy. A frozen machine is one whose calls of the shared store are frozen: its
// timers go on.
//
//	schedule.go     Schedule, Step, Draw, Parse
//	themes.go       which kinds of faults are drawn together
//	setup.go        Setup
//	faults.go       the kinds of faults
//	panics.go       where actors fail
//	run.go          Run, Verdict
//	world.go        the world of a run, and its journal
//	node.go         a machine with a daemon
//	incarnation.go  a process of the daemon
//	shared.go       the store that several daemons share
//	lost.go         a store that loses its end
//	disk.go         the disk; answers of the store that are lost or late
//	diskfaults.go   faults of a disk that says that all is well
//	network.go, connection.go
//	                the network; connections in memory
//	valkeyworld.go  worlds with package valkey's store; the faults of its server
//	clock.go        a clock that can be set
//	readers.go      readers: what they have seen, and when they may read
//	serving.go      the HTTP server; readers of tails and of server-sent events
//	durablereaders.go, subscribers.go, consumers.go
//	                readers of Durable Streams, Jetstream clients, named consumers
//	readerfaults.go faults of readers; who reads, and what the stream keeps
//	judge.go        the comparison; Stats
//	ledger.go       what the stream ever had; the comparison of readers
//	pace.go         when entries were stored
//	oversized.go    the part of the comparison about events that are too large, and faults of actors
//	position.go     the position, which never goes back
//	shrink.go       Shrink
//	story.go        the story of a bad run
package oracle

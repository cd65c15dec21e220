// Package persistence is the durable side of tempestd: streams of events, the checkpoints that travel with them, and the
// identity fingerprints by which a replay is recognised.
//
// # Model
//
// A [Store] holds [Stream]s, one a feed. A stream is a log of entries whose IDs increase; it has one writer and any number of readers.
// The writer appends batches: the entries, their fingerprints and the checkpoint of the upstream go in together or not at all. Readers
// ask for ranges ([Stream.Read]) or follow the tip ([Stream.Tail]) and never hold the writer up.
//
// Package embedded is the store in a directory of this machine: a stream is a log of segment files there.
//
// [Valkey] is the store in a Valkey or Redis server, or a cluster of them, which many daemons share. A stream is a native one with an entry an event,
// under its own ID, which any client may read. Its sibling keys share its hash tag, so that one script may use them together: the meta, with the
// newest ID, the checkpoint and the fencing epoch; the blocks, which say what was appended together, with its fingerprints; the closed marker; the
// lease; the consumers (valkey_keys.go, valkey_scripts.go). What other clients may rely on is in docs/valkey.md.
//
// An append goes in chunks of up to 256 entries, each one run of one script: compare-and-append. It checks the writer's epoch and that the stream
// ends where the writer left it, adds the entries, the block and, with the last chunk, the checkpoint, and trims. Chunks follow one another on one
// connection without waiting for answers; one that is lost, late, sent twice or out of turn finds the stream in another place and changes nothing.
//
// Where a stream ends is its newest ID and a token: a hash of what was appended last and of the
// token before. After an answer that did not come the next append, whatever is in it and whoever
// makes it, asks for the token. Where that is of the same content, what is missing is sent; where
// it is of nothing that the writer knows, the append is a [ConflictError]: the writer resumes from
// the checkpoint. What an append that was cut short left stands behind the checkpoint, where a
// resume finds it by its fingerprints.
//
// What the server says and this version does not know is never an end: the store refuses, with the
// server's words, and is asked again. Every reply is read value by value (valkey_reply.go), and one
// that cannot be read is an error and not nothing.
//
// Appends, pages, short commands and blocking reads have connections of their own ([Valkey.TailStream]). Tails at the tip wait in memory for a hub
// (valkey_hub.go), one a stream: the one blocking read there is, however many tails, which ends when nobody has asked for a while.
//
// # Promises
//
//   - What Append acknowledged is stored, entries and checkpoint together; the stored checkpoint never covers an entry that is not (I1).
//   - No reader is given bytes that were not appended.
//   - Maintenance may make an append wait – some tens of milliseconds –, but never fail.
//   - A writer whose lease was taken over cannot append, however late it wakes ([FencedError]; I6).
//   - A server that answers that it loads, is full, a replica, busy, not the one, down, or anything else but what it was asked for, or that does not answer, is an
//     [UnavailableError]: the next append finds out what landed, and stores nothing twice (I2). One that came back with older data is a [ConflictError].
//   - A call to a server ends with its context, and what it leaves behind with the time-outs; there is a bounded number of them.
//   - Retention by age goes by the writer's clock and by the stream's newest entry: too old is what is so by both, in two rounds. [Stream.Trim] goes by the clock.
//
// # Assumptions and limits
//
// A Valkey store is as durable as its server: what an AOF that is not synced, or a replica that was
// promoted too early, has lost goes with its checkpoint, and is fetched again. The server must not
// evict ([Valkey.Health]), and nobody else may write to the keys: an entry that somebody adds to a
// stream is shown as such, and its ID stepped over. A script keeps the server for about a
// millisecond. Leases go by the server's clock. A feed lives in one node of a cluster, whole; its
// entries are kept in that node's memory.
//
// # Files
//
//	stream.go, frames.go, cursor.go, errors.go   the contract
//	lease.go, consumer.go                        the contract of leases and of named consumers
//	name.go, byname.go, recent.go                what every store needs: names, TailStream and ReadStream, bounds of memory
//	internal/bell/                               wakes who waits
//	embedded/                                    the store in a directory
//	valkey.go, valkey_keys.go                    opening a store in a server, its keys
//	valkey_link.go, valkey_dial.go               its connections, calls that end with their contexts, why one is turned away
//	valkey_scripts.go, valkey_reply.go           what runs in the server, reading what it answers
//	valkey_stream.go                             a stream's state
//	valkey_append.go, valkey_chunk.go            writing it
//	valkey_read.go, valkey_hub.go                reading it, tails
//	valkey_foreign.go                            entries of somebody else's
//	valkey_prints.go                             identity index
//	valkey_lease.go, valkey_consumer.go          owners of streams and their nodes; named consumers
//	valkey_failure.go, valkey_health.go          what a server's answers mean, whether it can be used
//	events.go                                    what the store tells its owner
//	streamtest/                                  the contract as tests, for every backend
package persistence

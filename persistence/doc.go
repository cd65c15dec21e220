// Package persistence is the durable side of tempestd. It stores streams of events, the checkpoint
// of each stream, and the fingerprints that identify events which a replay delivers again.
//
// # Model
//
// A [Store] holds [Stream]s, one per feed. A stream is a log of entries with increasing IDs. It has
// one writer and any number of readers. The writer appends batches: the entries, their fingerprints
// and the checkpoint of the upstream are stored together or not at all. Readers ask for ranges
// ([Stream.Read]) or follow the tip ([Stream.Tail]). They never delay the writer.
//
// Package embedded is the store in a local directory. There, a stream is a log of segment files.
//
// [Valkey] is the store in a Valkey or Redis server or cluster, which many daemons can share. A
// stream is a native stream: each event is one entry under its own ID, and any client can read it.
// The other keys of a stream have the same hash tag, so one script can use them together. They are:
// the meta hash with the newest ID, the checkpoint and the fencing epoch; the blocks, which record
// the entries that were appended together and their fingerprints; the closed marker; the lease; the
// consumers (valkey_keys.go, valkey_scripts.go). docs/valkey.md says what other clients may rely on.
//
// An append is sent in chunks of up to 256 entries. Each chunk is one run of one script:
// compare-and-append. The script checks the writer's epoch. It checks that the stream ends where
// the writer left it. Then it adds the entries, the block and, with the last chunk, the checkpoint,
// and trims. The chunks are sent on one connection, one after the other, without waiting for
// answers. A chunk that is lost, late, sent twice or out of order finds a different end of the
// stream and changes nothing.
//
// The end of a stream is its newest ID and a token. The token is a hash of the last appended
// content and of the token before it. When an answer does not arrive, the next append first asks
// for the token, whatever that append contains and wherever it comes from. If the token belongs to
// the content of this append, only the missing chunks are sent. If the writer does not know the
// token, the append returns a [ConflictError], and the writer resumes from the checkpoint. The
// entries of an append that was cut short are stored after the checkpoint. A resume recognises them
// by their fingerprints.
//
// An answer that this version does not know never stops the daemon: the store returns an error with
// the server's words, and the call can be repeated. Every reply is parsed value by value
// (valkey_reply.go). A reply that cannot be parsed is an error. It is never taken as empty.
//
// Appends, pages, short commands and blocking reads use separate connections ([Valkey.TailStream]).
// Tails at the tip wait in memory for the stream's hub (valkey_hub.go). The hub sends one blocking
// read, however many tails wait. It stops when no tail has asked for a while.
//
// # Promises
//
//   - Entries and checkpoint of an acknowledged Append are stored together. The stored checkpoint
//     never covers an entry that is not stored (I1).
//   - A reader never gets bytes that were not appended.
//   - Maintenance may delay an append by some tens of milliseconds. It never makes an append fail.
//   - A writer whose lease was taken over cannot append, however late it continues ([FencedError];
//     I6).
//   - An [UnavailableError] is returned when the server does not answer, or answers that it is
//     loading, full, a replica, busy, down or the wrong node, or anything else that was not asked
//     for. The next append finds out which entries were stored, and stores nothing twice (I2). When
//     the server comes back with older data, the append returns a [ConflictError].
//   - A call to a server ends with its context. The work that it leaves behind ends within the
//     time-outs, and there is a bounded number of such calls.
//   - Retention by age uses two clocks: the writer's clock and the time of the stream's newest
//     entry. An entry is dropped only when it is too old by both, and by the writer's clock in two
//     rounds in a row. [Stream.Trim] uses the clock alone.
//
// # Assumptions and limits
//
// A Valkey store is as durable as its server. An AOF that is not synced, or a replica that was
// promoted too early, can lose entries. Their checkpoint is lost with them, and the entries are
// fetched again. The server must not evict keys ([Valkey.Health]), and no other client may write to
// them. An entry that another client adds to a stream is shown as a foreign entry, and new entries
// get IDs after it. A script occupies the server for about a millisecond. Leases use the server's
// clock. A feed lies completely in one node of a cluster, and its entries are kept in that node's
// memory.
//
// # Files
//
//	stream.go, frames.go, cursor.go, errors.go   the contract
//	lease.go, consumer.go                        the contract of leases and of named consumers
//	name.go, byname.go, recent.go                shared: names, streams by name, bounds of memory
//	care.go                                      the contract of verification and of snapshots
//	internal/bell/                               wakes waiting tails
//	embedded/                                    the store in a directory
//	valkey.go, valkey_keys.go                    opening a store in a server; its keys
//	valkey_link.go, valkey_dial.go               connections, also refused; calls that end in time
//	valkey_scripts.go, valkey_reply.go           scripts in the server; parsing its replies
//	valkey_stream.go                             the state of a stream
//	valkey_append.go, valkey_chunk.go            writing a stream
//	valkey_read.go, valkey_hub.go                reading a stream; tails
//	valkey_guard.go                              the hub's reader, guarded against panics
//	valkey_foreign.go                            entries of other clients
//	valkey_prints.go                             the identity index
//	valkey_lease.go, valkey_consumer.go          owners of streams, their nodes; named consumers
//	valkey_failure.go, valkey_health.go          meaning of the server's errors; health
//	events.go                                    events that a store reports to its owner
//	streamtest/                                  the contract as tests, for every backend
package persistence

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
// Package embedded is the store in a local directory, where a stream is a log of segment files.
// Package valkey is the store in a Valkey or Redis server or cluster, which many daemons can share.
//
// # Promises
//
//   - Entries and checkpoint of an acknowledged Append are stored together. The stored checkpoint
//     never covers an entry that is not stored (I1).
//   - A reader never gets bytes that were not appended.
//   - Maintenance may delay an append by some tens of milliseconds. It never makes an append fail.
//   - A writer whose lease was taken over cannot append, however late it continues ([FencedError];
//     I6).
//   - Retention by age uses two clocks: the writer's clock and the time of the stream's newest
//     entry. An entry is dropped only when it is too old by both, and by the writer's clock in two
//     rounds in a row. [Stream.Trim] uses the clock alone.
//
// What a store assumes of its disk or its server, and its limits, is in its own package.
//
// # Files
//
//	stream.go, frames.go, cursor.go, errors.go   the contract
//	lease.go, consumer.go                        the contract of leases and of named consumers
//	name.go, byname.go                           shared: names, streams by name
//	care.go                                      the contract of verification and of snapshots
//	events.go                                    events that a store reports to its owner
//	internal/wake/                               wakes waiting tails
//	embedded/                                    the store in a directory
//	valkey/                                      the store in a server
//	streamtest/                                  the contract as tests, for every store
package persistence

// Package persistence is the contract of the stores: the durable side of tempestd, and the way in
// for a Go program that reads or writes streams without the daemon.
//
// # Model
//
// A [Store] holds [Stream]s, one per feed. A stream is a log of entries with increasing IDs. It has
// one writer and any number of readers, and readers never delay the writer.
//
// The writer appends batches ([Stream.Append]). The events of a batch, their fingerprints and the
// checkpoint of the upstream are stored together or not at all. Fingerprints identify events: with
// [Stream.Fingerprints] a writer recognises the events that a replay of the upstream delivers
// again. In a store that several daemons share, a writer needs the stream's lease ([LeaseStore]).
//
// A reader asks for a range ([Stream.Read]) or follows the tip ([Stream.Tail]), and gets a [Page].
// It continues with the page's Cursor. [Store.TailStream] and [Store.ReadStream] do the same with
// the stream's name and the cursors as text. A named consumer ([ConsumerStore]) keeps its position
// in the store.
//
// Words: an entry is in a stream, a page is what a read returns, and a frame is a message on a
// websocket. The HTTP API has an older name for the entries of a page, which stays: frames.
//
// There are two stores. Package embedded keeps streams in a local directory, as logs of segment
// files. Package valkey keeps them in a Valkey or Redis server or cluster, which many daemons can
// share. What a store assumes of its disk or its server, and its limits, is in its package.
//
// # Promises
//
//   - Entries and checkpoint of an acknowledged Append are stored together. The stored checkpoint
//     never covers an entry that is not stored (I1).
//   - An Append whose outcome is unknown can be repeated. No event is stored twice (I2).
//   - IDs strictly increase, and readers see entries in the order of their IDs (I3).
//   - A writer whose lease was taken over cannot append, however late it continues ([FencedError];
//     I6).
//   - A reader never gets bytes that were not appended. After a cursor it never skips entries
//     silently: what retention dropped is a [CursorExpiredError], and what was damaged is a
//     [CorruptError] (I4).
//   - A tail delays no append, and no other tail (I8).
//   - Maintenance may delay an append by some tens of milliseconds. It never makes an append fail.
//   - Retention by age uses two clocks: the writer's clock and the time of the stream's newest
//     entry. An entry is dropped only when it is too old by both, and by the writer's clock in two
//     rounds in a row. [Stream.Trim] uses the clock alone.
//
// # Files
//
//	store.go        stores, by which streams are found
//	stream.go       streams, pages, entries, retention
//	cursor.go       positions in a stream
//	errors.go       errors, and which of them pass
//	lease.go        who may append in a shared store
//	consumer.go     named consumers
//	gaps.go         the ledger of a stream's gaps
//	notice.go       notices, which a store reports to its owner
//	walk.go         Walk: every entry of a stream
//	verify.go       checking and copying a store's files
//	check.go        what every store checks in the same way
//	internal/wake/  waking tails
//	embedded/       the store in a directory
//	valkey/         the store in a server
//	streamtest/     the contract as tests, for every store
package persistence

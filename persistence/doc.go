// Package persistence is the durable side of tempestd: streams of events, the checkpoints that travel with them, and the
// identity fingerprints by which a replay is recognised.
//
// # Model
//
// A [Store] holds [Stream]s, one a feed. A stream is a log of entries whose IDs increase; it has one writer and any number of readers.
// The writer appends batches: the entries, their fingerprints and the checkpoint of the upstream go in together or not at all. Readers
// ask for ranges ([Stream.Read]) or follow the tip ([Stream.Tail]) and never hold the writer up.
//
// [Embedded] is the store in a directory of this machine, on Badger. An append is one block: entries packed and compressed, in one value
// whose key is the block's last ID, so that seeking to the ID after a cursor finds the block that holds what comes next. The block
// carries its own IDs, fingerprints, ordinals and checkpoint; block.go has the format. Beside it, in the same transaction, stands the
// stream's meta: its newest ID, its counters, its checkpoint, whether it was closed.
//
// Tails at the tip are served from a ring of recent entries in memory, which is only kept while somebody tails; readers
// behind it read blocks, a page at a time. Of a block that a page ended within, the decoded head and the chunk are kept for the next page, in a bounded
// cache that all readers share (heads.go).
//
// [Valkey] is the store in a Valkey or Redis server, or a cluster of them, which many daemons share. A stream is a native one with an entry an event,
// under its own ID, which any client may read. Its sibling keys share its hash tag, so that one script may use them together: the meta, with the
// newest ID, the checkpoint and the fencing epoch; the blocks, which say what was appended together, with its fingerprints; the closed marker; the
// lease; the consumers (valkey_keys.go, valkey_scripts.go). What other clients may rely on is in the README.
//
// An append goes in chunks of up to 256 entries, each one run of one script: compare-and-append. It checks the writer's epoch and that the stream
// ends where the writer left it, adds the entries, the block and, with the last chunk, the checkpoint, and trims. Chunks follow one another on one
// connection without waiting for answers; one that is lost, late, sent twice or out of turn finds the stream in another place and changes nothing.
// After an answer that did not come the writer asks where the stream ends and sends what is missing. What an append that was cut short left stands
// behind the checkpoint, where a resume finds it by its fingerprints.
//
// Appends, pages, short commands and blocking reads have connections of their own ([Valkey.TailStream]). Tails at the tip wait in memory for a hub
// (valkey_hub.go), one a stream: the one blocking read there is, however many tails, which ends when nobody has asked for a while.
//
// # Promises
//
//   - What Append acknowledged survives a kill at any instruction, and a power cut too unless a sync interval is configured; then a power
//     cut may take the last interval, entries and checkpoint together.
//   - The stored checkpoint never covers an entry that is not stored (I1), whatever was lost: a stream whose newest blocks are gone goes
//     back to its last whole one at open, and its checkpoint with it. Entries fetched again get their old IDs.
//   - Such a loss is noticed, by a mark kept outside Badger, and told ([LogTruncated], [Embedded.Truncations]).
//   - No reader is given bytes that were not appended: every stored byte is under a CRC32C. A damaged block is a [CorruptError] that
//     names the block; what was read before it is given first, and reading goes on after it. A hole between blocks is told.
//   - Appends stop before the disk is full ([NoSpaceError]) and begin again by themselves. Reading and trimming work meanwhile.
//   - Maintenance may make an append wait – some tens of milliseconds –, but never fail.
//   - A writer whose lease was taken over cannot append, however late it wakes ([FencedError]; I6).
//   - A server that answers that it loads, is full, a replica, busy, not the one, down, or that does not answer, is an [UnavailableError]: the same
//     append again finds out what landed, and stores nothing twice (I2). One that came back with older data is a [ConflictError].
//   - After a write or a sync that failed the embedded store takes no more writes ([ErrStoreFailed]): whether it is on disk only recovery can tell.
//
// # Assumptions and limits
//
// A sync that succeeded is on disk. One process uses the directory, which it locks; it is on a local file system. An event has at
// most 32 MiB, a page ends after [MaxPageBytes]. A store maps all its files, 32 MiB each, so a stock kernel's limit of 65 530 mappings ends it near 2 TiB.
// The space of deleted blocks is given back when there are 64 MiB of them or a trim is asked for, and then for the files of which they
// are half: a single stream takes hardly more of the disk than it reports, the worst mix of retentions twice as much; 45 MiB are
// reserved for what is written next.
// The time goes by the clock that was handed in.
//
// A Valkey store is as durable as its server: what an AOF that is not synced, or a replica that was promoted too early, has lost goes with its
// checkpoint, and is fetched again. The server must not evict ([Valkey.Health]), and nobody else may write to the keys. A script keeps the server for
// about a millisecond. Leases go by the server's clock. A feed lives in one node of a cluster, whole; its entries are kept in that node's memory.
//
// # Why Badger is set up as it is
//
// Values above 1 KiB go to the value log: the LSM tree then holds pointers alone, so its memtables can be small (4 MiB, two of them; a
// transaction's size counts pointers only), compaction has nothing to do, and retention drops whole files. Blocks are compressed, so Badger's own
// compression and the block cache it needs are off. Value log files have 32 MiB: as much may be kept too long. There are no concurrent
// read-modify-writes, so conflicts are not detected. Badger verifies nothing on reading by default, and its stricter modes crash on
// damage; the blocks' own checksums take their place.
//
// Three things Badger does not tell are watched for: that a sync of its value log failed (only its log says so: badger.go), that it
// truncated a log at open (highwater.go), and that the disk is full, which kills the process (space.go, reserve.go).
//
// # Files
//
//	stream.go, frames.go, cursor.go, errors.go   the contract
//	lease.go, consumer.go                        the contract of leases and of named consumers
//	byname.go                                    TailStream and ReadStream
//	embedded.go, badger.go, lock.go              opening and closing an embedded store, its database, its directory
//	stream_embedded.go                           a stream's state
//	append.go, read.go, tail.go, ring.go         writing and reading it
//	bell.go                                      wakes who waits
//	heads.go                                     what pages leave for the next one
//	fingerprints.go, checkpoint.go               identity index, checkpoints
//	block.go, blockread.go, keys.go              the format
//	recover.go, highwater.go                     what opening repairs
//	maintain.go, retention.go, merge.go          what is done in the background
//	reclaim.go, space.go, reserve.go, os_*.go    disk space and resident memory
//	consumer_embedded.go                         named consumers
//	valkey.go, valkey_keys.go                    opening a store in a server, its connections, its keys
//	valkey_scripts.go                            what runs in the server
//	valkey_stream.go, valkey_append.go           a stream's state, writing it
//	valkey_read.go, valkey_hub.go                reading it, tails
//	valkey_prints.go                             identity index
//	valkey_lease.go, valkey_consumer.go          owners of streams and their nodes; named consumers
//	valkey_dial.go                               its connections, and why one is turned away
//	valkey_failure.go, valkey_health.go          what a server's answers mean, whether it can be used
//	events.go                                    what the store tells its owner
//	streamtest/                                  the contract as tests, for every backend
package persistence

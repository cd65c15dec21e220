// Package embedded is the store in a local directory. Streams are logs of segment files. Badger
// keeps the small amount of data that is state and not a log.
//
// # Model
//
// A stream is a directory of segments (package segment defines their format, to the byte). The
// active segment is being written. The others are sealed and have an index in their footer. An
// append is one block, or several for a large batch. It is written by one pwrite into space that
// was allocated before, and made durable by one fdatasync. So the entries, their fingerprints and
// the checkpoint are stored together or not at all. Each block contains the state of the stream
// after this block: checkpoint, floor, end. It is linked to the block before it. So the newest
// whole block describes the whole stream.
//
// Readers use an immutable snapshot of the stream, the tip, which the writer replaces after each
// commit. Readers take no lock of the writer. They read by pread; nothing is mapped. Tails at the
// tip are served from the recent entries, which are kept in memory only while there are tails.
//
// Retention moves the floor, which is stored with the next block, and unlinks the segments below
// it. A reader that reads in such a segment gets the error that its cursor expired.
//
// Beside the streams there are two kinds of data. A high-water mark per stream shows when the end
// of a stream was lost. The state in Badger contains the cursor actor's checkpoints, the named
// consumers, the ledgers of gaps and a register of the streams. A copy of the state is made from time to time. Losing
// the state loses no entry.
//
//	FORMAT                     the version of this layout
//	LOCK                       held by the process that has the store open
//	streams/<name>/<n>.seg     segments, by number
//	marks/<name>               high-water marks
//	state/                     Badger's files
//	state.copy                 the copy of the state
//	state.mark, state.sums     what the state is compared with when it is opened
//	state.reserve              space for opening and closing the state on a full disk
//	aside/                     damaged data: no data is overwritten that is not understood
//
// # Promises
//
//   - An acknowledged Append survives a kill at any instruction. It also survives a power cut,
//     unless a sync interval is configured. With a sync interval, a power cut may lose the appends
//     of the last interval, entries and checkpoint together, and the store reports the loss.
//   - The stored checkpoint never covers an entry that is not stored (I1). Entries that are fetched
//     again get their old IDs.
//   - A torn append was never acknowledged. It is removed silently. A stream that ends before the
//     newest entry known to be stored reports this (persistence.StreamInfo.Lost,
//     persistence.LogTruncated) until its first append. Damage in the middle is a
//     *persistence.CorruptError that names the first and the last entry; reading continues after
//     it. Every other damaged file is a persistence.FileDamaged.
//   - A reader never gets bytes that were not appended: every stored byte is covered by a CRC32C.
//   - Space is allocated before it is written to, and MinFree stays free. So a commit, a trim, the
//     closing of a stream, the footer of a segment and the closing of the store never meet a full
//     disk. On a full disk the store can be opened, read and trimmed.
//   - After a failed write or sync, the next append opens the files again and compares them with
//     the acknowledged data. Data that was not acknowledged is erased and appended anew. A stream
//     that ends elsewhere is a *persistence.ConflictError. The process and the readers
//     continue.
//   - Retention by age drops the entries that are too old by the clock and by the stream's own
//     time. One round drops at most a quarter of a stream, unless the round before wanted to drop
//     as much.
//
// # Assumptions
//
// After a successful sync the data is on disk. A write within one sector of 512 bytes is either
// done or not done. One process uses the directory, and locks it. The directory is on a local file
// system with fallocate. Without fallocate a full disk is only noticed while writing, and is
// handled all the same. The clock is the one in the options.
//
// # Limits
//
// An event has at most 32 MiB. A page ends after persistence.MaxPageBytes. A stream uses the disk
// space of the entries that it keeps and of up to three more segments. A segment is a 32nd of the
// kept bytes, or of the bound on bytes if that is less, between 512 KiB and 64 MiB. While a stream
// is open, at most 8 MiB are allocated ahead. The state uses about 4 MiB. If a file is removed or
// changed while the store is open, this is noticed when the file is read.
//
// # Files
//
//	store.go, layout.go                  opening and closing; the directory
//	space.go, lock.go                    the disk space; the lock of the directory
//	stream.go                            the state of a stream
//	delete.go                            removing a stream, wholly, also across a crash
//	append.go, roll.go                   writing a stream; from segment to segment
//	stuck.go                             appends that do not end
//	segments.go                          segments as readers see them: files, indexes
//	read.go, headcache.go                reading a stream, and what a page keeps for the next one
//	tail.go, recent.go                   tails, and the recent entries in memory
//	fingerprints.go                      the identity index
//	retention.go, maintain.go            what is dropped; the background work, syncing by interval
//	pack.go                              making cold segments smaller
//	recover.go, scan.go, scanrepair.go   opening a stream, and repairs when it is opened
//	mark.go                              high-water marks
//	verify.go, verifystream.go           checking every byte of a store, in use or at rest
//	inspect.go, verifystate.go           checking one segment; the files beside the streams
//	repairdir.go, rewrite.go             repairs that an operator starts
//	snapshot.go                          the data of a backup; package backup makes the backup
//	state.go, badger.go                  the state beside the streams
//	statefiles.go, statecopy.go          the files of the state; its copy
//	checkpoint.go, consumer.go           the cursor actor's checkpoints; named consumers
//	gaps.go                              the ledger of a stream's gaps
//	segment/                             the format
//	disk/                                the narrow interface to the file system
package embedded

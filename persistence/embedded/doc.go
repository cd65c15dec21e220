// Package embedded is the store in a directory of this machine: streams are logs of segment files,
// and Badger keeps the little that is state and no log.
//
// # Model
//
// A stream is a directory of segments (package segment has their format, to the byte). One segment
// is written to; the others are sealed, and have an index in their footer. An append is one block,
// or several for a large batch, written by one pwrite into space that was taken before and made
// durable by one fdatasync: the entries, their fingerprints and the checkpoint are there together,
// or none of them is. Each block says what the stream is with it – checkpoint, floor, end – and is
// chained to the one before it, so the newest whole block is all there is to know of a stream.
//
// Readers see an immutable snapshot of the stream, its tip, which the writer replaces after each
// commit. They take no lock of the writer, read by pread, and nothing is mapped. Tails at the tip
// are served from a ring of recent entries in memory, which is only kept while somebody tails.
//
// Retention moves the floor, which the next block carries, and unlinks the segments below it.
// Whoever reads in one that goes is told that his cursor expired.
//
// Beside the streams: a high-water mark for each, by which a lost end is noticed; and the state –
// the cursor actor's checkpoints, named consumers, a register of the streams – in Badger, with a
// copy that is made now and then. Losing the state loses no entry.
//
//	FORMAT                     the version of this layout
//	LOCK                       held by the process that has the store open
//	streams/<name>/<n>.seg     segments, by number
//	marks/<name>               high-water marks
//	state/                     Badger's
//	state.copy                 the copy of the state
//	state.mark, state.sums     what the state is compared with when it is opened
//	state.reserve              space for opening and closing the state on a full disk
//	aside/                     what was damaged: nothing that is not understood is overwritten
//
// # Promises
//
//   - What Append acknowledged survives a kill at any instruction, and a power cut too unless a sync interval is configured; then a power
//     cut may take the last interval, entries and checkpoint together, which is told.
//   - The stored checkpoint never covers an entry that is not stored (I1). Entries fetched again get their old IDs.
//   - A torn append, of which nobody was told, is cut off without a word. A stream that ends before what was known to be stored says so
//     (persistence.StreamInfo.Lost, persistence.LogTruncated) until its first append. What is damaged in the middle is a *persistence.CorruptError that names
//     the first and the last entry, after which reading goes on. Every other damaged file is a persistence.FileDamaged.
//   - No reader is given bytes that were not appended: every stored byte is under a CRC32C.
//   - Space is taken before it is written to, and min_free is left: a commit, a trim, the end of a stream, the footer of a segment and closing
//     the store never meet a full disk. On a full disk the store opens, is read, and trimmed.
//   - After a write or a sync that failed, the next append opens the files again and compares them with what was acknowledged. What was not is erased and
//     appended anew; a stream that ends elsewhere is a *persistence.ConflictError. The process goes on, and so do readers.
//   - Retention by age drops what is too old by the clock and by the stream's own time, and in one round at the most a quarter of a stream, unless the round before
//     wanted as much.
//
// # Assumptions
//
// A sync that succeeded is on disk, and a write within a sector of 512 bytes is there or not. One
// process uses the directory, which it locks; it is on a local file system with fallocate, without
// which a full disk is met when writing and answered all the same. The time goes by the clock that
// was handed in.
//
// # Limits
//
// An event has at most 32 MiB, a page ends after persistence.MaxPageBytes. A stream takes of the
// disk what it keeps and up to three segments: a 32nd of what it keeps, or of its bound of bytes,
// each, between 512 KiB and 64 MiB; while it is open 8 MiB are taken ahead at the most. The state
// takes some 4 MiB. A file that was taken away or changed while the store is open is noticed when
// it is read.
//
// # Files
//
//	store.go, layout.go                  opening and closing; the directory
//	space.go, lock.go                    the disk's space, the directory's lock
//	stream.go                            a stream's state
//	append.go, roll.go                   writing it; from segment to segment
//	segments.go                          segments as readers have them: files, indexes
//	read.go, heads.go, tail.go, ring.go  reading it, and what pages leave for the next one
//	prints.go                            identity index
//	retention.go, maintain.go            what is dropped, and what is done in the background
//	pack.go                              cold segments made smaller
//	recover.go, look.go, repair.go       what opening finds, and repairs
//	mark.go, sync.go                     high-water marks; syncing by interval
//	verify.go, verifystream.go           looking at every byte, of a store in use or at rest
//	inspect.go, verifystate.go           one segment of it; what stands beside the streams
//	mend.go, rewrite.go                  what an operator has repaired
//	snapshot.go                          what a backup is made of; package backup makes it
//	state.go, badger.go                  what is kept beside the streams
//	statefiles.go, statecopy.go          its files, its copy
//	checkpoint.go, consumer.go           the cursor actor's checkpoints, named consumers
//	segment/                             the format
//	disk/                                the narrow interface to the file system
package embedded

package crashpoint

// Point is an instant at which a process can be killed. Its name says which step is done last.
type Point string

// Points of both stores, in the order of an append. The writer's own.
const (
	WriterAppend   Point = "writer.append"   // a batch is marked, and not yet given to the store
	WriterAppended Point = "writer.appended" // it is durable, and nobody knows
	CursorSave     Point = "cursor.save"     // a checkpoint is to be saved beside the stream
	CursorSaved    Point = "cursor.saved"    // it is saved, and nobody knows
	FiltersSaved   Point = "filters.saved"   // a changed filter is saved, and not yet in force
	Reloaded       Point = "daemon.reloaded" // one feed has its new filter, and the next has not
	ConsumerSaved  Point = "consumer.saved"  // a consumer's change is stored, and not answered
)

// Points of repairs.
const (
	FetchAppended Point = "fetch.appended" // a fetched batch is durable, and the ledger does not say so
	GapRecorded   Point = "gap.recorded"   // a gap entry is durable, and nobody knows
	LedgerSave    Point = "ledger.save"    // rows are to be saved in the ledger; the checkpoint has them
	LedgerSaved   Point = "ledger.saved"   // the ledger has them, and the next checkpoint is not written
)

// Points of the embedded store.
const (
	AppendWrite     Point = "append.write"     // space is allocated, and no byte of the append is written
	AppendWritten   Point = "append.written"   // it is written, and not synced
	AppendSynced    Point = "append.synced"    // it is durable, and not visible
	SegmentTaken    Point = "segment.taken"    // the next segment has its space, and no header
	SegmentFooter   Point = "segment.footer"   // a segment has the rows of its footer, and no trailer
	SegmentSealed   Point = "segment.sealed"   // it is sealed, and the next one is empty
	TrimFloor       Point = "trim.floor"       // the floor is durable, and the dropped segments are there
	TrimUnlinked    Point = "trim.unlinked"    // one of them is removed
	PackWritten     Point = "pack.written"     // a packed segment is written beside the old one
	PackRenamed     Point = "pack.renamed"     // it is in its place, and the folder is not synced
	FileReplace     Point = "file.replace"     // a new version of a file is written beside the old one
	FileReplaced    Point = "file.replaced"    // it is in its place, and the folder is not synced
	RecoverUnsealed Point = "recover.unsealed" // an interrupted footer is cut off, and nothing is synced
	RecoverErased   Point = "recover.erased"   // the part of an append is erased, and nothing is synced
	MendAside       Point = "mend.aside"       // a damaged file is moved aside, and has no successor
	BackupFile      Point = "backup.file"      // a file of a backup is in its place
	BackupManifest  Point = "backup.manifest"  // the manifest is new, and old files are still there
	RestoreFile     Point = "restore.file"     // a file is restored beside the data directory
	RestoreMoved    Point = "restore.moved"    // some of what was restored is in its place
)

// Points of the Valkey store and of what daemons share there.
const (
	ValkeyStored  Point = "valkey.stored"  // an append is at the server, and not yet known to be durable
	ValkeyDurable Point = "valkey.durable" // it is durable, and not yet shown to readers
	LeaseAcquired Point = "lease.acquired" // a lease is taken, and the stream is not open
	LeaseRenewed  Point = "lease.renewed"  // it is renewed, and the daemon does not know
	LeaseRelease  Point = "lease.release"  // the feed has stopped, and its lease is not given up
	LeaseReleased Point = "lease.released" // it is given up, and the process runs on
)

// All returns all points.
func All() []Point {
	return []Point{
		WriterAppend, WriterAppended, CursorSave, CursorSaved, FiltersSaved, Reloaded, ConsumerSaved,
		FetchAppended, GapRecorded, LedgerSave, LedgerSaved,
		AppendWrite, AppendWritten, AppendSynced, SegmentTaken, SegmentFooter, SegmentSealed, TrimFloor, TrimUnlinked,
		PackWritten, PackRenamed, FileReplace, FileReplaced, RecoverUnsealed, RecoverErased, MendAside,
		BackupFile, BackupManifest, RestoreFile, RestoreMoved,
		ValkeyStored, ValkeyDurable, LeaseAcquired, LeaseRenewed, LeaseRelease, LeaseReleased,
	}
}

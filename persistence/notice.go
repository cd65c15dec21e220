package persistence

// Notice is something that a store reports to its owner through the OnNotice of its options. It is
// one of StreamTrimmed, StreamEnded, StreamDeleted, SpaceLow, SpaceRecovered, LogTruncated, BlockCorrupt,
// FileDamaged, StateLost, WriteFailed, WriteRecovered, MaintenanceFailed, ForeignEntry.
type Notice interface{ isNotice() }

type (
	// StreamTrimmed says that retention dropped entries.
	StreamTrimmed struct {
		Stream string
		Trimmed
	}
	// StreamEnded says that a stream was closed for good.
	StreamEnded struct {
		Stream string
		Reason string
	}
	// StreamDeleted says that a stream was removed for good.
	StreamDeleted struct{ Stream string }
	// SpaceLow says that appends are refused from now on, because the disk is nearly full.
	SpaceLow struct{ *NoSpaceError }
	// SpaceRecovered says that appends work again.
	SpaceRecovered struct {
		Dir  string
		Free uint64 // bytes
	}
	// LogTruncated says that a stream ends before the newest entry that had been stored.
	LogTruncated struct{ Truncation }
	// BlockCorrupt says that a stored block cannot be read. It is reported once per block while the
	// store is open.
	BlockCorrupt struct{ *CorruptError }
	// FileDamaged says that a file of the store is not as the store left it. The part that could
	// not be understood was not overwritten, but moved or copied to the directory for damaged data.
	FileDamaged struct {
		Stream string // "" if the file belongs to no stream
		File   string // relative to the store's directory
		// Aside is where the file, or the part taken from it, is now, relative to the store's
		// directory; "" if it stayed in place.
		Aside string
		Err   error // the fault
	}
	// StateLost says that the store's state, the data that it keeps beside the streams, was damaged
	// and rebuilt. The named consumers, written "stream/name", are at their positions of the last
	// copy of the state.
	StateLost struct {
		// Aside is where the damaged state is now, relative to the store's directory; "" if it
		// stayed in place.
		Aside     string
		Consumers []string
		Err       error // the fault
	}
	// WriteFailed says that a stream's files could not be written because of a file system error.
	// Appends try again.
	WriteFailed struct {
		Stream string
		Err    error
	}
	// WriteRecovered says that the stream's files can be written again.
	WriteRecovered struct{ Stream string }
	// MaintenanceFailed says that trimming, packing, syncing or freeing space failed. Stream is ""
	// if it concerns all streams.
	MaintenanceFailed struct {
		Stream string
		Err    error
	}
	// ForeignEntry says that a stream in a shared store contains an entry that is no event. Only
	// another client can have added it. It is reported once per stream while the store is open, for
	// the first such entry that a reader meets.
	ForeignEntry struct {
		Stream string
		ID     EntryID
	}
)

func (StreamTrimmed) isNotice()     {}
func (StreamEnded) isNotice()       {}
func (StreamDeleted) isNotice()     {}
func (SpaceLow) isNotice()          {}
func (SpaceRecovered) isNotice()    {}
func (LogTruncated) isNotice()      {}
func (BlockCorrupt) isNotice()      {}
func (FileDamaged) isNotice()       {}
func (StateLost) isNotice()         {}
func (WriteFailed) isNotice()       {}
func (WriteRecovered) isNotice()    {}
func (MaintenanceFailed) isNotice() {}
func (ForeignEntry) isNotice()      {}

// Truncation is a stream that has lost its newest entries outside the store's control. The store
// finds this when it opens, from what it knows of the stream besides the log. The stream's
// checkpoint was lost with the entries, so reading the upstream again from the remaining checkpoint
// brings them back under the same IDs.
type Truncation struct {
	Stream string `json:"stream"`
	// Oldest is the oldest entry known to have existed; zero if not known.
	Oldest   EntryID `json:"oldest,omitzero"`
	Expected EntryID `json:"expected"` // the newest entry known to have been stored
	Found    EntryID `json:"found"`    // the newest entry that exists; zero if there is none
}

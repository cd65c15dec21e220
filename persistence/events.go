package persistence

// Event is something a store tells its owner through its options' OnEvent: one of StreamTrimmed, StreamEnded, SpaceLow,
// SpaceRecovered, LogTruncated, BlockCorrupt, FileDamaged, StateLost, WriteFailed, WriteRecovered, MaintenanceFailed, ForeignEntry.
type Event interface{ isEvent() }

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
	// SpaceLow says that appends are refused from now on: the disk is nearly full.
	SpaceLow struct{ *NoSpaceError }
	// SpaceRecovered says that appends work again.
	SpaceRecovered struct {
		Dir  string
		Free uint64 // bytes
	}
	// LogTruncated says that a stream ends before what had been stored.
	LogTruncated struct{ Truncation }
	// BlockCorrupt says that a stored block cannot be read. It comes once for a block while the store is open.
	BlockCorrupt struct{ *CorruptError }
	// FileDamaged says that a file of the store is not as it was left. What could not be understood of it was not overwritten, but set aside.
	FileDamaged struct {
		Stream string // "" where it is no stream's
		File   string // below the store's directory
		Aside  string // below the store's directory, where it, or what was cut from it, is now; "" where it stayed
		Err    error  // what is wrong with it
	}
	// StateLost says that the store's state, which is what it keeps beside the streams, was damaged and made anew. The named consumers, "stream/name", are where
	// they were when a copy of the state was last made.
	StateLost struct {
		Aside     string // below the store's directory, where the damaged one is now; "" where it stayed
		Consumers []string
		Err       error // what is wrong with it
	}
	// WriteFailed says that a stream's files could not be written: an error of the file system. Appends try again.
	WriteFailed struct {
		Stream string
		Err    error
	}
	// WriteRecovered says that they can be written again.
	WriteRecovered struct{ Stream string }
	// MaintenanceFailed says that trimming, merging, syncing or giving space back failed. Stream is "" where it concerns all of them.
	MaintenanceFailed struct {
		Stream string
		Err    error
	}
	// ForeignEntry says that a stream in a shared store has an entry that is no event, as only
	// another client can have added. It comes once for a stream while the store is open, for the
	// first one that a reader meets.
	ForeignEntry struct {
		Stream string
		ID     EntryID
	}
)

func (StreamTrimmed) isEvent()     {}
func (StreamEnded) isEvent()       {}
func (SpaceLow) isEvent()          {}
func (SpaceRecovered) isEvent()    {}
func (LogTruncated) isEvent()      {}
func (BlockCorrupt) isEvent()      {}
func (FileDamaged) isEvent()       {}
func (StateLost) isEvent()         {}
func (WriteFailed) isEvent()       {}
func (WriteRecovered) isEvent()    {}
func (MaintenanceFailed) isEvent() {}
func (ForeignEntry) isEvent()      {}

// Truncation is a stream whose newest entries were lost under us: found at open, by what is known of the stream outside of its log. The stream's checkpoint went with
// them, so reading the upstream again from there brings them back, under the same IDs.
type Truncation struct {
	Stream   string  `json:"stream"`
	Oldest   EntryID `json:"oldest,omitzero"` // the oldest entry known to have been there before; zero where that is not known
	Expected EntryID `json:"expected"`        // the newest entry known to have been stored
	Found    EntryID `json:"found"`           // the newest entry there is; zero for none
}

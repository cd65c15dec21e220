package persistence

// Event is something an embedded store tells its owner through EmbeddedOptions.OnEvent: one of StreamTrimmed, StreamEnded, SpaceLow,
// SpaceRecovered, LogTruncated, BlockCorrupt, MaintenanceFailed.
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
	// MaintenanceFailed says that trimming, merging, syncing or giving space back failed. Stream is "" where it concerns all of them.
	MaintenanceFailed struct {
		Stream string
		Err    error
	}
)

func (StreamTrimmed) isEvent()     {}
func (StreamEnded) isEvent()       {}
func (SpaceLow) isEvent()          {}
func (SpaceRecovered) isEvent()    {}
func (LogTruncated) isEvent()      {}
func (BlockCorrupt) isEvent()      {}
func (MaintenanceFailed) isEvent() {}

// Truncation is a stream whose newest entries were lost under us: found at open, by the high-water mark that is kept outside the log.
// The stream's checkpoint went with them, so reading the upstream again from there brings them back, under the same IDs.
type Truncation struct {
	Stream   string
	Expected EntryID // the newest entry known to have been stored
	Found    EntryID // the newest entry there is; zero for none
}

package daemon

import (
	"tempestd/internal/observe"
	"tempestd/persistence"
)

// storeEvent says what happened in the store in the words of the catalogue.
func storeEvent(o *observe.Observer, e persistence.Event) {
	switch e := e.(type) {
	case persistence.StreamTrimmed:
		o.Emit(observe.StreamTrimmed, e.Stream, "entries", e.Entries, "bytes", e.Bytes)
	case persistence.StreamEnded:
		o.Emit(observe.StreamClosed, e.Stream, "reason", e.Reason)
	case persistence.SpaceLow:
		o.Emit(observe.StoreSpaceLow, "", "dir", e.Dir, "free", e.Free, "need", e.Need)
	case persistence.SpaceRecovered:
		o.Emit(observe.StoreSpaceOK, "", "dir", e.Dir, "free", e.Free)
	case persistence.LogTruncated:
		o.Emit(observe.StoreTruncated, e.Stream, "expected", e.Expected, "found", e.Found)
	case persistence.BlockCorrupt:
		o.Emit(observe.StoreCorrupt, e.Stream, "block", e.Block, "error", e.Err)
	case persistence.MaintenanceFailed:
		o.Emit(observe.StoreMaintFail, e.Stream, "error", e.Err)
	}
}

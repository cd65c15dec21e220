package daemon

import (
	"tempestd/internal/observe"
	"tempestd/persistence"
)

// storeNotice emits a notice of the store, and tells a feed about a block that the store has lost.
func (d *daemon) storeNotice(e persistence.Notice) {
	emitNotice(d.observer, e)
	corrupt, ok := e.(persistence.BlockCorrupt)
	if !ok {
		return
	}
	d.lostMu.Lock()
	defer d.lostMu.Unlock()
	if d.told {
		d.tree.BlockLost(corrupt.Stream, corrupt.First, corrupt.Block)
		return
	}
	d.lost = append(d.lost, corrupt)
}

// tellLost tells the feeds about the blocks that were lost before the tree was there.
func (d *daemon) tellLost() {
	d.lostMu.Lock()
	defer d.lostMu.Unlock()
	for _, corrupt := range d.lost {
		d.tree.BlockLost(corrupt.Stream, corrupt.First, corrupt.Block)
	}
	d.lost, d.told = nil, true
}

// supervised says whether the tree is there.
func (d *daemon) supervised() bool {
	d.lostMu.Lock()
	defer d.lostMu.Unlock()
	return d.told
}

// emitNotice emits a notice of the store as an event of the catalogue.
func emitNotice(o *observe.Observer, e persistence.Notice) {
	switch e := e.(type) {
	case persistence.StreamTrimmed:
		o.Emit(observe.StreamTrimmed, e.Stream, "entries", e.Entries, "bytes", e.Bytes)
	case persistence.StreamEnded:
		o.Emit(observe.StreamClosed, e.Stream, "reason", e.Reason)
	case persistence.StreamDeleted:
		o.Emit(observe.StreamDeleted, e.Stream)
	case persistence.SpaceLow:
		o.Emit(observe.StoreSpaceLow, "", "dir", e.Dir, "free", e.Free, "need", e.Need)
	case persistence.SpaceRecovered:
		o.Emit(observe.StoreSpaceOK, "", "dir", e.Dir, "free", e.Free)
	case persistence.LogTruncated:
		o.Emit(observe.StoreTruncated, e.Stream, "expected", e.Expected, "found", e.Found, "oldest", e.Oldest)
	case persistence.BlockCorrupt:
		o.Emit(observe.StoreCorrupt, e.Stream, "first", e.First, "block", e.Block, "error", e.Err)
	case persistence.FileDamaged:
		o.Emit(observe.StoreDamaged, e.Stream, "file", e.File, "aside", e.Aside, "error", e.Err)
	case persistence.StateLost:
		o.Emit(observe.StoreStateLost, "", "aside", e.Aside, "consumers", e.Consumers, "error", e.Err)
	case persistence.WriteFailed:
		o.Emit(observe.StoreWriteFail, e.Stream, "error", e.Err)
	case persistence.WriteRecovered:
		o.Emit(observe.StoreWriteOK, e.Stream)
	case persistence.ForeignEntry:
		o.Emit(observe.StoreForeign, e.Stream, "entry", e.ID)
	case persistence.MaintenanceFailed:
		o.Emit(observe.StoreMaintFail, e.Stream, "error", e.Err)
	}
}

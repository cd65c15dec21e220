package embedded

import (
	"context"
	"fmt"

	"tempestd/internal/crashpoint"
	"tempestd/persistence"
	"tempestd/persistence/embedded/disk"
	"tempestd/persistence/embedded/segment"
)

// open prepares the newest segment for the next block. It moves aside the bytes that are in the
// way.
func (sc *scanner) open(g *segmentFile, w *segment.Walk) error {
	sc.active, sc.off, sc.rows = g, w.Off, w.Rows
	sc.low, sc.high = w.MinUS, w.MaxUS
	sc.stateOff, sc.stateLen = w.StateOff, w.State.HeadLen
	sc.fault = w.Fault
	if sc.broken != nil {
		return nil
	}
	f, err := sc.st.store.files.Open(g.path, disk.Write)
	if err != nil {
		sc.broken = err
		return nil
	}
	sc.file = f
	if w.Footer { // its sealing was interrupted; the blocks contain the same facts
		if err := f.Truncate(w.Off); err != nil {
			sc.broken = err
			return nil
		}
		g.size.Store(w.Off)
		crashpoint.Pass(crashpoint.RecoverUnsealed)
	}
	guessed := g.guessed
	if guessed {
		if err := sc.putHeader(g); err != nil {
			sc.broken = err
			return nil
		}
	}
	used, err := sc.walker.LastByte(f, g.size.Load(), w.Off)
	if err != nil {
		return sc.st.store.failure(err)
	}
	if used > w.Off {
		if err := sc.erase(g, used); err != nil {
			sc.broken = err
			return nil
		}
	}
	if w.End.Last.Compare(sc.known.synced) > 0 || used > w.Off || w.Footer || guessed {
		// Entries that readers can see must survive a power cut.
		if err := f.Sync(); err != nil {
			sc.broken = err
		}
	}
	return nil
}

// putHeader replaces the damaged header.
func (sc *scanner) putHeader(g *segmentFile) error {
	b := make([]byte, segment.HeaderLen)
	if err := readAt(sc.file, b, 0); err != nil {
		return err
	}
	if _, err := sc.st.store.copyAside(g.path, b); err != nil {
		return err
	}
	g.header.Packed, g.guessed = 0, false
	_, err := sc.file.WriteAt(segment.AppendHeader(nil, &g.header), 0)
	return err
}

// erase makes room for the next block. A block that was interrupted and not acknowledged need not
// be kept.
func (sc *scanner) erase(g *segmentFile, end int64) error {
	b := make([]byte, end-sc.off)
	if err := readAt(sc.file, b, sc.off); err != nil {
		return err
	}
	acknowledged := sc.known.last.Compare(sc.meta.end.Last) > 0 || sc.known.number > sc.meta.end.Number || !sc.beyond.IsZero()
	if sc.expected == nil && (acknowledged || !segment.BeginsBlock(b)) {
		if sc.fault == nil {
			sc.fault = fmt.Errorf("%w: what follows its last block is none", segment.ErrDamaged)
		}
		aside, err := sc.st.store.copyAside(g.path, b)
		if err != nil {
			return err
		}
		sc.st.store.emit(persistence.FileDamaged{Stream: sc.st.name, File: sc.st.store.below(g.path), Aside: aside, Err: sc.fault})
	}
	clear(b)
	_, err := sc.file.WriteAt(b, sc.off)
	crashpoint.Pass(crashpoint.RecoverErased)
	return err
}

// continueCounts prevents that a stream without any remaining block counts its entries from 0
// again. Readers continue by entry numbers, and these may only increase. The stream then looks as
// if retention had dropped the lost entries.
func (sc *scanner) continueCounts(registered known) {
	m := &sc.meta
	if m.end.Number > 0 || m.end.Entries > 0 {
		return
	}
	k := sc.known
	if registered.entries > k.entries {
		k.entries, k.bytes = registered.entries, registered.bytes
	}
	if k.entries == 0 {
		return
	}
	m.end.Entries, m.end.Bytes = k.entries, k.bytes
	m.droppedEntries, m.droppedBytes = k.entries, k.bytes
	if g := sc.active; g != nil { // it has no block: its header says where the first one will be
		g.header.Start, g.end = m.end, m.end
		if sc.broken == nil {
			if sc.broken = sc.putHeader(g); sc.broken == nil {
				sc.broken = sc.file.Sync()
			}
		}
	}
}

// state takes over the stream's state from the newest block.
func (sc *scanner) state(w *segment.Walk) {
	m := &sc.meta
	m.floor, m.droppedEntries, m.droppedBytes = w.State.Floor, w.State.DroppedEntries, w.State.DroppedBytes
	m.closedUS, m.closedReason = w.State.ClosedUS, string(w.Reason)
	if len(w.Checkpoint) > 0 {
		cp, err := decodeCheckpoint(w.Checkpoint)
		if err != nil {
			sc.st.reportDamaged(sc.st.dir, fmt.Errorf("its checkpoint: %w", err))
			return
		}
		m.checkpoint, m.cpJSON = cp, w.Checkpoint
	}
}

// insertHoles inserts holes for the segments that are missing before the first or between others.
// It removes the segments that retention has dropped.
func (sc *scanner) insertHoles() error {
	m := &sc.meta
	var whole []*segmentFile
	at := segment.Position{Last: m.floor, Entries: m.droppedEntries, Bytes: m.droppedBytes}
	if len(sc.segs) > 0 && sc.segs[0].header.Start.Entries > at.Entries && sc.known.oldest.Compare(sc.segs[0].header.Start.Last) > 0 {
		// The record of how far retention had come is lost. The mark still has it.
		at = sc.segs[0].header.Start
		m.floor, m.droppedEntries, m.droppedBytes = at.Last, at.Entries, at.Bytes
	}
	for i, g := range sc.segs {
		start := g.header.Start
		if start.Entries > at.Entries {
			hole := sc.st.newHole(g.number, at, start)
			hole.number = g.number - 1
			whole = append(whole, hole)
			sc.st.store.emit(persistence.FileDamaged{Stream: sc.st.name, File: sc.st.store.below(sc.st.newSegment(g.number - 1).path),
				Err: fmt.Errorf("segments before number %d are missing, with %d entries", g.number, start.Entries-at.Entries)})
		}
		if i < len(sc.segs)-1 {
			next := sc.segs[i+1]
			g.end = next.header.Start
			if next.number != g.number+1 {
				end, err := sc.endOf(g)
				if err != nil {
					return err
				}
				if end.Entries < g.end.Entries {
					g.end = end
				}
			}
		}
		whole = append(whole, g)
		if g.end.Entries > at.Entries {
			at = g.end
		}
	}
	sc.segs, sc.dropped = prune(whole, m.droppedEntries, sc.active)
	m.saved = saved(sc.segs, m.droppedBytes)
	return sc.oldest()
}

// oldest finds the first entry that is kept.
func (sc *scanner) oldest() error {
	m := &sc.meta
	if m.kept() == 0 {
		return nil
	}
	m.oldest = m.floor.Next()
	t := &tip{meta: *m, segs: sc.segs, active: sc.active, rows: sc.rows}
	return sc.st.eachRow(context.Background(), t, m.oldest, func(g *segmentFile, row *segment.Row) (bool, error) {
		if row.EndEntries <= m.droppedEntries {
			return true, nil
		}
		if row.First.Compare(m.floor) > 0 {
			m.oldest = row.First
			return false, nil
		}
		var h segment.Head
		if _, err := readHead(g, row, &h, nil); err == nil { // the floor lies inside a packed block
			if i := h.Search(m.oldest); i < h.Count {
				m.oldest = h.IDs[i]
			}
		}
		return false, nil
	})
}

// compare reports the entries that are known to have been stored and are missing.
func (sc *scanner) compare(registered known) {
	m := &sc.meta
	if sc.expected != nil {
		return
	}
	expected, oldest := sc.known.last, sc.known.oldest
	if registered.last.Compare(expected) > 0 {
		expected = registered.last
	}
	if oldest.IsZero() {
		oldest = registered.oldest
	}
	expected = later(expected, sc.beyond)
	switch {
	case expected.Compare(m.end.Last) > 0:
		if oldest.IsZero() && m.kept() > 0 {
			oldest = m.oldest
		}
		m.lost = &persistence.Truncation{Stream: sc.st.name, Oldest: oldest, Expected: expected, Found: m.end.Last}
	case sc.known.number > m.end.Number:
		sc.st.store.emit(persistence.FileDamaged{Stream: sc.st.name, File: sc.st.store.below(sc.st.dir),
			Err: fmt.Errorf("%d blocks are lost that moved the checkpoint alone", sc.known.number-m.end.Number)})
	}
}

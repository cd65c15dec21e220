package embedded

import (
	"context"
	"fmt"

	"tempestd/persistence"
	"tempestd/persistence/embedded/disk"
	"tempestd/persistence/embedded/segment"
)

// open prepares the newest segment for the next block. It moves aside the bytes that are in the
// way.
func (l *looker) open(g *segmentFile, w *segment.Walk) error {
	l.active, l.off, l.rows = g, w.Off, w.Rows
	l.low, l.high = w.MinUS, w.MaxUS
	l.stateOff, l.stateLen = w.StateOff, w.State.HeadLen
	l.cut = w.Fault
	if l.broken != nil {
		return nil
	}
	f, err := l.st.store.files.Open(g.path, disk.Write)
	if err != nil {
		l.broken = err
		return nil
	}
	l.file = f
	if w.Footer { // its sealing was cut short; the blocks contain the same facts
		if err := f.Truncate(w.Off); err != nil {
			l.broken = err
			return nil
		}
		g.size.Store(w.Off)
	}
	guessed := g.guessed
	if guessed {
		if err := l.putHeader(g); err != nil {
			l.broken = err
			return nil
		}
	}
	used, err := l.walker.LastByte(f, g.size.Load(), w.Off)
	if err != nil {
		return l.st.store.failure(err)
	}
	if used > w.Off {
		if err := l.erase(g, used); err != nil {
			l.broken = err
			return nil
		}
	}
	if w.End.Last.Compare(l.known.synced) > 0 || used > w.Off || w.Footer || guessed {
		// Entries that readers can see must survive a power cut.
		if err := f.Sync(); err != nil {
			l.broken = err
		}
	}
	return nil
}

// putHeader replaces the damaged header.
func (l *looker) putHeader(g *segmentFile) error {
	b := make([]byte, segment.HeaderLen)
	if err := readAt(l.file, b, 0); err != nil {
		return err
	}
	if _, err := l.st.store.copyAside(g.path, b); err != nil {
		return err
	}
	g.header.Packed, g.guessed = 0, false
	_, err := l.file.WriteAt(segment.AppendHeader(nil, &g.header), 0)
	return err
}

// erase makes room for the next block. A block that was cut short and not acknowledged need not be
// kept.
func (l *looker) erase(g *segmentFile, end int64) error {
	b := make([]byte, end-l.off)
	if err := readAt(l.file, b, l.off); err != nil {
		return err
	}
	acknowledged := l.known.last.Compare(l.meta.end.Last) > 0 || l.known.number > l.meta.end.Number || !l.beyond.IsZero()
	if l.expected == nil && (acknowledged || !segment.BeginsBlock(b)) {
		if l.cut == nil {
			l.cut = fmt.Errorf("%w: what follows its last block is none", segment.ErrDamaged)
		}
		aside, err := l.st.store.copyAside(g.path, b)
		if err != nil {
			return err
		}
		l.st.store.emit(persistence.FileDamaged{Stream: l.st.name, File: l.st.store.below(g.path), Aside: aside, Err: l.cut})
	}
	clear(b)
	_, err := l.file.WriteAt(b, l.off)
	return err
}

// goOnCounting prevents that a stream without any remaining block counts its entries from 0 again.
// Readers continue by entry numbers, and these may only increase. The stream then looks as if
// retention had dropped the lost entries.
func (l *looker) goOnCounting(registered known) {
	m := &l.meta
	if m.end.Number > 0 || m.end.Entries > 0 {
		return
	}
	k := l.known
	if registered.entries > k.entries {
		k.entries, k.bytes = registered.entries, registered.bytes
	}
	if k.entries == 0 {
		return
	}
	m.end.Entries, m.end.Bytes = k.entries, k.bytes
	m.droppedEntries, m.droppedBytes = k.entries, k.bytes
	if g := l.active; g != nil { // it has no block: its header says where the first one will be
		g.header.Start, g.end = m.end, m.end
		if l.broken == nil {
			if l.broken = l.putHeader(g); l.broken == nil {
				l.broken = l.file.Sync()
			}
		}
	}
}

// state takes over the stream's state from the newest block.
func (l *looker) state(w *segment.Walk) {
	m := &l.meta
	m.floor, m.droppedEntries, m.droppedBytes = w.State.Floor, w.State.DroppedEntries, w.State.DroppedBytes
	m.closedUS, m.closedReason = w.State.ClosedUS, string(w.Reason)
	if len(w.Checkpoint) > 0 {
		cp, err := decodeCheckpoint(w.Checkpoint)
		if err != nil {
			l.st.tellDamaged(l.st.dir, fmt.Errorf("its checkpoint: %w", err))
			return
		}
		m.checkpoint, m.cpJSON = cp, w.Checkpoint
	}
}

// holes inserts holes for the segments that are missing before the first or between others. It
// removes the segments that retention has dropped.
func (l *looker) holes() error {
	m := &l.meta
	var whole []*segmentFile
	at := segment.Position{Last: m.floor, Entries: m.droppedEntries, Bytes: m.droppedBytes}
	if len(l.segs) > 0 && l.segs[0].header.Start.Entries > at.Entries && l.known.oldest.Compare(l.segs[0].header.Start.Last) > 0 {
		// The record of how far retention had come is lost. The mark still has it.
		at = l.segs[0].header.Start
		m.floor, m.droppedEntries, m.droppedBytes = at.Last, at.Entries, at.Bytes
	}
	for i, g := range l.segs {
		start := g.header.Start
		if start.Entries > at.Entries {
			hole := l.st.newHole(g.number, at, start)
			hole.number = g.number - 1
			whole = append(whole, hole)
			l.st.store.emit(persistence.FileDamaged{Stream: l.st.name, File: l.st.store.below(l.st.newSegment(g.number - 1).path),
				Err: fmt.Errorf("segments before number %d are missing, with %d entries", g.number, start.Entries-at.Entries)})
		}
		if i < len(l.segs)-1 {
			next := l.segs[i+1]
			g.end = next.header.Start
			if next.number != g.number+1 {
				end, err := l.endOf(g)
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
	l.segs, l.dead = prune(whole, m.droppedEntries, l.active)
	m.saved = saved(l.segs, m.droppedBytes)
	return l.oldest()
}

// oldest finds the first entry that is kept.
func (l *looker) oldest() error {
	m := &l.meta
	if m.kept() == 0 {
		return nil
	}
	m.oldest = m.floor.Next()
	t := &tip{meta: *m, segs: l.segs, active: l.active, rows: l.rows}
	return l.st.eachRow(context.Background(), t, m.oldest, func(g *segmentFile, row *segment.Row) (bool, error) {
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
func (l *looker) compare(registered known) {
	m := &l.meta
	if l.expected != nil {
		return
	}
	expected, oldest := l.known.last, l.known.oldest
	if registered.last.Compare(expected) > 0 {
		expected = registered.last
	}
	if oldest.IsZero() {
		oldest = registered.oldest
	}
	expected = later(expected, l.beyond)
	switch {
	case expected.Compare(m.end.Last) > 0:
		if oldest.IsZero() && m.kept() > 0 {
			oldest = m.oldest
		}
		m.lost = &persistence.Truncation{Stream: l.st.name, Oldest: oldest, Expected: expected, Found: m.end.Last}
	case l.known.number > m.end.Number:
		l.st.store.emit(persistence.FileDamaged{Stream: l.st.name, File: l.st.store.below(l.st.dir),
			Err: fmt.Errorf("%d blocks are lost that moved the checkpoint alone", l.known.number-m.end.Number)})
	}
}

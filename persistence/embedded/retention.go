package embedded

import (
	"context"
	"time"

	"tempestd/persistence"
)

// Trim implements persistence.Stream.
func (st *stream) Trim(ctx context.Context, r persistence.Retention) (persistence.Trimmed, error) {
	release, err := st.store.use()
	if err != nil {
		return persistence.Trimmed{}, err
	}
	defer release()
	if err := ctx.Err(); err != nil {
		return persistence.Trimmed{}, err
	}
	st.store.maintaining.Lock()
	defer st.store.maintaining.Unlock()
	return st.trim(bounds{entries: r.Entries, bytes: r.Bytes, oldestMS: st.cutoff(r.Age, st.store.clock.Now())})
}

// cutoff is the first millisecond that is not older than age at the time now, 0 if there is none to
// drop.
func (st *stream) cutoff(age time.Duration, now time.Time) uint64 {
	if ms := now.Add(-age).UnixMilli(); age > 0 && ms > 0 {
		return uint64(ms)
	}
	return 0
}

// retain is one round of the stream's retention.
func (st *stream) retain() error {
	r := *st.retention.Load()
	m := &st.tip.Load().meta
	b := bounds{entries: r.Entries, bytes: r.Bytes}
	now := st.store.clock.Now()
	if byClock := st.cutoff(r.Age, now); byClock > 0 {
		// An entry is too old if it is older than the age by the clock and by the stream's own
		// time. If one of the two is wrong, it alone cannot empty a stream.
		b.oldestMS = byClock
		if age := uint64(r.Age.Milliseconds()); m.end.Last.MS < byClock+age {
			b.oldestMS = m.end.Last.MS - min(age, m.end.Last.MS)
		}
		if !st.ages.confirmed(now, 10*st.store.opt.Maintenance) {
			b.mostEntries = max(m.kept()/4, 1)
		}
	}
	_, err := st.trim(b)
	return err
}

// ageGuard limits retention by age: a round may drop more than a part of the stream only if an
// earlier round wanted that too. So a clock that is wrong for a moment cannot drop the whole
// stream.
type ageGuard struct {
	limited bool // the last round was limited
	at      time.Time
}

// confirmed reports whether the last round was limited, and whether the time since then is
// plausible: positive and at most most.
func (g *ageGuard) confirmed(now time.Time, most time.Duration) bool {
	moved := now.Sub(g.at)
	return g.limited && moved > 0 && moved <= most
}

// bounds says what a trim keeps. A zero field sets no bound.
type bounds struct {
	entries int64
	bytes   int64
	// Blocks that end before oldestMS are dropped.
	oldestMS uint64
	// Because of their age, at most this many entries are dropped, or the oldest segment if that
	// has more.
	mostEntries int64
}

// trim drops the blocks that b does not keep. It moves the floor durably, and then unlinks whole
// files. The caller holds maintaining.
func (st *stream) trim(b bounds) (done persistence.Trimmed, err error) {
	st.write.Lock()
	if err := st.ready(); err != nil {
		st.write.Unlock()
		return done, err
	}
	t := st.tip.Load()
	m := t.meta
	limited, err := st.raiseFloor(t, &m, b)
	st.ages = ageGuard{limited: limited, at: st.store.clock.Now()}
	if err != nil || m.droppedEntries == t.meta.droppedEntries {
		st.write.Unlock()
		return done, err
	}
	err = st.commitState(m)
	after := &st.tip.Load().meta
	done = persistence.Trimmed{Entries: int64(after.droppedEntries - t.meta.droppedEntries), Bytes: t.meta.keptBytes() - after.keptBytes()}
	st.write.Unlock()
	st.clear()
	if done.Entries > 0 {
		st.store.emit(persistence.StreamTrimmed{Stream: st.name, Trimmed: done})
	}
	return done, err
}

// raiseFloorForSegment moves m's floor as the bounds of entries and bytes require, when a segment
// ends. The bound of age is left to maintenance.
func (st *stream) raiseFloorForSegment(t *tip, m *meta) (done persistence.Trimmed) {
	r := st.retention.Load()
	if r.Bytes <= 0 && r.Entries <= 0 {
		return done
	}
	kept := t.meta.keptBytes()
	b := bounds{entries: r.Entries, bytes: r.Bytes}
	if b.bytes > 0 { // leave space for the new segment
		b.bytes = max(b.bytes-st.segmentTarget(), 1)
	}
	if _, err := st.raiseFloor(t, m, b); err != nil {
		st.store.emit(persistence.MaintenanceFailed{Stream: st.name, Err: err})
	}
	return persistence.Trimmed{Entries: int64(m.droppedEntries - t.meta.droppedEntries), Bytes: kept - m.keptBytes()}
}

// raiseFloor moves m's floor behind the blocks that b does not keep. limited says that more blocks
// were too old, but were kept because of mostEntries.
func (st *stream) raiseFloor(t *tip, m *meta, b bounds) (limited bool, err error) {
	entries, bytes, dropped := m.kept(), m.keptBytes(), int64(0)
	for _, g := range t.segs {
		if entries == 0 {
			break
		}
		end := t.endOf(g)
		count := int64(end.Entries - max(g.header.Start.Entries, min(m.droppedEntries, end.Entries)))
		if count <= 0 {
			continue
		}
		size := st.sizeOf(t, g, m.droppedBytes)
		byAge := end.Last.MS < b.oldestMS
		if byAge && b.mostEntries > 0 && dropped > 0 && dropped+count > b.mostEntries {
			byAge, limited = false, true
		}
		if byAge || b.entries > 0 && entries-count >= b.entries || b.bytes > 0 && bytes-size >= b.bytes {
			m.drop(end.Last, end.Entries, end.Bytes)
			entries, bytes, dropped = entries-count, bytes-size, dropped+count
			continue
		}
		rows, err := st.rowsOf(t, g)
		if err != nil {
			return limited, err
		}
		for i := range rows {
			row := &rows[i]
			if row.EndEntries <= m.droppedEntries {
				continue
			}
			count, size := int64(row.EndEntries-max(row.Start(), m.droppedEntries)), int64(row.HeadLen)+int64(row.BodyLen)
			byAge := row.Last.MS < b.oldestMS
			if byAge && b.mostEntries > 0 && dropped > 0 && dropped+count > b.mostEntries {
				byAge, limited = false, true
			}
			if !byAge && (b.entries <= 0 || entries-count < b.entries) && (b.bytes <= 0 || bytes-size < b.bytes) {
				if row.First.Compare(m.floor) > 0 {
					m.oldest = row.First
				} // else the floor lies inside a packed block, and the oldest entry is known
				return limited, nil
			}
			m.drop(row.Last, row.EndEntries, row.EndBytes)
			entries, bytes, dropped = entries-count, bytes-size, dropped+count
		}
	}
	if dropped > 0 && m.kept() > 0 { // the first block of the next segment is the oldest
		m.oldest = m.floor.Next()
	}
	return limited, nil
}

// drop moves the floor behind the block that ends with last.
func (m *meta) drop(last EntryID, entries, bytes uint64) {
	m.floor, m.droppedEntries, m.droppedBytes = last, entries, bytes
	m.oldest = last.Next()
}

// sizeOf is about how many of a segment's bytes on disk are kept.
func (st *stream) sizeOf(t *tip, g *segmentFile, droppedBytes uint64) int64 {
	start, end := max(g.header.Start.Bytes, droppedBytes), t.endOf(g).Bytes
	if start >= end {
		return 0
	}
	n := int64(end - start)
	if g.header.Packed > 0 {
		n -= int64(g.savedOf(droppedBytes))
	}
	return max(n, 0)
}

// savedOf is how many bytes packing has saved for the kept part of a packed segment.
func (g *segmentFile) savedOf(droppedBytes uint64) uint64 {
	extent, size := g.extent(), uint64(g.size.Load())
	if g.header.Packed == 0 || extent <= size {
		return 0
	}
	kept := g.end.Bytes - min(max(g.header.Start.Bytes, droppedBytes), g.end.Bytes)
	return uint64(float64(extent-size) * float64(kept) / float64(extent))
}

// saved is how many bytes packing has saved for all kept entries.
func saved(segs []*segmentFile, droppedBytes uint64) (total uint64) {
	for _, g := range segs {
		if g.header.Packed > 0 {
			total += g.savedOf(droppedBytes)
		}
	}
	return total
}

// prune removes the segments without kept entries from the list.
func prune(segs []*segmentFile, droppedEntries uint64, active *segmentFile) (left, dropped []*segmentFile) {
	n := 0
	for n < len(segs) && segs[n] != active && segs[n].end.Entries <= droppedEntries && n < len(segs)-1 {
		n++
	}
	if n == 0 {
		return segs, nil
	}
	return append([]*segmentFile(nil), segs[n:]...), segs[:n:n]
}

package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"tempestd/internal/crashpoint"
	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/embedded/disk"
	"tempestd/persistence/embedded/segment"
)

// writer is the state of writing a stream. Only the holder of the stream's write lock uses it.
type writer struct {
	enc    segment.Encoder
	kept   []int // indices of a batch's events that are not dropped
	ids    []EntryID
	buf    []byte
	little int // appends in a row that used little of buf
	blocks []persistence.AppendedBlock
	recent recentRuns
	mark   *mark

	output         // of the active segment
	low      int64 // times of its events, 0 for none
	high     int64
	stateOff int64 // where the block with the checkpoint begins
	stateLen int   // length of its head
	rows     []segment.Row

	syncedOff int64 // the active segment is known to be on disk up to here
	synced    EntryID

	// The result of encode: rows with offsets in buf, where the last block begins in buf, and the
	// times of the events.
	fresh               []segment.Row
	lastAt, lastLen     int
	freshLow, freshHigh int64

	spare          *spare       // the next segment, whose space was allocated ahead
	rateSince      atomic.Int64 // when counting began, Unix nanoseconds
	rateBytes      int64
	bytesPerSecond atomic.Int64 // about how many bytes were appended per second before counting began

	dropped   []*segmentFile // dropped segments, to be unlinked when the drop is durable
	unlinking int            // how many are being unlinked in the background
	broken    error          // why the files must be opened again; nil if all is well
}

// output is the file of a segment, and where its next block is written.
type output struct {
	file     disk.File
	off      int64 // where the next block begins
	reserved int64 // how much of the file has its disk space allocated
	target   int64 // the intended size of the file
}

// Append implements persistence.Stream.
func (st *stream) Append(ctx context.Context, batch *messages.Batch, cp messages.Checkpoint) (persistence.Appended, error) {
	release, err := st.store.use()
	if err != nil {
		return persistence.Appended{}, err
	}
	defer release()
	if err := ctx.Err(); err != nil {
		return persistence.Appended{}, err
	}
	st.underWay.begin(st.store.clock.Now())
	defer func() { st.underWay.end(st.store.clock.Now()) }()
	st.write.Lock()
	defer st.write.Unlock()
	if err := st.ready(); err != nil {
		return persistence.Appended{}, err
	}
	m := st.tip.Load().meta
	if m.closedUS != 0 {
		return persistence.Appended{}, persistence.ClosedError(st.name, m.closedReason)
	}
	if err := st.store.space.check(0); err != nil {
		return persistence.Appended{}, err
	}
	st.keep(batch, m.end.Last)
	cp.LastID = m.end.Last
	if n := len(st.w.ids); n > 0 {
		cp.LastID = st.w.ids[n-1]
		if m.kept() == 0 {
			m.oldest = st.w.ids[0]
		}
	}
	if m.cpJSON, err = json.Marshal(&cp); err != nil {
		return persistence.Appended{}, fmt.Errorf("encode a checkpoint: %w", err)
	}
	m.checkpoint, m.lost = &cp, nil
	done, err := st.commit(batch, &m, false)
	if err != nil {
		return persistence.Appended{}, fmt.Errorf("append to stream %s: %w", st.name, err)
	}
	return done, nil
}

// keep collects the batch's events that are kept and derives their IDs.
func (st *stream) keep(batch *messages.Batch, last EntryID) {
	st.w.ids, st.w.kept = st.w.ids[:0], st.w.kept[:0]
	for i := range batch.Events {
		if ev := &batch.Events[i]; !ev.Drop {
			last = messages.DeriveID(ev.TimeUS, last)
			st.w.ids = append(st.w.ids, last)
			st.w.kept = append(st.w.kept, i)
		}
	}
}

// commitState stores a change of the stream's state without entries. The caller holds write.
func (st *stream) commitState(m meta) error {
	st.w.ids, st.w.kept = st.w.ids[:0], st.w.kept[:0]
	_, err := st.commit(new(messages.Batch), &m, true)
	return err
}

// commit writes the kept events and the state m in one write, and makes them visible. It sets m's
// end. When a new segment begins, it also applies retention to m. control is set for changes that
// must be possible on a full disk too: such a commit begins no segment unless there is none.
func (st *stream) commit(batch *messages.Batch, m *meta, control bool) (persistence.Appended, error) {
	w := &st.w
	old := st.tip.Load()
	into, active, rows, segs := &w.output, old.active, w.rows, old.segs
	var next *spare
	var trimmed persistence.Trimmed
	var header *segment.Header
	if active == nil || !control && (w.off >= w.target || len(rows) >= maxRows) {
		// The next segment begins. Retention is applied now, because the size of the old segment is
		// known.
		var err error
		if next, err = st.nextSegment(control); err != nil {
			return persistence.Appended{}, err
		}
		trimmed = st.raiseFloorForSegment(old, m)
		header = &segment.Header{Stream: st.name, Number: next.number, Start: m.end}
		if len(w.ids) > 0 {
			header.First = w.ids[0]
		}
		into, rows = &next.output, nil
	}
	start := m.end
	done, err := w.encode(batch, m, header)
	if err != nil {
		return persistence.Appended{}, err
	}
	if err := st.reserve(into, int64(len(w.buf)), len(rows)+len(w.fresh), !control); err != nil {
		return persistence.Appended{}, err
	}
	if next != nil {
		if active != nil {
			if err := st.seal(active, old); err != nil {
				return persistence.Appended{}, st.failed(err)
			}
			active.seal(start, w.rows)
			crashpoint.Pass(crashpoint.SegmentSealed)
		}
		active = st.begin(next, header)
		segs = append(slices.Clip(segs), active)
	}
	crashpoint.Pass(crashpoint.AppendWrite)
	if err := w.write(st.store.sync); err != nil {
		return persistence.Appended{}, st.failed(err)
	}
	crashpoint.Pass(crashpoint.AppendSynced)
	w.advance(rows)
	segs, dropped := prune(segs, m.droppedEntries, active)
	m.saved = saved(segs, m.droppedBytes)
	if st.store.sync {
		w.syncedOff, w.synced = w.off, m.end.Last
	}
	st.moveMark(m)
	st.publish(&tip{meta: *m, segs: segs, active: active, rows: w.rows}, st.runOf(batch))
	if w.dropped = append(w.dropped, dropped...); len(w.dropped)+w.unlinking > maxDropped && (st.store.sync || st.syncLocked() == nil) {
		w.dropped = st.unlink(w.dropped) // the background work does not keep up
	}
	if len(w.dropped) > 0 || w.spare == nil && w.off >= w.target/2 {
		st.store.kick()
	}
	if trimmed.Entries > 0 {
		st.store.emit(persistence.StreamTrimmed{Stream: st.name, Trimmed: trimmed})
	}
	st.recovered()
	w.measureRate(st.store.clock.Now(), len(w.buf))
	w.shrink()
	return done, nil
}

// mostDead is how many dropped segments may wait to be unlinked.
const maxDropped = 1

// seal records where a segment ends and keeps its rows.
func (g *segmentFile) seal(end segment.Position, rows []segment.Row) {
	g.end = end
	g.rows.Store(&rows)
	g.stream.store.indexes.add(g, len(rows))
}

// encode makes the blocks of an append and moves m's end behind them. header is the header of the
// segment that begins with them, or nil.
func (w *writer) encode(batch *messages.Batch, m *meta, header *segment.Header) (done persistence.Appended, err error) {
	w.buf, w.fresh, w.blocks = w.buf[:0], w.fresh[:0], w.blocks[:0]
	if header != nil {
		w.buf = segment.AppendHeader(w.buf, header)
	}
	state := m.state()
	kept, ids := w.kept, w.ids
	for {
		n := segment.Split(batch.Events, kept)
		src := segment.Source{Buf: batch.Buf, Events: batch.Events, Kept: kept[:n], IDs: ids[:n]}
		kept, ids = kept[n:], ids[n:]
		w.lastAt = len(w.buf)
		var row segment.Row
		if w.buf, row, err = w.enc.Append(w.buf, &src, &state, len(kept) > 0, &m.end); err != nil {
			return done, fmt.Errorf("%w: %w", persistence.ErrBadBound, err)
		}
		row.Off = int64(w.lastAt)
		w.lastLen = int(row.HeadLen)
		if n > 0 {
			w.fresh = append(w.fresh, row)
			w.blocks = append(w.blocks, persistence.AppendedBlock{Last: row.Last, Entries: n})
			done.Bytes += int(row.HeadLen + row.BodyLen)
		}
		if len(kept) == 0 {
			break
		}
	}
	if n := len(w.ids); n > 0 {
		done.First, done.Last, done.Entries = w.ids[0], w.ids[n-1], n
		if len(w.blocks) > 1 {
			done.Blocks = w.blocks
		}
	}
	w.freshLow, w.freshHigh = 0, 0
	for i, k := range w.kept {
		us := batch.Events[k].TimeUS
		if i == 0 {
			w.freshLow, w.freshHigh = us, us
		}
		w.freshLow, w.freshHigh = min(w.freshLow, us), max(w.freshHigh, us)
	}
	return done, nil
}

// write writes the encoded blocks into the active segment.
func (w *writer) write(sync bool) error {
	if _, err := w.file.WriteAt(w.buf, w.off); err != nil {
		return err
	}
	crashpoint.Pass(crashpoint.AppendWritten)
	if sync {
		return w.file.Sync()
	}
	return nil
}

// advance moves the writer behind the written blocks.
func (w *writer) advance(rows []segment.Row) {
	for i := range w.fresh {
		w.fresh[i].Off += w.off
	}
	w.rows = append(rows, w.fresh...)
	w.stateOff, w.stateLen = w.off+int64(w.lastAt), w.lastLen
	w.off += int64(len(w.buf))
	if len(w.fresh) > 0 {
		if w.low == 0 && w.high == 0 {
			w.low, w.high = w.freshLow, w.freshHigh
		}
		w.low, w.high = min(w.low, w.freshLow), max(w.high, w.freshHigh)
	}
}

// measureRate measures how many bytes are appended per second.
func (w *writer) measureRate(now time.Time, n int) {
	since := now.Sub(time.Unix(0, w.rateSince.Load()))
	if w.rateBytes += int64(n); since < time.Second && since >= 0 {
		return
	}
	w.bytesPerSecond.Store(int64(float64(w.rateBytes) / max(since.Seconds(), 1)))
	w.rateSince.Store(now.UnixNano())
	w.rateBytes = 0
}

// keepBuffer is how much memory the buffer of appends may always keep. A larger buffer, as after a
// catch-up, is released when the feed is live: when so many appends in a row have used little of it.
// Beside a repair, large appends and small ones take turns.
const (
	keepBuffer = 256 << 10
	keepFor    = 16
)

func (w *writer) shrink() {
	if cap(w.buf) <= keepBuffer || len(w.buf) >= cap(w.buf)/16 {
		w.little = 0
	} else if w.little++; w.little == keepFor {
		w.buf, w.ids, w.kept, w.little = nil, nil, nil, 0
	}
}

// moveMark moves the high-water mark. The append is durable whether this succeeds or not, so a
// failure is an event and not an error.
func (st *stream) moveMark(m *meta) {
	k := known{
		last: m.end.Last, synced: st.w.synced, oldest: m.oldest, number: m.end.Number, closed: m.closedUS, found: true,
		entries: m.end.Entries, bytes: m.end.Bytes,
	}
	if err := st.w.mark.write(k); err != nil {
		st.store.emit(persistence.MaintenanceFailed{Stream: st.name, Err: err})
	}
}

// failed records that the stream's files must be checked before the next write. It returns the
// error for the caller.
func (st *stream) failed(err error) error {
	st.w.broken = err
	reason := st.store.failure(err)
	if st.fault.Swap(&reason) == nil && !isFull(err) {
		st.store.emit(persistence.WriteFailed{Stream: st.name, Err: err})
	}
	return reason
}

// recovered records that writing works again.
func (st *stream) recovered() {
	fault := st.fault.Swap(nil)
	if fault == nil {
		return
	}
	if _, away := errors.AsType[*persistence.UnavailableError](*fault); away {
		st.store.emit(persistence.WriteRecovered{Stream: st.name})
	}
}

// ready opens the stream's files again after a failed write. The caller holds write.
func (st *stream) ready() error {
	if st.deleted.Load() {
		return noStream(st.name)
	}
	if st.w.broken == nil {
		return nil
	}
	return st.reopen()
}

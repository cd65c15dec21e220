package embedded

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/embedded/segment"
	"tempestd/persistence/internal/wake"
)

// stream is one stream of a Store.
type stream struct {
	store     *Store
	name      string
	dir       string
	retention atomic.Pointer[persistence.Retention]
	deleted   atomic.Bool

	// write is held by everything that changes the stored data, until its commit is done. It guards
	// the writer.
	write sync.Mutex
	w     writer

	// The fields that readers use. They take no lock: if thousands of readers were woken together,
	// a lock would delay the next append until all of them had taken it.
	tip     atomic.Pointer[tip]
	waiting atomic.Int64 // tails
	wanted  atomic.Int64 // when a tail last asked, Unix nanoseconds
	fault   atomic.Pointer[error]

	underWay underWay

	entry      entryCache // used by Entry
	corrupt    corruptSet
	registered registered // what the register contains about it; guarded by maintaining
	ages       ageGuard   // guarded by the store's maintaining

	reportedMu sync.Mutex
	reported   map[string]bool // files that were reported as damaged
}

// tip is the stream at one instant. It is never changed, only replaced.
type tip struct {
	meta   meta
	segs   []*segmentFile // oldest first
	active *segmentFile   // the last of them if it is being written; nil if all are sealed
	rows   []segment.Row  // of the active segment
	recent []*run         // the newest entries, contiguous; none while there are no tails
	base   EntryID        // the newest entry before recent
	next   *wake.Signal   // sent when there may be something to read that this tip does not have
}

// meta is the state of a stream besides its entries.
type meta struct {
	end            segment.Position // after the newest block
	oldest         EntryID          // the oldest entry kept, or an ID before it without an entry
	floor          EntryID          // the newest entry that retention dropped
	droppedEntries uint64
	droppedBytes   uint64
	saved          uint64 // bytes that packing has saved on disk, compared with the bytes appended
	closedUS       int64
	closedReason   string
	checkpoint     *messages.Checkpoint // never changed
	cpJSON         []byte               // never changed
	lost           *persistence.Truncation
}

// kept is how many entries the stream has now. keptBytes is how many bytes they take.
func (m *meta) kept() int64 { return int64(m.end.Entries - m.droppedEntries) }

func (m *meta) keptBytes() int64 {
	if m.kept() == 0 {
		return 0
	}
	return max(int64(m.end.Bytes-m.droppedBytes)-int64(m.saved), 1)
}

// state returns the state that blocks contain.
func (m *meta) state() segment.State {
	return segment.State{Floor: m.floor, DroppedEntries: m.droppedEntries, DroppedBytes: m.droppedBytes, ClosedUS: m.closedUS, ClosedReason: m.closedReason, Checkpoint: m.cpJSON}
}

func (s *Store) newStream(name string) *stream {
	st := &stream{store: s, name: name, dir: filepath.Join(s.dir, streamsDir, name)}
	st.retention.Store(&persistence.Retention{})
	st.tip.Store(&tip{next: new(wake.Signal)})
	return st
}

// createStream creates a stream durably: its directory and its mark. Its first segment is created
// when there is something to write.
func (s *Store) createStream(name string) (*stream, error) {
	if err := s.space.check(0); err != nil {
		return nil, err
	}
	st := s.newStream(name)
	if err := s.files.MakeDir(st.dir); err != nil {
		return nil, s.failure(fmt.Errorf("make the directory of stream %s: %w", name, err))
	}
	m, _, err := s.openMark(name)
	if err != nil {
		return nil, s.failure(err)
	}
	st.w.mark = m
	s.kick()
	return st, nil
}

// Name implements persistence.Stream.
func (st *stream) Name() string { return st.name }

// publish makes a committed change visible. It wakes the tails if there are new entries or the
// stream was closed. The caller holds write.
func (st *stream) publish(t *tip, add *run) {
	old := st.tip.Load()
	st.w.recent.trim(t.meta.oldest)
	if add != nil {
		st.w.recent.push(add, old.meta.end.Last)
	}
	t.recent, t.base, t.next = st.w.recent.runs, st.w.recent.base, old.next
	news := t.meta.end.Last != old.meta.end.Last || t.meta.closedUS != old.meta.closedUS
	if news {
		t.next = new(wake.Signal)
	}
	st.tip.Store(t)
	if news {
		old.next.Send()
	}
}

// Checkpoint implements persistence.Stream.
func (st *stream) Checkpoint(context.Context) (messages.Checkpoint, error) {
	release, err := st.store.use()
	if err != nil {
		return messages.Checkpoint{}, err
	}
	defer release()
	if cp := st.tip.Load().meta.checkpoint; cp != nil {
		return *cp, nil
	}
	return messages.Checkpoint{}, fmt.Errorf("%w in stream %s", persistence.ErrNoCheckpoint, st.name)
}

// Info implements persistence.Stream.
func (st *stream) Info(context.Context) (persistence.StreamInfo, error) {
	release, err := st.store.use()
	if err != nil {
		return persistence.StreamInfo{}, err
	}
	defer release()
	if st.deleted.Load() {
		return persistence.StreamInfo{}, noStream(st.name)
	}
	return st.infoAt(&st.tip.Load().meta), nil
}

func (st *stream) infoAt(m *meta) persistence.StreamInfo {
	info := persistence.StreamInfo{Name: st.name, Entries: m.kept(), Bytes: m.keptBytes(), ClosedReason: m.closedReason, Lost: m.lost}
	if keep := *st.retention.Load(); keep != (persistence.Retention{}) {
		info.Retention = &messages.Retention{AgeSeconds: int64(keep.Age / time.Second), Bytes: keep.Bytes, Entries: keep.Entries}
	}
	if info.Entries > 0 {
		oldest, newest := m.oldest, m.end.Last
		info.Oldest, info.Newest = &oldest, &newest
	}
	if !m.floor.IsZero() {
		floor := m.floor
		info.Trimmed = &floor
	}
	if m.closedUS != 0 {
		at := time.UnixMicro(m.closedUS).UTC()
		info.ClosedAt = &at
	}
	return info
}

// Close implements persistence.Stream.
func (st *stream) Close(ctx context.Context, reason string) error {
	release, err := st.store.use()
	if err != nil {
		return err
	}
	defer release()
	if err := ctx.Err(); err != nil {
		return err
	}
	closed, err := st.close(reason)
	if closed {
		st.store.emit(persistence.StreamEnded{Stream: st.name, Reason: reason})
	}
	return err
}

func (st *stream) close(reason string) (closed bool, err error) {
	st.write.Lock()
	defer st.write.Unlock()
	if err := st.ready(); err != nil {
		return false, err
	}
	m := st.tip.Load().meta
	if m.closedUS != 0 {
		return false, nil
	}
	m.closedUS, m.closedReason = st.store.clock.Now().UnixMicro(), reason
	if err := st.commitState(m); err != nil {
		return false, err
	}
	return true, nil
}

// closeFiles closes the open files of the stream. The space that was allocated ahead stays for the
// next process.
func (st *stream) closeFiles() error {
	st.write.Lock()
	defer st.write.Unlock()
	err := st.w.closeFiles()
	for _, g := range st.tip.Load().segs {
		g.drop()
	}
	return err
}

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
	"tempestd/persistence/internal/bell"
)

// stream is one stream of a Store.
type stream struct {
	store     *Store
	name      string
	dir       string
	retention atomic.Pointer[persistence.Retention]

	// write is held by whoever changes what is stored, through its commit. It guards the writer.
	write sync.Mutex
	w     writer

	// What readers see. They take no lock: thousands that are woken together would hold up the next
	// append for as long as all of them take.
	tip     atomic.Pointer[tip]
	waiting atomic.Int64 // tails
	wanted  atomic.Int64 // when one last asked, Unix nanoseconds
	fault   atomic.Pointer[error]

	entry      entryCache // of Entry
	corrupt    corruptSet
	registered registered // what the register has of it; guarded by maintaining
	ages       ageGuard   // guarded by the store's maintaining

	toldMu sync.Mutex
	told   map[string]bool // files that were told to be damaged
}

// tip is the stream at one instant. It is never written to, but replaced.
type tip struct {
	meta   meta
	segs   []*segmentFile // oldest first
	active *segmentFile   // the last of them, when it is written to; nil when all are sealed
	rows   []segment.Row  // of the active one
	recent []*run         // the newest entries, without a hole; none while nobody tails
	base   EntryID        // the newest entry before them
	wake   *bell.Bell     // rung when there may be something to read that this tip does not have
}

// meta is what is known of a stream besides its entries.
type meta struct {
	end            segment.Position // after the newest block
	oldest         EntryID          // the oldest entry kept, or a place before it that has none
	floor          EntryID          // the newest entry that retention dropped
	droppedEntries uint64
	droppedBytes   uint64
	saved          uint64 // bytes less on disk than were appended, since segments were packed
	closedUS       int64
	closedReason   string
	checkpoint     *messages.Checkpoint // not written to
	cpJSON         []byte               // not written to
	lost           *persistence.Truncation
}

// kept is how many entries the stream has now, keptBytes what they take.
func (m *meta) kept() int64 { return int64(m.end.Entries - m.droppedEntries) }

func (m *meta) keptBytes() int64 {
	if m.kept() == 0 {
		return 0
	}
	return max(int64(m.end.Bytes-m.droppedBytes)-int64(m.saved), 1)
}

// state is what blocks say of the stream.
func (m *meta) state() segment.State {
	return segment.State{Floor: m.floor, DroppedEntries: m.droppedEntries, DroppedBytes: m.droppedBytes, ClosedUS: m.closedUS, ClosedReason: m.closedReason, Checkpoint: m.cpJSON}
}

func (s *Store) newStream(name string) *stream {
	st := &stream{store: s, name: name, dir: filepath.Join(s.dir, streamsDir, name)}
	st.retention.Store(&persistence.Retention{})
	st.tip.Store(&tip{wake: new(bell.Bell)})
	return st
}

// createStream makes a stream durable: its directory and its mark. Its first segment is made when
// there is something to write.
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

// publish makes a committed change visible and wakes the tails if it is something to them. The
// caller holds write.
func (st *stream) publish(t *tip, add *run) {
	old := st.tip.Load()
	st.w.recent.trim(t.meta.oldest)
	if add != nil {
		st.w.recent.push(add, old.meta.end.Last)
	}
	t.recent, t.base, t.wake = st.w.recent.runs, st.w.recent.base, old.wake
	news := t.meta.end.Last != old.meta.end.Last || t.meta.closedUS != old.meta.closedUS
	if news {
		t.wake = new(bell.Bell)
	}
	st.tip.Store(t)
	if news {
		old.wake.Ring()
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
	return st.infoAt(&st.tip.Load().meta), nil
}

func (st *stream) infoAt(m *meta) persistence.StreamInfo {
	info := persistence.StreamInfo{Name: st.name, Entries: m.kept(), Bytes: m.keptBytes(), ClosedReason: m.closedReason, Lost: m.lost}
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

// closeFiles closes what is open of the stream. What was taken ahead stays: the next process goes
// on in it.
func (st *stream) closeFiles() error {
	st.write.Lock()
	defer st.write.Unlock()
	err := st.w.closeFiles()
	for _, g := range st.tip.Load().segs {
		g.drop()
	}
	return err
}

package persistence

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"

	"tempestd/messages"
)

// embeddedStream is one stream of an Embedded store.
type embeddedStream struct {
	store     *Embedded
	name      string
	prefix    []byte // of its blocks' keys
	retention atomic.Pointer[Retention]

	// write is held by whoever changes what is stored, through its commit. It guards the fields below it.
	write  sync.Mutex
	enc    encoder
	ids    []EntryID
	key    []byte
	mark   *highWater
	synced EntryID // newest entry synced to disk
	recent ring

	// What readers see. They take no lock: thousands that are woken together would hold up the next append for as long as all of them take.
	tip     atomic.Pointer[tip]
	waiting atomic.Int64 // tails
	wanted  atomic.Int64 // when one last asked, Unix nanoseconds

	settled EntryID    // where the next merge begins; guarded by maintaining
	entry   entryCache // of Entry
	corrupt corruptSet
}

// tip is the stream at one instant. It is never written to, but replaced.
type tip struct {
	meta   streamMeta
	recent []*segment // the newest entries, without a hole; none while nobody tails
	base   EntryID    // the newest entry before them
	wake   *bell      // rung when there may be something to read that this tip does not have
}

// streamMeta is what is stored of a stream besides its blocks, in the transaction of every change.
type streamMeta struct {
	Last           EntryID              `json:"last"`             // the newest ID ever given
	Oldest         EntryID              `json:"oldest"`           // the oldest entry kept: where reading begins, past the tombstones
	Entries        uint64               `json:"entries"`          // ever appended
	Bytes          uint64               `json:"bytes"`            // of the blocks, as they were appended
	DroppedEntries uint64               `json:"dropped_entries"`  // by retention
	DroppedBytes   int64                `json:"dropped_bytes"`    // by retention and merging
	Trimmed        EntryID              `json:"trimmed,omitzero"` // the newest entry that retention dropped
	ClosedUS       int64                `json:"closed_us,omitempty"`
	ClosedReason   string               `json:"closed_reason,omitempty"`
	Checkpoint     *messages.Checkpoint `json:"checkpoint,omitempty"`
}

// kept is how many entries the stream has now, keptBytes what they take.
func (m *streamMeta) kept() int64      { return int64(m.Entries - m.DroppedEntries) }
func (m *streamMeta) keptBytes() int64 { return int64(m.Bytes) - m.DroppedBytes }

// trimmed is the newest entry that retention dropped. Where that is not known (a store of an earlier version, a meta made anew), every ID
// before the oldest entry is taken for it: rather one reader too many is told than one too few.
func (m *streamMeta) trimmed() EntryID {
	if m.Trimmed.IsZero() && m.DroppedEntries > 0 {
		return m.Oldest.Prev()
	}
	return m.Trimmed
}

// encode gives the meta's value: its CRC32C and its JSON.
func (m *streamMeta) encode() ([]byte, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode a stream's meta: %w", err)
	}
	return append(binary.LittleEndian.AppendUint32(nil, crc32.Checksum(body, castagnoli())), body...), nil
}

func decodeMeta(v []byte) (m streamMeta, err error) {
	if len(v) < 4 || binary.LittleEndian.Uint32(v) != crc32.Checksum(v[4:], castagnoli()) {
		return m, fmt.Errorf("%w: the meta's checksum does not match", errBlock)
	}
	return m, json.Unmarshal(v[4:], &m)
}

// newStream is a stream that is not stored yet.
func (e *Embedded) newStream(name string) (*embeddedStream, error) {
	mark, err := openMark(e.dir, name)
	if err != nil {
		return nil, err
	}
	s := &embeddedStream{store: e, name: name, prefix: blockKeyPrefix(name), mark: mark}
	s.retention.Store(&Retention{})
	s.tip.Store(&tip{wake: new(bell)})
	return s, nil
}

// createStream makes a stream durable.
func (e *Embedded) createStream(name string) (*embeddedStream, error) {
	if err := e.space.check(0); err != nil {
		return nil, err
	}
	s, err := e.newStream(name)
	if err != nil {
		return nil, err
	}
	if err := e.update(func(txn *badger.Txn) error { return s.putMeta(txn, new(streamMeta)) }); err != nil {
		return nil, errors.Join(err, s.mark.close())
	}
	return s, nil
}

func (s *embeddedStream) putMeta(txn *badger.Txn, m *streamMeta) error {
	v, err := m.encode()
	if err != nil {
		return err
	}
	return txn.Set(metaKey(s.name), v)
}

// Name implements Stream.
func (s *embeddedStream) Name() string { return s.name }

// state is the stream's meta as readers may know it: everything in it is committed.
func (s *embeddedStream) state() streamMeta { return s.tip.Load().meta }

// publish makes a committed change visible and wakes the tails if it is something to them. The caller holds write.
func (s *embeddedStream) publish(m *streamMeta, seg *segment) {
	old := s.tip.Load()
	s.recent.trim(m.Oldest)
	if seg != nil {
		s.recent.push(seg, old.meta.Last)
	}
	now := &tip{meta: *m, recent: s.recent.segments, base: s.recent.base, wake: old.wake}
	news := m.Last != old.meta.Last || m.ClosedUS != old.meta.ClosedUS
	if news {
		now.wake = new(bell)
	}
	s.tip.Store(now)
	if news {
		old.wake.ring()
	}
}

// Checkpoint implements Stream.
func (s *embeddedStream) Checkpoint(context.Context) (messages.Checkpoint, error) {
	release, err := s.store.use()
	if err != nil {
		return messages.Checkpoint{}, err
	}
	defer release()
	if m := s.state(); m.Checkpoint != nil {
		return *m.Checkpoint, nil
	}
	return messages.Checkpoint{}, fmt.Errorf("%w in stream %s", ErrNoCheckpoint, s.name)
}

// Info implements Stream.
func (s *embeddedStream) Info(context.Context) (StreamInfo, error) {
	release, err := s.store.use()
	if err != nil {
		return StreamInfo{}, err
	}
	defer release()
	m := s.state()
	info := StreamInfo{Name: s.name, Entries: m.kept(), Bytes: m.keptBytes(), ClosedReason: m.ClosedReason}
	if info.Entries > 0 {
		info.Oldest, info.Newest = &m.Oldest, &m.Last
	}
	if trimmed := m.trimmed(); !trimmed.IsZero() {
		info.Trimmed = &trimmed
	}
	if m.ClosedUS != 0 {
		at := time.UnixMicro(m.ClosedUS).UTC()
		info.ClosedAt = &at
	}
	return info, nil
}

// Close implements Stream.
func (s *embeddedStream) Close(ctx context.Context, reason string) error {
	release, err := s.store.use()
	if err != nil {
		return err
	}
	defer release()
	if err := ctx.Err(); err != nil {
		return err
	}
	closed, err := s.close(reason)
	if closed {
		s.store.emit(StreamEnded{Stream: s.name, Reason: reason})
	}
	return err
}

func (s *embeddedStream) close(reason string) (closed bool, err error) {
	s.write.Lock()
	defer s.write.Unlock()
	m := s.state()
	if m.ClosedUS != 0 {
		return false, nil
	}
	m.ClosedUS, m.ClosedReason = s.store.clock.Now().UnixMicro(), reason
	if err := s.store.update(func(txn *badger.Txn) error { return s.putMeta(txn, &m) }); err != nil {
		return false, err
	}
	s.publish(&m, nil)
	return true, nil
}

package persistence

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"tempestd/messages"
)

// Append implements Stream.
func (s *embeddedStream) Append(ctx context.Context, batch *messages.Batch, cp messages.Checkpoint) (Appended, error) {
	release, err := s.store.use()
	if err != nil {
		return Appended{}, err
	}
	defer release()
	if err := ctx.Err(); err != nil {
		return Appended{}, err
	}
	s.write.Lock()
	defer s.write.Unlock()

	m := s.state()
	if m.ClosedUS != 0 {
		return Appended{}, errClosed(s.name, m.ClosedReason)
	}
	// The batch is compressed before it is written, but need not shrink.
	if err := s.store.space.check(uint64(len(batch.Buf))); err != nil {
		return Appended{}, err
	}
	s.deriveIDs(batch, m.Last)
	done := Appended{Entries: len(s.ids)}
	if done.Entries > 0 {
		done.First, done.Last = s.ids[0], s.ids[len(s.ids)-1]
		if m.kept() == 0 {
			m.Oldest = done.First
		}
		m.Last = done.Last
	}
	cp.LastID = m.Last
	m.Checkpoint = &cp

	var block []byte
	if done.Entries > 0 {
		if block, err = s.encodeBatch(batch, &m); err != nil {
			return Appended{}, err
		}
		done.Bytes = len(block)
	}
	err = s.store.update(func(txn *badger.Txn) error {
		if block != nil {
			if err := txn.SetEntry(badger.NewEntry(s.key, block).WithMeta(tier(done.Entries))); err != nil {
				return err
			}
		}
		return s.putMeta(txn, &m)
	})
	if err != nil {
		return Appended{}, fmt.Errorf("append to stream %s: %w", s.name, err)
	}
	if s.store.sync {
		s.synced = m.Last
	}
	s.moveMark(m.Last)
	s.publish(&m, s.segmentOf(batch))
	s.store.touch(done.Bytes)
	return done, nil
}

// deriveIDs gives the batch's kept events their IDs, into s.ids.
func (s *embeddedStream) deriveIDs(batch *messages.Batch, last EntryID) {
	s.ids = s.ids[:0]
	for i := range batch.Events {
		if ev := &batch.Events[i]; !ev.Drop {
			last = messages.DeriveID(ev.TimeUS, last)
			s.ids = append(s.ids, last)
		}
	}
}

// encodeBatch gives the block of the batch, under s.key, and counts it in m.
func (s *embeddedStream) encodeBatch(batch *messages.Batch, m *streamMeta) ([]byte, error) {
	checkpoint, err := json.Marshal(m.Checkpoint)
	if err != nil {
		return nil, fmt.Errorf("encode a checkpoint: %w", err)
	}
	s.key = appendBlockKey(s.key[:0], s.prefix, m.Last)
	block, err := s.enc.encode(s.key, &source{
		buf:        batch.Buf,
		events:     batch.Events,
		ids:        s.ids,
		endEntries: m.Entries + uint64(len(s.ids)),
		startBytes: m.Bytes,
		checkpoint: checkpoint,
	})
	if err != nil {
		return nil, err
	}
	m.Entries += uint64(len(s.ids))
	m.Bytes += uint64(len(block))
	return block, nil
}

// moveMark moves the high-water mark, to last and synced. The append is durable whatever becomes of the mark, so a failure is told and no error.
func (s *embeddedStream) moveMark(last EntryID) {
	if err := s.mark.write(last, s.synced); err != nil {
		s.store.emit(MaintenanceFailed{Stream: s.name, Err: err})
	}
}

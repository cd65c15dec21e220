package persistence

import (
	"context"
	"fmt"
	"slices"

	"github.com/dgraph-io/badger/v4"
)

// trimBlocks is how many blocks one transaction deletes.
const trimBlocks = 1000

// Trim implements Stream.
func (s *embeddedStream) Trim(ctx context.Context, r Retention) (Trimmed, error) {
	release, err := s.store.use()
	if err != nil {
		return Trimmed{}, err
	}
	defer release()
	s.store.maintaining.Lock()
	defer s.store.maintaining.Unlock()
	done, err := s.trim(ctx, r)
	if err != nil || done.Entries == 0 {
		return done, err
	}
	return done, s.store.reclaim(ctx)
}

// trim deletes the blocks that r does not keep. The caller holds maintaining.
func (s *embeddedStream) trim(ctx context.Context, r Retention) (done Trimmed, err error) {
	if r == (Retention{}) {
		return Trimmed{}, ctx.Err()
	}
	defer func() {
		if done.Entries > 0 {
			s.store.emit(StreamTrimmed{Stream: s.name, Trimmed: done})
		}
	}()
	for {
		m := s.state()
		cut, err := s.findCut(ctx, &m, r)
		if err != nil || len(cut.keys) == 0 {
			return done, err
		}
		if err := s.store.space.checkReserve(0); err != nil {
			return done, err
		}
		dropped, err := s.drop(cut)
		done.Entries += dropped.Entries
		done.Bytes += dropped.Bytes
		if err != nil || len(cut.keys) < trimBlocks {
			return done, err
		}
	}
}

// cut is a run of the oldest blocks, to be dropped.
type cut struct {
	keys    [][]byte
	bytes   int64
	entries uint64  // ever appended up to the cut's end
	oldest  EntryID // the first entry after it
}

// findCut finds the oldest blocks that r does not keep, up to trimBlocks of them.
func (s *embeddedStream) findCut(ctx context.Context, m *streamMeta, r Retention) (cut, error) {
	c := cut{entries: m.DroppedEntries}
	if m.kept() == 0 {
		return c, nil
	}
	var oldestMS uint64
	if now := s.store.clock.Now().Add(-r.Age).UnixMilli(); r.Age > 0 && now > 0 {
		oldestMS = uint64(now)
	}
	entries, bytes := m.kept(), m.keptBytes()
	err := s.eachBlock(ctx, m.Oldest, func(item *badger.Item) (bool, error) {
		var b blockSummary
		err := item.Value(func(v []byte) (err error) {
			b, _, err = readSummary(item.Key(), v)
			return err
		})
		if err != nil {
			// Its size is all that is known of it. The next good block tells how many entries went with it.
			_ = s.corruptBlock(item.Key(), err)
			b = blockSummary{first: blockKeyID(item.Key()), last: blockKeyID(item.Key()), size: int(item.ValueSize())}
		} else {
			c.entries = b.startEntries()
			entries = int64(m.Entries - c.entries)
		}
		c.oldest = b.first
		keep := b.last.MS >= oldestMS &&
			(r.Entries <= 0 || entries-int64(b.count) < r.Entries) &&
			(r.Bytes <= 0 || bytes-int64(b.size) < r.Bytes)
		if keep || len(c.keys) == trimBlocks {
			return false, nil
		}
		c.keys = append(c.keys, slices.Clone(item.Key()))
		c.bytes += int64(b.size)
		bytes -= int64(b.size)
		entries -= int64(b.count)
		// Unless a block follows that says otherwise, reading begins after this one.
		c.entries += uint64(b.count)
		c.oldest = b.last.Next()
		return true, nil
	})
	return c, err
}

// drop deletes a cut.
func (s *embeddedStream) drop(c cut) (Trimmed, error) {
	s.write.Lock()
	defer s.write.Unlock()
	m := s.state()
	done := Trimmed{Entries: int64(c.entries - m.DroppedEntries), Bytes: c.bytes}
	m.DroppedEntries = c.entries
	m.DroppedBytes += c.bytes
	m.Oldest = c.oldest
	m.Trimmed = blockKeyID(c.keys[len(c.keys)-1])
	err := s.store.update(func(txn *badger.Txn) error {
		for _, key := range c.keys {
			if err := txn.Delete(key); err != nil {
				return err
			}
		}
		return s.putMeta(txn, &m)
	})
	if err != nil {
		return Trimmed{}, fmt.Errorf("trim stream %s: %w", s.name, err)
	}
	s.store.garbage.Add(c.bytes)
	s.publish(&m, nil)
	return done, nil
}

package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/embedded/disk"
)

// deletedDir has a file for each stream whose deletion has begun and not ended. So a crash in
// between leaves no half of a stream: the next process ends the deletion.
const deletedDir = "deleted"

// DeleteStream implements persistence.Store.
func (s *Store) DeleteStream(ctx context.Context, name string) error {
	release, err := s.use()
	if err != nil {
		return err
	}
	defer release()
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.snapshots.Load() > 0 {
		return fmt.Errorf("%w: a backup of the store is being made", messages.ErrNotNow)
	}
	// Nothing trims or registers streams, or changes what is stored beside them, meanwhile.
	s.maintaining.Lock()
	defer s.maintaining.Unlock()
	s.consumers.Lock()
	defer s.consumers.Unlock()
	s.ledgers.Lock()
	defer s.ledgers.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.streams[name]
	if st == nil {
		return noStream(name)
	}
	dir := s.path(deletedDir)
	if err := s.files.MakeDir(dir); err != nil {
		return s.failure(fmt.Errorf("delete stream %s: %w", name, err))
	}
	if err := disk.ReplaceFile(s.files, dir, filepath.Join(dir, name), nil); err != nil {
		return s.failure(fmt.Errorf("delete stream %s: %w", name, err))
	}
	delete(s.streams, name)
	s.deleting[name] = true
	st.vanish()
	s.emit(persistence.StreamDeleted{Stream: name})
	// From here on the stream is gone. What is left of it is removed now, or by maintenance.
	_ = s.finishDelete(name)
	return nil
}

func noStream(name string) error { return fmt.Errorf("%w: %.80q", persistence.ErrNoStream, name) }

// vanish ends the use of a stream that is deleted: its files are closed and its tails return.
func (st *stream) vanish() {
	st.deleted.Store(true)
	st.write.Lock()
	_ = st.w.closeFiles() // they are removed next
	st.w.dropped = nil
	old := st.tip.Load()
	st.tip.Store(&tip{next: old.next})
	st.write.Unlock()
	for _, g := range old.segs {
		g.drop()
		st.store.indexes.removed(g)
	}
	old.next.Send()
}

// finishDelete removes what is left of a deleted stream. The caller holds mu.
func (s *Store) finishDelete(name string) error {
	changes := []change{{key: append([]byte{registerPrefix}, name...)}, {key: append([]byte{checkpointPrefix}, name...)}}
	for _, prefix := range [][]byte{consumerKey(name, ""), gapKey(name, "")} {
		err := s.state.each(prefix, func(key, _ []byte) error {
			changes = append(changes, change{key: append([]byte(nil), key...)})
			return nil
		})
		if err != nil {
			return err
		}
	}
	if err := s.state.putMany(changes); err != nil {
		return err
	}
	dir := filepath.Join(s.path(streamsDir), name)
	files, err := s.files.List(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, file := range files {
		if err := ignoreNotExist(s.files.Unlink(filepath.Join(dir, file))); err != nil {
			return err
		}
	}
	for _, path := range []string{dir, s.markPath(name)} {
		if err := ignoreNotExist(s.files.Unlink(path)); err != nil {
			return err
		}
		if err := s.files.SyncDir(filepath.Dir(path)); err != nil {
			return err
		}
	}
	if err := ignoreNotExist(s.files.Unlink(filepath.Join(s.path(deletedDir), name))); err != nil {
		return err
	}
	delete(s.deleting, name)
	return s.files.SyncDir(s.path(deletedDir))
}

// loadDeleted ends the deletions that the last process has begun.
func (s *Store) loadDeleted() error {
	names, err := s.files.List(s.path(deletedDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s.failure(fmt.Errorf("list the deleted streams: %w", err))
	}
	for _, name := range names {
		if persistence.CheckName(name) == nil && !isTemporary(name) {
			s.deleting[name] = true
		}
	}
	s.finishDeletes()
	return nil
}

// finishDeletes tries again to remove what is left of deleted streams.
func (s *Store) finishDeletes() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.deleting {
		_ = s.finishDelete(name) // the next round tries again
	}
}

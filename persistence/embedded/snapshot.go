package embedded

import (
	"context"
	"errors"
	"fmt"
	"path"

	"golang.org/x/sys/unix"

	"tempestd/persistence"
)

// Snapshot implements persistence.Snapshotter. The state is copied first, so that no consumer and
// no checkpoint is ahead of its stream. Until release is called no segment is removed, unless the
// disk is nearly full.
func (s *Store) Snapshot(ctx context.Context) (*persistence.Snapshot, func(), error) {
	release, err := s.use()
	if err != nil {
		return nil, nil, err
	}
	defer release()
	if s.lock == nil {
		return nil, nil, errors.New("the store is not on a file system of this machine")
	}
	var lock unix.Stat_t
	if err := unix.Fstat(int(s.lock.Fd()), &lock); err != nil {
		return nil, nil, fmt.Errorf("look at the store's lock: %w", err)
	}
	s.snapshots.Add(1)
	done := func() {
		s.snapshots.Add(-1)
		s.kick()
	}
	snapshot := &persistence.Snapshot{Dir: s.dir, ID: lock.Ino, Streams: make([]persistence.StreamInfo, 0)}
	if err := s.fill(ctx, snapshot); err != nil {
		done()
		return nil, nil, err
	}
	return snapshot, done, nil
}

func (s *Store) fill(ctx context.Context, to *persistence.Snapshot) error {
	content := func(name string, b []byte) {
		to.Files = append(to.Files, persistence.SnapshotFile{Path: name, Bytes: int64(len(b)), Content: b})
	}
	content(formatFile, []byte(formatText))
	// A row of the gaps is in the state or in its stream's checkpoint. While none is saved, none
	// leaves a checkpoint.
	s.ledgers.Lock()
	defer s.ledgers.Unlock()
	copied, err := s.state.snapshot()
	if err != nil {
		return err
	}
	content(copyFile, copied)
	for _, st := range s.all() {
		if err := ctx.Err(); err != nil {
			return err
		}
		t, off, k, err := st.atOneInstant()
		if err != nil {
			return fmt.Errorf("stream %s: %w", st.name, err)
		}
		to.Streams = append(to.Streams, st.infoAt(&t.meta))
		mark := k.encode()
		content(path.Join(marksDir, st.name), mark[:])
		for _, g := range t.segs {
			switch file := (persistence.SnapshotFile{Path: path.Join(streamsDir, st.name, segmentName(g.number)), Bytes: g.size.Load(), Sealed: true}); {
			case g.hole():
			case g == t.active:
				file.Bytes, file.Sealed = off, false
				to.Files = append(to.Files, file)
			default:
				to.Files = append(to.Files, file)
			}
		}
	}
	return nil
}

// atOneInstant returns the stream's tip, the length of its active segment at this tip, and the
// content of its mark.
func (st *stream) atOneInstant() (*tip, int64, *known, error) {
	st.write.Lock()
	defer st.write.Unlock()
	if err := st.ready(); err != nil {
		return nil, 0, nil, err
	}
	k := known{}
	if st.w.mark != nil {
		k = st.w.mark.known
	}
	return st.tip.Load(), st.w.off, &k, nil
}

// snapshot returns a copy of the present state.
func (t *state) snapshot() ([]byte, error) {
	_, release, err := t.use()
	if err != nil {
		return nil, err
	}
	defer release()
	t.writing.Lock()
	defer t.writing.Unlock()
	b, _, err := t.encodeCopy()
	return b, err
}

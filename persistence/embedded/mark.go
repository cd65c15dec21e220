package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"

	"tempestd/persistence"
	"tempestd/persistence/embedded/disk"
)

// EntryID is the ID of an entry in a stream.
type EntryID = persistence.EntryID

// mark is a stream's high-water mark: what is known of the stream's end outside its segments. It
// shows that the segments have lost their end.
//
// It is written after the commit, so it is never ahead of the committed data. It is not synced: it
// costs one system call and survives any crash of the process. After a power cut it may be behind.
// Then it only fails to show the loss of the newest entries. If it is ahead of the segments after a
// power cut, an acknowledged append was lost, and that is what the mark must show.
type mark struct {
	file disk.File
	known
}

// known is the content of a mark.
type known struct {
	last   EntryID // the newest entry committed
	synced EntryID // the newest entry known to be on disk; equal to last if every append is synced
	oldest EntryID // the oldest entry that was kept
	number uint64  // of the newest block
	// closed is when the stream was closed for good, in Unix microseconds; 0 while it is open.
	closed int64
	found  bool // there was a mark

	entries, bytes uint64 // ever appended
	// reported says that a repair found the stream shorter than this and reported it, so it is no
	// new damage.
	reported bool
}

const (
	markMagic = 0x334b524d // "MRK3"
	markLen   = 96
)

func (s *Store) markPath(stream string) string { return filepath.Join(s.dir, marksDir, stream) }

// openMark opens or makes a stream's mark. fault is the fault of a mark that cannot be parsed; such
// a mark is moved aside.
func (s *Store) openMark(stream string) (m *mark, fault error, err error) {
	path := s.markPath(stream)
	b, err := disk.ReadFile(s.files, path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		fault = fs.ErrNotExist
	case err != nil && !errors.Is(err, disk.ErrNotRegular):
		return nil, nil, fmt.Errorf("read the high-water mark: %w", err)
	}
	m = &mark{}
	if !errors.Is(fault, fs.ErrNotExist) {
		if fault = err; err == nil {
			m.known, fault = parseMark(b)
		}
		if fault != nil {
			aside, err := s.setAside(path)
			if err != nil {
				return nil, nil, err
			}
			s.emit(persistence.FileDamaged{Stream: stream, File: s.below(path), Aside: aside, Err: fault})
		}
	}
	if m.file, err = s.files.Open(path, disk.Create); err != nil {
		return nil, nil, fmt.Errorf("open the high-water mark: %w", err)
	}
	if fault != nil { // allocate its space now, so that writing it never meets a full disk
		err = m.write(m.known)
		if err == nil {
			err = m.file.Sync()
		}
		if err == nil {
			err = s.files.SyncDir(filepath.Dir(path))
		}
		if err != nil {
			return nil, nil, errors.Join(err, m.file.Close())
		}
	}
	return m, fault, nil
}

func parseMark(b []byte) (k known, err error) {
	if len(b) < markLen || binary.LittleEndian.Uint32(b) != markMagic || binary.LittleEndian.Uint32(b[4:]) != crc32.Checksum(b[8:markLen], castagnoli()) {
		return k, errors.New("it is no high-water mark")
	}
	if len(b) > markLen {
		err = fmt.Errorf("%d bytes follow the high-water mark", len(b)-markLen)
	}
	u := func(i int) uint64 { return binary.LittleEndian.Uint64(b[8+8*i:]) }
	return known{
		last: EntryID{MS: u(0), Seq: u(1)}, synced: EntryID{MS: u(2), Seq: u(3)}, oldest: EntryID{MS: u(4), Seq: u(5)},
		number: u(6), closed: int64(u(7)), entries: u(8), bytes: u(9), reported: u(10) != 0, found: true,
	}, err
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// encode returns the bytes of a mark's file.
func (k *known) encode() (b [markLen]byte) {
	var reported uint64
	if k.reported {
		reported = 1
	}
	binary.LittleEndian.PutUint32(b[:], markMagic)
	for i, v := range [...]uint64{
		k.last.MS, k.last.Seq, k.synced.MS, k.synced.Seq, k.oldest.MS, k.oldest.Seq, k.number, uint64(k.closed), k.entries, k.bytes, reported,
	} {
		binary.LittleEndian.PutUint64(b[8+8*i:], v)
	}
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b[8:], castagnoli()))
	return b
}

// write replaces the mark in one write of less than a sector.
func (m *mark) write(k known) error {
	m.known = k
	b := k.encode()
	if _, err := m.file.WriteAt(b[:], 0); err != nil {
		return fmt.Errorf("write the high-water mark: %w", err)
	}
	return nil
}

func (m *mark) close() error {
	if m.file == nil {
		return nil
	}
	return m.file.Close()
}

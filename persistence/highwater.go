package persistence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
)

// markDir holds the high-water marks, a file a stream.
const markDir = "highwater"

// highWater is a stream's newest entry, kept outside Badger to notice that Badger's log lost it: on damage in the middle, Badger
// truncates the log there and opens without a word.
//
// It is written after the commit, so it never leads what was committed, and it is not synced: it costs a system call, survives
// any crash of the process, and after a power cut it may lag, which only makes it blind to a loss as new as itself. If it leads after
// one, an acknowledged append was lost indeed, and that is what it is there to tell.
type highWater struct {
	file   *os.File
	last   EntryID // newest entry committed
	synced EntryID // newest entry known to be on disk; the same when every append is synced
}

const (
	markMagic = 0x4b52414d // "MARK"
	markLen   = 40
)

// openMark opens or makes a stream's mark. One that cannot be read is as good as none.
func openMark(dir, stream string) (*highWater, error) {
	f, err := os.OpenFile(filepath.Join(dir, markDir, stream), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the high-water mark: %w", err)
	}
	m := &highWater{file: f}
	var b [markLen]byte
	if n, _ := f.ReadAt(b[:], 0); n == markLen {
		m.last, m.synced = parseMark(b[:])
	}
	return m, nil
}

// parseMark gives zero IDs for what is no mark.
func parseMark(b []byte) (last, synced EntryID) {
	if len(b) != markLen || binary.LittleEndian.Uint32(b) != markMagic ||
		binary.LittleEndian.Uint32(b[4:]) != crc32.Checksum(b[8:], castagnoli()) {
		return EntryID{}, EntryID{}
	}
	u := func(i int) uint64 { return binary.LittleEndian.Uint64(b[8+8*i:]) }
	return EntryID{MS: u(0), Seq: u(1)}, EntryID{MS: u(2), Seq: u(3)}
}

// write replaces the mark in one write of less than a sector.
func (m *highWater) write(last, synced EntryID) error {
	m.last, m.synced = last, synced
	var b [markLen]byte
	binary.LittleEndian.PutUint32(b[:], markMagic)
	for i, v := range []uint64{last.MS, last.Seq, synced.MS, synced.Seq} {
		binary.LittleEndian.PutUint64(b[8+8*i:], v)
	}
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b[8:], castagnoli()))
	if _, err := m.file.WriteAt(b[:], 0); err != nil {
		return fmt.Errorf("write the high-water mark: %w", err)
	}
	return nil
}

func (m *highWater) close() error { return errors.Join(m.file.Sync(), m.file.Close()) }

// orphanMarks are the marks of streams that are not stored (any more).
func orphanMarks(dir string, stored func(name string) bool) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(dir, markDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		if name := entry.Name(); checkName(name) == nil && !stored(name) {
			names = append(names, name)
		}
	}
	return names, nil
}

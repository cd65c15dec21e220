package embedded

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"

	"tempestd/persistence"
	"tempestd/persistence/embedded/disk"
)

// The copy of the state is one file: a magic, the CRC32C of the rest, the revision, and then keys
// and values, each with its length before it.
const (
	copyFile  = "state.copy"
	copyMagic = "tmpstcpy"
	copyHead  = 20
)

// stateCopy is the state at a revision; empty if there is no copy.
type stateCopy struct {
	revision uint64
	values   map[string][]byte // with their heads
}

// readCopy reads the copy. A copy that cannot be parsed is moved aside, and reported.
func (t *state) readCopy() stateCopy {
	path := t.store.path(copyFile)
	b, err := disk.ReadFile(t.store.files, path)
	if errors.Is(err, fs.ErrNotExist) {
		return stateCopy{}
	}
	var c stateCopy
	if err == nil {
		c, err = parseCopy(b)
	}
	if err != nil {
		aside, _ := t.store.setAside(path)
		t.store.emit(persistence.FileDamaged{File: copyFile, Aside: aside, Err: err})
	}
	t.copied = c.revision
	return c
}

func parseCopy(b []byte) (stateCopy, error) {
	if len(b) < copyHead || string(b[:8]) != copyMagic || binary.LittleEndian.Uint32(b[8:]) != crc32.Checksum(b[12:], castagnoli()) {
		return stateCopy{}, errors.New("it is no copy of the state")
	}
	c := stateCopy{revision: binary.LittleEndian.Uint64(b[12:]), values: make(map[string][]byte)}
	for b = b[copyHead:]; len(b) > 0; {
		var pair [2][]byte
		for i := range pair {
			n, used := binary.Uvarint(b)
			if used <= 0 || n > uint64(len(b)-used) {
				return stateCopy{}, errors.New("the copy of the state ends early")
			}
			pair[i], b = b[used:used+int(n)], b[used+int(n):]
		}
		c.values[string(pair[0])] = pair[1]
	}
	return c, nil
}

// copyOut makes a copy of the state if it has changed since the last copy.
func (t *state) copyOut() error {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.db == nil {
		return nil
	}
	t.writing.Lock()
	defer t.writing.Unlock()
	if t.revision == t.copied {
		return nil
	}
	b, revision, err := t.encodeCopy()
	if err != nil {
		return err
	}
	if err := t.store.space.check(uint64(len(b))); err != nil {
		return err
	}
	path := t.store.path(copyFile)
	if err := disk.ReplaceFile(t.store.files, filepath.Dir(path), path, b); err != nil {
		return t.store.failure(fmt.Errorf("copy the state: %w", err))
	}
	t.copied = revision
	return nil
}

// encodeCopy returns the bytes of a copy and its revision. The caller holds mu shared, and writing.
func (t *state) encodeCopy() (b []byte, revision uint64, err error) {
	revision = t.revision
	b = append([]byte(copyMagic), 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, revision)
	err = eachIn(t.db, nil, func(key []byte, rev uint64, body []byte) error {
		if string(key) != revisionKey {
			value := encodeValue(rev, body)
			b = append(binary.AppendUvarint(b, uint64(len(key))), key...)
			b = append(binary.AppendUvarint(b, uint64(len(value))), value...)
		}
		return nil
	})
	if err != nil {
		return nil, 0, fmt.Errorf("copy the state: %w", err)
	}
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b[12:], castagnoli()))
	return b, revision, nil
}

// restore compares the database with the revisions known outside it, and takes missing values from
// the copy.
func (t *state) restore(c stateCopy, lost *lostState) error {
	stored := make(map[string]uint64) // revisions of the values in the database
	err := eachIn(t.db, nil, func(key []byte, revision uint64, _ []byte) error {
		stored[string(key)] = revision
		return nil
	})
	if err != nil && lost.err == nil {
		lost.err = err
	}
	t.revision = stored[revisionKey]
	newest := max(t.mark.revision, c.revision)
	if t.mark.missing && max(t.revision, newest) > 0 {
		t.store.emit(persistence.FileDamaged{File: stateMarkFile, Err: errors.New("it is missing")})
	}
	t.mark.missing = false
	if lost.err == nil && t.revision >= newest {
		t.mark.write(t.revision)
		return nil
	}
	if lost.err == nil && t.own {
		lost.err = fmt.Errorf("the database is at revision %d of %d", t.revision, newest)
	}
	var keys []string
	for key, value := range c.values {
		keys = append(keys, key)
		revision, body, err := decodeValue(value)
		if at, ok := stored[key]; err != nil || ok && at >= revision {
			continue
		}
		err = t.db.Update(func(txn *badger.Txn) error { return txn.Set([]byte(key), encodeValue(revision, body)) })
		if err != nil {
			return t.store.failure(fmt.Errorf("restore the state: %w", err))
		}
	}
	for key := range stored {
		if _, ok := c.values[key]; !ok {
			keys = append(keys, key)
		}
	}
	lost.consumers = consumerNames(keys)
	// Later changes must have later revisions than the lost ones.
	t.revision = newest
	t.mark.write(newest)
	return t.db.Update(func(txn *badger.Txn) error { return txn.Set([]byte(revisionKey), encodeValue(newest, nil)) })
}

// stateMark is the newest revision of the state, kept outside the database. It shows that the
// database has lost changes: if there is damage in the middle, Badger truncates its log there and
// opens without an error. Like the streams' marks it is synced only when it is made, before the
// database has anything.
type stateMark struct {
	file     disk.File
	revision uint64
	missing  bool // there was no mark
}

const (
	stateMarkFile  = "state.mark"
	stateMarkMagic = "tmpstmrk"
	stateMarkLen   = 20
)

// openMark opens or makes the mark. A mark that cannot be parsed is moved aside, and reported.
func (t *state) openMark() error {
	if t.mark != nil {
		return nil
	}
	path := t.store.path(stateMarkFile)
	b, err := disk.ReadFile(t.store.files, path)
	m := new(stateMark)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && len(b) == 0: // it was made, and a crash came before its first content
		m.missing = true
	case err != nil && !errors.Is(err, disk.ErrNotRegular):
		return t.store.failure(err)
	case err != nil || len(b) != stateMarkLen || !bytes.HasPrefix(b, []byte(stateMarkMagic)) || binary.LittleEndian.Uint32(b[16:]) != crc32.Checksum(b[:16], castagnoli()):
		aside, err := t.store.setAside(path)
		if err != nil {
			return err
		}
		t.store.emit(persistence.FileDamaged{File: stateMarkFile, Aside: aside, Err: errors.New("it is no mark")})
	default:
		m.revision = binary.LittleEndian.Uint64(b[8:])
	}
	if m.file, err = t.store.files.Open(path, disk.Create); err != nil {
		return t.store.failure(err)
	}
	if m.missing {
		m.write(0)
		// Without this a power cut leaves an empty file, and takes back nothing.
		_ = errors.Join(m.file.Sync(), t.store.files.SyncDir(filepath.Dir(path)))
	}
	t.mark = m
	return nil
}

// write replaces the mark. The change of the state is durable even if this fails.
func (m *stateMark) write(revision uint64) {
	m.revision = revision
	b := binary.LittleEndian.AppendUint64([]byte(stateMarkMagic), revision)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli()))
	_, _ = m.file.WriteAt(b, 0)
}

func (m *stateMark) close() error {
	if m == nil {
		return nil
	}
	return m.file.Close()
}

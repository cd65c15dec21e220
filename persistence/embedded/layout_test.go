package embedded_test

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tempestd/persistence"
	"tempestd/persistence/embedded"
)

// TestOtherFormatsAreRefused opens stores of an earlier and of a later tempestd. The error says
// what to do, nothing is changed, and nothing is left open.
func TestOtherFormatsAreRefused(t *testing.T) {
	t.Parallel()
	for name, write := range map[string]func(dir string) error{
		"earlier": func(dir string) error { return os.MkdirAll(filepath.Join(dir, "badger"), 0o755) },
		"later": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "FORMAT"), []byte("tempestd store 3\n"), 0o644)
		},
	} {
		dir := t.TempDir()
		must(t, write(dir))
		before, err := os.ReadDir(dir)
		must(t, err)
		for range 2 {
			_, err := embedded.Open(t.Context(), dir, embedded.Options{})
			if err == nil || errors.Is(err, persistence.ErrLocked) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "move it away") {
				t.Errorf("%s: %v", name, err)
			}
		}
		after, err := os.ReadDir(dir)
		must(t, err)
		if len(after) > len(before)+1 { // the lock
			t.Errorf("%s: the directory has %v", name, after)
		}
	}
}

// TestSegmentsOfALaterVersionAreRefused opens a store with one segment of another layout. It is
// refused and not changed.
func TestSegmentsOfALaterVersionAreRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store, s := openFeed(t, dir, embedded.Options{})
	_ = s
	must(t, store.Close())
	path := filepath.Join(dir, "streams", "feed", "000000000001.seg")
	b := make([]byte, 512)
	copy(b, "tmpstseg")
	b[8] = 9
	putChecksum(b)
	must(t, os.WriteFile(path, b, 0o644))
	if _, err := embedded.Open(t.Context(), dir, embedded.Options{}); err == nil || !strings.Contains(err.Error(), "version 9; this version reads 1") {
		t.Errorf("a segment of layout 9: %v", err)
	}
	if now, err := os.ReadFile(path); err != nil || string(now) != string(b) {
		t.Errorf("it was changed (%v)", err)
	}
}

// putChecksum writes the checksum of a segment's header.
func putChecksum(b []byte) {
	binary.LittleEndian.PutUint32(b[12:], crc32.Checksum(b[16:512], crc32.MakeTable(crc32.Castagnoli)))
}

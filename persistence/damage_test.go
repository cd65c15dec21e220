package persistence_test

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tempestd/messages"
	"tempestd/persistence"
)

// TestCorruptBlockIsNamedAndPassed flips a byte of a block that is on disk.
func TestCorruptBlockIsNamedAndPassed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store, s := openFeed(t, dir, persistence.EmbeddedOptions{})
	var all []persistence.Appended
	var batch messages.Batch
	for seq := range int64(3) {
		crashBatch(&batch, seq*200, 200)
		done, err := s.Append(t.Context(), &batch, messages.Checkpoint{})
		must(t, err)
		all = append(all, done)
	}
	must(t, store.Close())
	// Badger checks the file it wrote last, and only that (TestI4_DamagedTipIsFetchedAgain): let there be another.
	store, _ = openFeed(t, dir, persistence.EmbeddedOptions{})
	must(t, store.Close())
	// The second block is found by its fingerprints.
	damage(t, filepath.Join(dir, "badger"), binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, 300), 301))

	var told []persistence.BlockCorrupt
	store, s = openFeed(t, dir, persistence.EmbeddedOptions{OnEvent: func(e persistence.Event) {
		if c, ok := e.(persistence.BlockCorrupt); ok {
			told = append(told, c)
		}
	}})
	page, err := s.Read(t.Context(), persistence.Start(), persistence.End(), 1000)
	must(t, err)
	if len(page.Frames) != 200 {
		t.Errorf("%d frames before the corrupt block, want 200", len(page.Frames))
	}
	for range 2 {
		_, err = s.Tail(t.Context(), persistence.CursorAt(all[0].Last), time.Second, 1000)
		corrupt, ok := errors.AsType[*persistence.CorruptError](err)
		if !ok || corrupt.Stream != "feed" || corrupt.Block != all[1].Last {
			t.Fatalf("at the corrupt block: %v, want one that names %s", err, all[1].Last)
		}
		page, err = s.Tail(t.Context(), persistence.CursorAt(corrupt.Block), 0, 1000)
		must(t, err)
		if len(page.Frames) != 200 || page.Frames[0].ID != all[2].First {
			t.Errorf("%d frames after the corrupt block, want 200 from %s", len(page.Frames), all[2].First)
		}
	}
	if len(told) != 1 {
		t.Errorf("told of %d corrupt blocks, want one", len(told))
	}
	prints := 0
	must(t, s.Fingerprints(t.Context(), persistence.Horizon{}, func(b persistence.FingerprintBlock) bool {
		prints += len(b.Fingerprints)
		return true
	}))
	if prints != 400 {
		t.Errorf("%d fingerprints, want those of the 400 readable entries", prints)
	}
	if _, err := s.Entry(t.Context(), all[1].Last, 0); err == nil {
		t.Error("an entry of the corrupt block was given")
	}
	// Retention passes it, and counts right.
	done, err := s.Trim(t.Context(), persistence.Retention{Entries: 200})
	must(t, err)
	info, err := s.Info(t.Context())
	must(t, err)
	if done.Entries != 400 || info.Entries != 200 || *info.Oldest != all[2].First {
		t.Errorf("trimmed %+v, left %+v", done, info)
	}
	must(t, store.Close())
}

// TestI4_DamagedTipIsFetchedAgain flips a byte in the file that was written last: Badger drops what follows in it, without a word.
func TestI4_DamagedTipIsFetchedAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store, s := openFeed(t, dir, persistence.EmbeddedOptions{})
	var all []persistence.Appended
	var batch messages.Batch
	for seq := range int64(3) {
		crashBatch(&batch, seq*200, 200)
		done, err := s.Append(t.Context(), &batch, messages.Checkpoint{Position: messages.Position{Seq: seq*200 + 200}})
		must(t, err)
		all = append(all, done)
	}
	must(t, store.Close())
	damage(t, filepath.Join(dir, "badger"), binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, 300), 301))
	store, s = openFeed(t, dir, persistence.EmbeddedOptions{})
	want := []persistence.Truncation{{Stream: "feed", Expected: all[2].Last, Found: all[0].Last}}
	if lost := store.Truncations(); !slices.Equal(lost, want) {
		t.Errorf("truncations are %+v, want %+v", lost, want)
	}
	if n := checkCrashed(t, s); n != 200 {
		t.Errorf("%d entries are left, want 200", n)
	}
	crashBatch(&batch, 200, 400)
	done, err := s.Append(t.Context(), &batch, messages.Checkpoint{Position: messages.Position{Seq: 600}})
	must(t, err)
	if done.First != all[1].First || done.Last != all[2].Last {
		t.Errorf("fetched again, the entries are %s to %s; they were %s to %s", done.First, done.Last, all[1].First, all[2].Last)
	}
	checkCrashed(t, s)
	must(t, store.Close())
}

// damage flips a bit of the one place in dir's value logs where pattern stands.
func damage(t *testing.T, dir string, pattern []byte) {
	t.Helper()
	vlogs, err := filepath.Glob(filepath.Join(dir, "*.vlog"))
	must(t, err)
	for _, path := range vlogs {
		b, err := os.ReadFile(path)
		must(t, err)
		if i := strings.Index(string(b), string(pattern)); i >= 0 {
			b[i] ^= 1
			must(t, os.WriteFile(path, b, 0o644))
			return
		}
	}
	t.Fatalf("no value log in %s has the pattern", dir)
}

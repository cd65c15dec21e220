package backup_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/embedded"
	"tempestd/persistence/embedded/backup"
)

// feed is a store with one stream with numbered entries.
type feed struct {
	t      *testing.T
	data   string
	store  *embedded.Store
	stream persistence.Stream
	next   int64
	link   bool
}

func openFeed(t *testing.T, data string) *feed {
	t.Helper()
	store, err := embedded.Open(t.Context(), filepath.Join(data, "store"), embedded.Options{SegmentBytes: 8 << 10, MinFree: 1 << 20})
	must(t, err)
	t.Cleanup(func() { must(t, store.Close()) })
	s, err := store.OpenStream(t.Context(), "sky", persistence.StreamOptions{})
	must(t, err)
	f := &feed{t: t, data: data, store: store, stream: s}
	if info, err := s.Info(t.Context()); err == nil {
		f.next = info.Entries
	}
	return f
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const start = 1_795_000_000_000_000

func event(n int64) string {
	return fmt.Sprintf(`{"n":%d,"pad":%q}`, n, strings.Repeat("x", int(n*37%300)))
}

// append appends blocks of ten entries.
func (f *feed) append(blocks int) {
	f.t.Helper()
	for range blocks {
		batch := &messages.Batch{}
		for range 10 {
			e := event(f.next)
			batch.Events = append(batch.Events, messages.Event{
				Off: uint32(len(batch.Buf)), Len: uint32(len(e)), TimeUS: start + f.next*1000, Fingerprint: uint64(f.next),
			})
			batch.Buf = append(batch.Buf, e...)
			f.next++
		}
		_, err := f.stream.Append(f.t.Context(), batch, messages.Checkpoint{Position: messages.Position{Seq: f.next}})
		must(f.t, err)
	}
}

// entries reads the whole stream.
func (f *feed) entries() (all []string) {
	f.t.Helper()
	for after := persistence.FromBeginning(); ; {
		page, err := f.stream.Tail(f.t.Context(), after, 0, 1000)
		must(f.t, err)
		if len(page.Entries) == 0 {
			return all
		}
		for _, e := range page.Entries {
			all = append(all, e.ID.String()+" "+string(e.Event))
		}
		after = persistence.CursorAt(page.Cursor)
	}
}

// backUp makes a backup of the store while the store is open.
func (f *feed) backUp(dir string, change func(*backup.Source)) (backup.Report, error) {
	f.t.Helper()
	snapshot, release, err := f.store.Snapshot(f.t.Context())
	must(f.t, err)
	defer release()
	src, err := backup.FromSnapshot(snapshot)
	must(f.t, err)
	if change != nil {
		change(src)
	}
	return backup.Write(f.t.Context(), src, dir, backup.Options{Version: "test", Now: time.UnixMicro(start), Link: f.link})
}

func restore(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "deep", "data")
	_, err := backup.Restore(t.Context(), dir, to, func(backup.Restored) {})
	must(t, err)
	return to
}

func TestBackupOfAStoreInUse(t *testing.T) {
	t.Parallel()
	f := openFeed(t, filepath.Join(t.TempDir(), "data"))
	f.append(100)
	_, err := f.store.UpdateConsumer(t.Context(), "sky", "reader", func(time.Time, *persistence.ConsumerState) (*persistence.ConsumerState, error) {
		return &persistence.ConsumerState{Acked: messages.EntryID{MS: 7}}, nil
	})
	must(t, err)
	must(t, f.stream.SaveGaps(t.Context(), []messages.GapRow{{ID: "a", Version: 1, State: messages.GapOpen}}))
	must(t, f.store.SaveCheckpoint(t.Context(), "sky", messages.Checkpoint{Position: messages.Position{Seq: 42}}))
	must(t, os.MkdirAll(filepath.Join(f.data, "filters"), 0o750))
	must(t, os.WriteFile(filepath.Join(f.data, "filters", "sky.json"), []byte(`{}`), 0o640))
	must(t, os.WriteFile(filepath.Join(f.data, "node"), []byte("me"), 0o640))
	dir := filepath.Join(t.TempDir(), "backup")
	first, err := f.backUp(dir, nil)
	must(t, err)
	before := f.entries()
	f.append(3) // does not belong to the first backup
	f.link = true
	second, err := f.backUp(filepath.Join(t.TempDir(), "other"), nil)
	must(t, err)
	if first.Linked.Files != 0 || second.Linked.Files < 3 || second.Linked.Bytes+second.Copied.Bytes != second.Bytes {
		t.Errorf("%+v, %+v", first, second)
	}

	data := restore(t, dir)
	if _, err := os.Stat(filepath.Join(data, "filters", "sky.json")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(data, "node")); err == nil {
		t.Error("the daemon's name was restored: there would be two of it")
	}
	r := openFeed(t, data)
	after := r.entries()
	if len(after) != len(before) || after[0] != before[0] || after[len(after)-1] != before[len(before)-1] {
		t.Fatalf("%d entries were restored of %d", len(after), len(before))
	}
	if cp, err := r.stream.Checkpoint(t.Context()); err != nil || cp.Seq != int64(len(before)) {
		t.Errorf("the stream's checkpoint is %+v, %v", cp, err)
	}
	if cp, err := r.store.LoadCheckpoint(t.Context(), "sky"); err != nil || cp.Seq != 42 {
		t.Errorf("the cursor's checkpoint is %+v, %v", cp, err)
	}
	if c, err := r.store.Consumer(t.Context(), "sky", "reader"); err != nil || c.Acked.MS != 7 {
		t.Errorf("the consumer is %+v, %v", c, err)
	}
	if rows, err := r.stream.Gaps(t.Context()); err != nil || len(rows) != 1 || rows[0].ID != "a" || rows[0].State != messages.GapOpen {
		t.Errorf("the gaps are %+v, %v", rows, err)
	}
	r.append(3)
	if want, got := f.entries(), r.entries(); got[len(got)-1] != want[len(want)-1] {
		t.Errorf("it goes on with %s, not %s", got[len(got)-1], want[len(want)-1])
	}
}

// A backup that is interrupted anywhere leaves the backup before it whole.
func TestBackupThatIsCutShort(t *testing.T) {
	t.Parallel()
	f := openFeed(t, filepath.Join(t.TempDir(), "data"))
	f.append(60)
	dir := filepath.Join(t.TempDir(), "backup")
	if _, err := f.backUp(dir, func(src *backup.Source) { src.Files[len(src.Files)-1].From = "/nonexistent" }); err == nil {
		t.Fatal("a file that is not there was backed up")
	}
	if _, err := backup.ReadManifest(dir); !errors.Is(err, backup.ErrNoBackup) {
		t.Errorf("half a backup: %v", err)
	}
	_, err := f.backUp(dir, nil)
	must(t, err)
	before := len(f.entries())
	f.append(60)
	_, err = f.stream.Trim(t.Context(), persistence.Retention{Entries: 300})
	must(t, err)
	for n := range 5 {
		_, err := f.backUp(dir, func(src *backup.Source) { src.Files[len(src.Files)-1-n].From = "/nonexistent" })
		if err == nil {
			continue // this one is no file of the store
		}
		if got := len(openFeed(t, restore(t, dir)).entries()); got != before {
			t.Fatalf("after another that was cut short %d entries are restored of %d", got, before)
		}
	}
	done, err := f.backUp(dir, nil)
	must(t, err)
	if done.Removed == 0 {
		t.Errorf("what retention dropped is still there: %+v", done)
	}
	if got, want := len(openFeed(t, restore(t, dir)).entries()), len(f.entries()); got != want {
		t.Errorf("%d entries are restored of %d", got, want)
	}
}

// Every file of a backup is damaged in every way. Each time a restore fails and leaves nothing
// behind.
func TestRestoreIsAllOrNothing(t *testing.T) {
	t.Parallel()
	f := openFeed(t, filepath.Join(t.TempDir(), "data"))
	f.append(40)
	dir := filepath.Join(t.TempDir(), "backup")
	_, err := f.backUp(dir, nil)
	must(t, err)
	files, err := filepath.Glob(filepath.Join(dir, "files", "*"))
	must(t, err)
	for _, path := range append(files, filepath.Join(dir, "MANIFEST")) {
		before, err := os.ReadFile(path)
		must(t, err)
		for how, left := range map[string][]byte{
			"cut": before[:len(before)/2], "flipped": flipped(before), "appended": append(append([]byte{}, before...), "garbage"...), "deleted": nil,
		} {
			must(t, os.Remove(path)) // it may be a link
			if left != nil {
				must(t, os.WriteFile(path, left, 0o640))
			}
			parent := t.TempDir()
			if _, err := backup.Restore(t.Context(), dir, filepath.Join(parent, "data"), func(backup.Restored) {}); err == nil {
				t.Errorf("%s %s: it was restored", filepath.Base(path), how)
			}
			if left, _ := os.ReadDir(parent); len(left) > 0 {
				t.Errorf("%s %s: %v is left", filepath.Base(path), how, left)
			}
			must(t, os.RemoveAll(path))
			must(t, os.WriteFile(path, before, 0o640))
		}
	}
	full := t.TempDir()
	must(t, os.WriteFile(filepath.Join(full, "x"), nil, 0o640))
	if _, err := backup.Restore(t.Context(), dir, full, func(backup.Restored) {}); err == nil || !strings.Contains(err.Error(), `holds "x"`) {
		t.Errorf("over something else: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	empty := t.TempDir()
	if _, err := backup.Restore(ended, dir, empty, func(backup.Restored) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if left, _ := os.ReadDir(empty); len(left) > 0 {
		t.Errorf("cancelled: %v is left", left)
	}
	openFeed(t, restore(t, dir))
}

func flipped(b []byte) []byte {
	b = append([]byte{}, b...)
	b[len(b)/2] ^= 0xff
	return b
}

// While a snapshot is in use, retention removes none of its files. After its release they are
// removed.
func TestSnapshotKeepsItsFiles(t *testing.T) {
	t.Parallel()
	f := openFeed(t, filepath.Join(t.TempDir(), "data"))
	f.append(100)
	snapshot, release, err := f.store.Snapshot(t.Context())
	must(t, err)
	_, err = f.stream.Trim(t.Context(), persistence.Retention{Entries: 50})
	must(t, err)
	f.append(50)
	oldest := ""
	for _, file := range snapshot.Files {
		if file.Content != nil {
			continue
		}
		path := filepath.Join(snapshot.Dir, file.Path)
		if oldest == "" {
			oldest = path
		}
		if info, err := os.Stat(path); err != nil || info.Size() < file.Bytes {
			t.Errorf("%s: %v", file.Path, err)
		}
	}
	release()
	for {
		if _, err := os.Stat(oldest); errors.Is(err, os.ErrNotExist) {
			break
		}
		if t.Context().Err() != nil {
			t.Fatal("it stays for ever")
		}
		_, err = f.stream.Trim(t.Context(), persistence.Retention{Entries: 50})
		must(t, err)
	}
}

// A directory with other content is not changed. A snapshot of another store is refused, and so is
// an offline backup of a store in use.
func TestBackupRefusesForeignDirectories(t *testing.T) {
	t.Parallel()
	f := openFeed(t, filepath.Join(t.TempDir(), "data"))
	f.append(1)
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "notes"), nil, 0o640))
	if _, err := f.backUp(dir, nil); err == nil || !strings.Contains(err.Error(), `holds "notes"`) {
		t.Errorf("it gave %v", err)
	}
	snapshot, release, err := f.store.Snapshot(t.Context())
	must(t, err)
	defer release()
	snapshot.ID++
	if _, err := backup.FromSnapshot(snapshot); err == nil || !strings.Contains(err.Error(), "is not the store of the daemon") {
		t.Errorf("a store of another machine gave %v", err)
	}
	if _, err := backup.Offline(t.Context(), f.data, t.TempDir(), backup.Options{}, nil); !errors.Is(err, persistence.ErrLocked) {
		t.Errorf("offline beside the store in use: %v", err)
	}
}

package embedded_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/embedded"
)

// damages are the ways to damage a file. Each returns the remaining bytes.
var damages = map[string]func(b []byte) []byte{
	"deleted": func([]byte) []byte { return nil },
	"cut":     func(b []byte) []byte { return b[:len(b)/2] },
	"flipped at the beginning": func(b []byte) []byte {
		return flip(b, min(20, len(b)))
	},
	"flipped in the middle": func(b []byte) []byte { return flip(b, used(b)/2) },
	"flipped at the end":    func(b []byte) []byte { return flip(b, used(b)-12) },
	"a page zeroed": func(b []byte) []byte {
		at := used(b) / 2 &^ 4095
		clear(b[at:min(at+4096, len(b))])
		return b
	},
	"garbage appended": func(b []byte) []byte { return append(b, bytes.Repeat([]byte("garbage!"), 100)...) },
}

func used(b []byte) int { return len(bytes.TrimRight(b, "\x00")) }

func flip(b []byte, at int) []byte {
	for i := max(at, 0); i < min(at+8, len(b)); i++ {
		b[i] ^= 0xff
	}
	return b
}

// whole is the content of the store that damagedStore makes.
type whole struct {
	first, end int64 // the entries
	acked      uint64
}

// damagedStore makes a store with streams, checkpoints and consumers in dir. It returns a copy of
// its files as a kill leaves them.
func damagedStore(t *testing.T, dir string) (killed string, w whole) {
	t.Helper()
	opt := embedded.Options{SegmentBytes: 8 << 10, MinFree: 1 << 20}
	store, s := openFeed(t, dir, opt)
	batch := new(messages.Batch)
	seq := int64(0)
	for i := range 80 {
		n := 1 + i*5%17
		crashBatch(batch, seq, n)
		seq += int64(n)
		_, err := s.Append(t.Context(), batch, messages.Checkpoint{Position: messages.Position{Seq: seq}})
		must(t, err)
		if i == 30 {
			_, err := s.Trim(t.Context(), persistence.Retention{Entries: 100})
			must(t, err)
		}
		if i%20 == 0 {
			must(t, store.SaveCheckpoint(t.Context(), "feed", messages.Checkpoint{Position: messages.Position{Seq: seq}}))
			_, err := store.UpdateConsumer(t.Context(), "feed", "reader", func(time.Time, *persistence.ConsumerState) (*persistence.ConsumerState, error) {
				w.acked = uint64(seq)
				return &persistence.ConsumerState{Acked: persistence.EntryID{MS: w.acked}}, nil
			})
			must(t, err)
			embedded.Maintain(t.Context(), store)
		}
	}
	killed = filepath.Join(t.TempDir(), "killed")
	must(t, os.CopyFS(killed, os.DirFS(dir)))
	info, err := s.Info(t.Context())
	must(t, err)
	must(t, store.Close())
	w.first, w.end = seq-info.Entries, seq
	return killed, w
}

// TestI4_DamageIsNeverSilent damages every file of a store in every way, after a clean stop and
// after a kill. Missing entries are reported, the remaining entries are as they were appended, and
// bytes that were not understood still exist somewhere.
func TestI4_DamageIsNeverSilent(t *testing.T) {
	t.Parallel()
	clean := filepath.Join(t.TempDir(), "clean")
	killed, w := damagedStore(t, clean)
	cases, outcomes := 0, make(map[string]int)
	for end, dir := range map[string]string{"clean stop": clean, "kill": killed} {
		var files []string
		must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && d.Name() != "LOCK" && d.Name() != "state.reserve" && d.Name() != "DISCARD" {
				rel, _ := filepath.Rel(dir, path)
				files = append(files, rel)
			}
			return err
		}))
		for _, file := range files {
			for _, how := range slices.Sorted(maps.Keys(damages)) {
				cases++
				checkDamage(t, fmt.Sprintf("%s: %s %s", end, file, how), dir, file, damages[how], w, outcomes)
			}
		}
	}
	t.Logf("%d cases: %v", cases, outcomes)
}

func checkDamage(t *testing.T, what, from, file string, damage func([]byte) []byte, w whole, outcomes map[string]int) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	must(t, os.CopyFS(dir, os.DirFS(from)))
	path := filepath.Join(dir, file)
	before, err := os.ReadFile(path)
	must(t, err)
	left := damage(bytes.Clone(before))
	if bytes.Equal(left, before) {
		return // an empty file, or zeros that were zeros before
	}
	if left == nil {
		must(t, os.Remove(path))
	} else {
		must(t, os.WriteFile(path, left, 0o644))
	}
	var events told
	opt := embedded.Options{SegmentBytes: 8 << 10, MinFree: 1 << 20, OnNotice: events.add}
	store, err := embedded.Open(t.Context(), dir, opt)
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	defer func() { must(t, store.Close()) }()
	s, err := store.OpenStream(t.Context(), "feed", persistence.StreamOptions{})
	must(t, err)
	defer func() {
		if t.Failed() {
			t.Logf("%s: told %q", what, events.lines())
		}
	}()
	stored, holes := readPastDamage(t, what, s)
	info, err := s.Info(t.Context())
	must(t, err)
	missing, atEnd := 0, 0
	newest := int64(-1)
	for n := range stored {
		newest = max(newest, n)
	}
	for n := w.first; n < w.end; n++ {
		id := idOf(n)
		if stored[n] {
			continue
		}
		if n > newest {
			atEnd++
			continue
		}
		missing++
		if !slices.ContainsFunc(holes, func(c *persistence.CorruptError) bool { return c.First.Compare(id) <= 0 && c.Block.Compare(id) >= 0 }) {
			t.Errorf("%s: entry %d is missing, and no reader is told", what, n)
			return
		}
	}
	if atEnd > 0 && (info.Lost == nil || info.Lost.Expected != idOf(w.end-1)) && !slices.ContainsFunc(holes, func(c *persistence.CorruptError) bool { return c.Block == idOf(w.end-1) }) {
		t.Errorf("%s: %d entries are missing at the end, and lost is %+v", what, atEnd, info.Lost)
	}
	cp, err := s.Checkpoint(t.Context())
	if err == nil && info.Newest != nil && (cp.LastID != *info.Newest || idOf(cp.Seq-1) != *info.Newest) {
		t.Errorf("%s: the checkpoint is %+v, the newest entry %s", what, cp, info.Newest)
	}
	// Some losses do not matter. Space that was allocated ahead has no data. The copy of the state
	// is made again. After the end of Badger's logs, and in the head of an empty log, there is no
	// data either.
	nothing := missing == 0 && atEnd == 0 && (len(left) < len(before) || file == "state.copy" || strings.HasSuffix(file, ".vlog") || strings.HasSuffix(file, ".mem"))
	if len(events.all()) == 0 && !nothing {
		t.Errorf("%s: nobody was told (missing %d and %d)", what, missing, atEnd)
	}
	c, err := store.Consumer(t.Context(), "feed", "reader")
	if err != nil || c.Acked.MS != w.acked && !slices.ContainsFunc(events.lines(), func(e string) bool { return strings.Contains(e, "feed/reader") }) {
		t.Errorf("%s: the consumer is %+v, %v", what, c, err)
	}
	switch {
	case missing > 0:
		outcomes["gap"]++
	case atEnd > 0:
		outcomes["fetched again"]++
	default:
		outcomes["nothing lost"]++
	}
	if strings.HasPrefix(file, "streams") {
		checkNothingOverwritten(t, what, dir, path, before, left)
	}
	// The stream continues from the checkpoint, under the same IDs.
	batch := new(messages.Batch)
	seq := cp.Seq
	if info.Newest == nil && info.Trimmed == nil {
		seq = w.first
	}
	crashBatch(batch, seq, 20)
	done, err := s.Append(t.Context(), batch, messages.Checkpoint{Position: messages.Position{Seq: seq + 20}})
	must(t, err)
	if done.Last != idOf(seq+19) {
		t.Errorf("%s: going on after entry %d gave %s, want %s", what, seq, done.Last, idOf(seq+19))
	}
}

// idOf returns the ID of entry n that crashBatch made.
func idOf(n int64) (id persistence.EntryID) {
	for i := max(n-10, 0) &^ 1; i <= n; i++ {
		id = messages.DeriveID(start+i/2*300, id)
	}
	return id
}

// readPastDamage reads all readable entries, and returns them and the errors that readers get for
// the rest.
func readPastDamage(t *testing.T, what string, s persistence.Stream) (map[int64]bool, []*persistence.CorruptError) {
	t.Helper()
	stored := make(map[int64]bool)
	var holes []*persistence.CorruptError
	for after := persistence.FromBeginning(); ; {
		page, err := s.Tail(t.Context(), after, 0, 50)
		if corrupt, ok := errors.AsType[*persistence.CorruptError](err); ok {
			holes = append(holes, corrupt)
			if id, _ := after.Exclusive(); corrupt.Block.Compare(id) <= 0 {
				t.Fatalf("%s: after %s, %v", what, id, err)
			}
			after = persistence.CursorAt(corrupt.Block)
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if len(page.Entries) == 0 {
			return stored, holes
		}
		for _, f := range page.Entries {
			var n int64
			if _, err := fmt.Sscanf(string(f.Event), `{"seq":%d,`, &n); err != nil || !bytes.Equal(f.Event, crashEvent(n)) || f.ID != idOf(n) {
				t.Fatalf("%s: an entry is %s %.60s", what, f.ID, f.Event)
			}
			stored[n] = true
		}
		after = persistence.CursorAt(page.Cursor)
	}
}

// checkNothingOverwritten checks that the damaged bytes are still in place or in the directory for
// damaged data.
func checkNothingOverwritten(t *testing.T, what, dir, path string, before, left []byte) {
	t.Helper()
	at := 0
	for at < min(len(before), len(left)) && before[at] == left[at] {
		at++
	}
	piece := left[at:min(at+8, len(left))]
	if len(piece) == 0 || len(bytes.Trim(piece, "\x00")) == 0 {
		return // cut, deleted or zeroed: there is nothing to keep
	}
	if now, err := os.ReadFile(path); err == nil && len(now) >= at+len(piece) && bytes.Equal(now[at:at+len(piece)], piece) {
		return
	}
	asides, err := filepath.Glob(filepath.Join(dir, "aside", "*"))
	must(t, err)
	for _, aside := range asides {
		if b, err := os.ReadFile(aside); err == nil && bytes.Contains(b, piece) {
			return
		}
	}
	t.Errorf("%s: the damaged bytes are gone; aside is %v", what, asides)
}

package embedded_test

import (
	"bytes"
	"encoding/json"
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

// verifyDir returns the findings of a verification of a closed store.
func verifyDir(t *testing.T, dir string) (persistence.Verified, []persistence.Finding) {
	t.Helper()
	var found []persistence.Finding
	done, err := embedded.VerifyDir(t.Context(), dir, persistence.VerifyOptions{Found: func(f persistence.Finding) { found = append(found, f) }})
	must(t, err)
	return done, found
}

// filesOf returns the files of a store that contain data.
func filesOf(t *testing.T, dir string) (files []string) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() != "LOCK" && d.Name() != "state.reserve" && d.Name() != "DISCARD" {
			rel, _ := filepath.Rel(dir, path)
			files = append(files, rel)
		}
		return err
	}))
	return files
}

func TestVerifyFindsNothingWhereNothingIsWrong(t *testing.T) {
	t.Parallel()
	clean := filepath.Join(t.TempDir(), "clean")
	killed, w := damagedStore(t, clean)
	for what, dir := range map[string]string{"clean stop": clean, "kill": killed} {
		before := contents(t, dir)
		done, found := verifyDir(t, dir)
		if len(found) > 0 || done.Entries < uint64(w.end-w.first) || done.Streams != 1 || done.Blocks == 0 || done.Bytes == 0 {
			t.Errorf("%s: %+v, found %+v", what, done, found)
		}
		if after := contents(t, dir); !maps.Equal(before, after) {
			t.Errorf("%s: a verification changed something", what)
		}
	}
}

// contents returns the contents of all files of a store.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, file := range filesOf(t, dir) {
		b, err := os.ReadFile(filepath.Join(dir, file))
		must(t, err)
		all[file] = string(b)
	}
	return all
}

// damagedCopy makes a copy of a store with one file damaged. It returns "" if nothing would change.
func damagedCopy(t *testing.T, from, file string, damage func([]byte) []byte) (dir string, before, left []byte) {
	t.Helper()
	before, err := os.ReadFile(filepath.Join(from, file))
	must(t, err)
	left = damage(bytes.Clone(before))
	if bytes.Equal(left, before) {
		return "", nil, nil
	}
	dir = filepath.Join(t.TempDir(), "store")
	must(t, os.CopyFS(dir, os.DirFS(from)))
	if left == nil {
		must(t, os.Remove(filepath.Join(dir, file)))
	} else {
		must(t, os.WriteFile(filepath.Join(dir, file), left, 0o644))
	}
	return dir, before, left
}

// TestI4_VerifyFindsDamageAndRepairMendsIt damages every file in every way. Verify finds all damage
// that opening the store reports or that readers meet. After a repair nothing more is found, and
// the losses are gap entries in the stream.
func TestI4_VerifyFindsDamageAndRepairMendsIt(t *testing.T) {
	t.Parallel()
	clean := filepath.Join(t.TempDir(), "clean")
	killed, w := damagedStore(t, clean)
	packed := filepath.Join(t.TempDir(), "packed")
	must(t, os.CopyFS(packed, os.DirFS(clean)))
	store, _ := openFeed(t, packed, embedded.Options{MinFree: 1 << 20})
	must(t, embedded.Pack(t.Context(), store))
	must(t, store.Close())
	cases, drawn, outcomes := 0, 0, make(map[string]int)
	for end, from := range map[string]string{"clean stop": clean, "kill": killed, "packed": packed} {
		for _, file := range filesOf(t, from) {
			if end == "packed" && !strings.HasPrefix(file, "streams") {
				continue // the same as in the other stores
			}
			for _, how := range slices.Sorted(maps.Keys(damages)) {
				what := fmt.Sprintf("%s: %s %s", end, file, how)
				if drawn++; raceEnabled && drawn%30 != 0 {
					continue
				}
				dir, before, left := damagedCopy(t, from, file, damages[how])
				if dir == "" {
					continue
				}
				cases++
				checkVerify(t, what, dir, file, before, left, w, outcomes)
			}
		}
	}
	t.Logf("%d cases: %v", cases, outcomes)
}

func checkVerify(t *testing.T, what, dir, file string, before, left []byte, w whole, outcomes map[string]int) {
	t.Helper()
	copied := filepath.Join(t.TempDir(), "opened")
	must(t, os.CopyFS(copied, os.DirFS(dir)))
	_, found := verifyDir(t, dir)
	told, missing := openAndRead(t, what, copied, w)
	if (len(told) > 0 || missing > 0) && len(found) == 0 {
		t.Errorf("%s: verify finds nothing, and the store tells %q, and lacks %d entries", what, told, missing)
		return
	}
	if len(found) > 0 && len(told) == 0 && missing == 0 {
		outcomes["found by verify alone"]++
	}
	if len(found) == 0 {
		outcomes["does not matter"]++
		return
	}
	outcomes["found"]++
	checkRepair(t, what, dir, file, before, left, w, missing, outcomes)
}

// checkRepair repairs a damaged store. Then it has no faults, the entries that could be read before
// can be read after it, damaged bytes are kept, and the entries that are lost for good have a gap
// entry.
func checkRepair(t *testing.T, what, dir, file string, before, left []byte, w whole, missing int, outcomes map[string]int) {
	t.Helper()
	done, err := embedded.RepairDir(t.Context(), dir, embedded.RepairOptions{})
	if err != nil || len(done.Remaining) > 0 || len(done.Findings) == 0 {
		t.Errorf("%s: the repair gave %v, %+v", what, err, done)
		return
	}
	if strings.HasPrefix(file, "streams") {
		checkNothingOverwritten(t, what, dir, filepath.Join(dir, file), before, left)
	}
	again, err := embedded.RepairDir(t.Context(), dir, embedded.RepairOptions{})
	if err != nil || len(again.Findings) > 0 || len(again.Done) > 0 {
		t.Errorf("%s: repairing again gave %v, %+v", what, err, again)
	}
	var events told
	store, err := embedded.Open(t.Context(), dir, embedded.Options{SegmentBytes: 8 << 10, MinFree: 1 << 20, OnNotice: events.add})
	must(t, err)
	defer func() { must(t, store.Close()) }()
	s, err := store.OpenStream(t.Context(), "feed", persistence.StreamOptions{})
	must(t, err)
	info, err := s.Info(t.Context())
	must(t, err)
	stored, gaps, holes := readWithGaps(t, what, s)
	lost := 0
	for n := w.first; n < w.end; n++ {
		if !stored[n] {
			lost++
		}
	}
	if lost != missing {
		t.Errorf("%s: %d entries are missing after the repair, %d before it: %+v", what, lost, missing, done)
	}
	if damaged := slices.DeleteFunc(events.lines(), func(line string) bool { return !strings.Contains(line, "FileDamaged") }); len(damaged) > 0 {
		t.Errorf("%s: after the repair the store tells %q", what, damaged)
	}
	for _, l := range done.Lost {
		switch {
		case l.AtEnd || l.Gap == nil:
			outcomes["lost at the end"]++
			if info.Lost == nil && len(gaps) == 0 {
				t.Errorf("%s: %+v is lost and nobody is told", what, l)
			}
		default:
			outcomes["gap"]++
			if !slices.ContainsFunc(gaps, func(g messages.Gap) bool { return g.FromUS <= l.First.TimeUS() && l.Last.TimeUS() <= g.ToUS }) || len(holes) == 0 {
				t.Errorf("%s: %+v is lost, the gaps are %+v, readers are told %v", what, l, gaps, holes)
			}
		}
	}
	if lost > 0 && len(done.Lost) == 0 {
		t.Errorf("%s: %d entries are lost, and the repair tells of none", what, lost)
	}
}

// readWithGaps is readPastDamage for a stream that has gap entries.
func readWithGaps(t *testing.T, what string, s persistence.Stream) (stored map[int64]bool, gaps []messages.Gap, holes []*persistence.CorruptError) {
	t.Helper()
	stored = make(map[int64]bool)
	for after := persistence.FromBeginning(); ; {
		page, err := s.Tail(t.Context(), after, 0, 50)
		if corrupt, ok := errors.AsType[*persistence.CorruptError](err); ok {
			holes = append(holes, corrupt)
			after = persistence.CursorAt(corrupt.Block)
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if len(page.Entries) == 0 {
			return stored, gaps, holes
		}
		for _, f := range page.Entries {
			var e struct {
				Kind string
				Seq  int64
				Gap  messages.Gap
			}
			must(t, json.Unmarshal(f.Event, &e))
			if e.Kind == "gap" {
				gaps = append(gaps, e.Gap)
			} else if stored[e.Seq] = true; !bytes.Equal(f.Event, crashEvent(e.Seq)) || f.ID != idOf(e.Seq) {
				t.Fatalf("%s: an entry is %s %.60s", what, f.ID, f.Event)
			}
		}
		after = persistence.CursorAt(page.Cursor)
	}
}

// openAndRead opens a store and reads all of it. It returns the reported events and the number of
// missing entries.
func openAndRead(t *testing.T, what, dir string, w whole) (lines []string, missing int) {
	t.Helper()
	var events told
	store, err := embedded.Open(t.Context(), dir, embedded.Options{SegmentBytes: 8 << 10, MinFree: 1 << 20, Maintenance: time.Hour, OnNotice: events.add})
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return nil, 0
	}
	defer func() { must(t, store.Close()) }()
	s, err := store.OpenStream(t.Context(), "feed", persistence.StreamOptions{})
	must(t, err)
	stored, _ := readPastDamage(t, what, s)
	for n := w.first; n < w.end; n++ {
		if !stored[n] {
			missing++
		}
	}
	return events.lines(), missing
}

// If a stream has lost all its data, it continues to count its entries where it was. Readers
// continue by entry numbers, and these may only increase.
func TestCountingGoesOnWhereAllOfAStreamIsLost(t *testing.T) {
	t.Parallel()
	for _, lost := range []string{"its segments", "its directory", "its segments and its mark", "its first block"} {
		t.Run(lost, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			store, s := openFeed(t, dir, embedded.Options{MinFree: 1 << 20})
			batch := new(messages.Batch)
			crashBatch(batch, 0, 100)
			_, err := s.Append(t.Context(), batch, messages.Checkpoint{})
			must(t, err)
			must(t, store.Close())
			stream := filepath.Join(dir, "streams", "feed")
			switch lost {
			case "its directory":
				must(t, os.RemoveAll(stream))
			case "its first block":
				path := filepath.Join(stream, "000000000001.seg")
				b, err := os.ReadFile(path)
				must(t, err)
				must(t, os.WriteFile(path, flip(b, 600), 0o644))
			default:
				segments, err := filepath.Glob(filepath.Join(stream, "*.seg"))
				must(t, err)
				for _, path := range segments {
					must(t, os.Remove(path))
				}
				if strings.Contains(lost, "mark") {
					must(t, os.Remove(filepath.Join(dir, "marks", "feed")))
				}
			}
			for round := range 3 { // no append before the second round
				store, s = openFeed(t, dir, embedded.Options{MinFree: 1 << 20})
				info, err := s.Info(t.Context())
				must(t, err)
				page, err := s.Tail(t.Context(), persistence.FromBeginning(), 0, 10)
				must(t, err)
				switch {
				case round < 2 && (info.Entries != 0 || page.Appended != 100 || info.Lost == nil || info.Lost.Expected != idOf(99)):
					t.Errorf("round %d: %+v, %d were ever appended, lost %+v", round, info, page.Appended, info.Lost)
				case round == 2 && (info.Entries != 30 || page.Appended != 130 || info.Lost != nil || page.Entries[0].ID != idOf(0)):
					t.Errorf("after the next append: %+v, %d were ever appended", info, page.Appended)
				}
				if round == 1 {
					crashBatch(batch, 0, 30)
					_, err = s.Append(t.Context(), batch, messages.Checkpoint{})
					must(t, err)
				}
				must(t, store.Close())
			}
			if done, found := verifyDir(t, dir); len(found) > 0 || done.Entries != 30 {
				t.Errorf("%+v, found %+v", done, found)
			}
		})
	}
}

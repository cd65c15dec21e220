package embedded_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/embedded"
	"tempestd/persistence/embedded/disk/memdisk"
)

// acked is the state that was acknowledged after a step of a run.
type acked struct {
	ops     int   // operations on the file system before the acknowledgement
	entries int64 // appended in total
	trimmed int64 // number of entries dropped
	closed  bool
}

// powerRun appends, trims and closes on a file system in memory. It records after which operation
// each step was acknowledged.
func powerRun(t *testing.T, opt embedded.Options) (*memdisk.FS, []acked) {
	t.Helper()
	files := new(memdisk.FS)
	opt.Files = files
	store, s := openFeed(t, "/store", opt)
	var done []acked
	var now acked
	note := func() {
		now.ops = files.Ops()
		done = append(done, now)
	}
	batch := new(messages.Batch)
	for i := range 60 {
		n := 1 + i*5%17
		crashBatch(batch, now.entries, n)
		_, err := s.Append(t.Context(), batch, messages.Checkpoint{Position: messages.Position{Seq: now.entries + int64(n)}})
		must(t, err)
		now.entries += int64(n)
		note()
		switch {
		case i%20 == 15:
			_, err := s.Trim(t.Context(), persistence.Retention{Entries: 100})
			must(t, err)
			info, err := s.Info(t.Context())
			must(t, err)
			now.trimmed = now.entries - info.Entries
			note()
		case i%7 == 3:
			embedded.SyncLog(t.Context(), store)
			embedded.Maintain(t.Context(), store)
			must(t, embedded.Pack(t.Context(), store))
		}
	}
	must(t, s.Close(t.Context(), "over"))
	now.closed = true
	note()
	must(t, store.Close())
	return files, done
}

// acknowledged is what was acknowledged before so many operations.
func acknowledged(done []acked, ops int) (least acked) {
	for _, a := range done {
		if a.ops <= ops {
			least = a
		}
	}
	return least
}

// TestI1_I2_I3_PowerCut cuts the power between any two operations on the file system. Data that was
// not synced is lost, kept or torn. Everything acknowledged is there, unless a sync interval allows
// its loss.
func TestI1_I2_I3_PowerCut(t *testing.T) {
	t.Parallel()
	for _, interval := range []time.Duration{0, time.Hour} {
		t.Run(fmt.Sprintf("interval=%s", interval), func(t *testing.T) {
			t.Parallel()
			opt := embedded.Options{SyncInterval: interval, SegmentBytes: 4 << 10}
			files, done := powerRun(t, opt)
			images := 0
			files.PowerCuts(0, func(ops int, cut func(memdisk.Fate, *rand.Rand) *memdisk.FS) {
				if raceEnabled && ops%21 != 0 {
					return // make week runs them all
				}
				least := acknowledged(done, ops)
				for _, fate := range memdisk.Fates {
					images++
					after := cut(fate, rand.New(rand.NewPCG(uint64(ops), 1)))
					checkAfterPowerCut(t, fmt.Sprintf("after %d operations, the rest %s", ops, fate), after, opt, least, interval > 0)
					if t.Failed() {
						t.FailNow()
					}
				}
			})
			t.Logf("%d images", images)
		})
	}
}

// checkAfterPowerCut opens the store after a power cut, compares it with what was appended, appends
// more, and opens it again.
func checkAfterPowerCut(t *testing.T, what string, files *memdisk.FS, opt embedded.Options, least acked, mayLose bool) {
	t.Helper()
	opt.Files = files
	var lost told
	opt.OnNotice = func(e persistence.Notice) {
		switch e := e.(type) {
		case persistence.BlockCorrupt, persistence.MaintenanceFailed, persistence.WriteFailed:
			t.Errorf("%s: told %T %+v", what, e, e)
		case persistence.LogTruncated:
			lost.add(e)
		case persistence.FileDamaged:
			if e.File == "state.mark" { // it is not damage that its first content was not synced
				t.Errorf("%s: told %+v", what, e)
			}
		}
	}
	store, s := openFeed(t, "/store", opt)
	if len(lost.all()) > 0 && !mayLose {
		t.Errorf("%s: told that %s is lost", what, lost.lines())
	}
	n := checkStored(t, what, s)
	if !mayLose && n < least.entries {
		t.Errorf("%s: %d entries were acknowledged, %d are stored", what, least.entries, n)
	}
	info, err := s.Info(t.Context())
	must(t, err)
	if least.closed && !mayLose && info.ClosedAt == nil {
		t.Errorf("%s: the stream was closed and is open", what)
	}
	if info.ClosedAt == nil { // appends continue after the last entry
		batch := new(messages.Batch)
		crashBatch(batch, n, 30)
		_, err := s.Append(t.Context(), batch, messages.Checkpoint{Position: messages.Position{Seq: n + 30}})
		must(t, err)
		n += 30
	}
	must(t, store.Close())
	opt.OnNotice = func(e persistence.Notice) { t.Errorf("%s: opened again: told %T %+v", what, e, e) }
	store, s = openFeed(t, "/store", opt)
	if again := checkStored(t, what+", opened again", s); again != n {
		t.Errorf("%s: opened again, there are %d entries of %d", what, again, n)
	}
	must(t, store.Close())
}

// checkStored compares everything that is stored with what crashBatch makes, and returns how many
// entries were ever appended.
func checkStored(t *testing.T, what string, s persistence.Stream) int64 {
	t.Helper()
	ctx := t.Context()
	info, err := s.Info(ctx)
	must(t, err)
	cp, err := s.Checkpoint(ctx)
	if errors.Is(err, persistence.ErrNoCheckpoint) {
		cp, err = messages.Checkpoint{}, nil
	}
	must(t, err)
	end := cp.Seq // number of entries, by the checkpoint
	seq := end - info.Entries
	var last persistence.EntryID
	for i := range seq {
		last = messages.DeriveID(start+i/2*300, last)
	}
	all := make([]uint64, 0, info.Entries)
	for after := persistence.FromBeginning(); ; {
		page, err := s.Tail(ctx, after, 0, 1000)
		must(t, err)
		if len(page.Entries) == 0 {
			break
		}
		for _, f := range page.Entries {
			if want := messages.DeriveID(start+seq/2*300, last); f.ID != want || string(f.Event) != string(crashEvent(seq)) {
				t.Fatalf("%s: entry %d is %s %.40s, want %s", what, seq, f.ID, f.Event, want)
			}
			last = f.ID
			all = append(all, uint64(seq))
			seq++
		}
		after = persistence.CursorAt(page.Cursor)
	}
	if seq != end || int64(len(all)) != info.Entries {
		t.Fatalf("%s: the checkpoint covers %d entries, %d are stored; info tells of %d, there are %d", what, end, seq, info.Entries, len(all))
	}
	if end > 0 && info.Entries > 0 && cp.LastID != last {
		t.Fatalf("%s: the checkpoint ends with %s, the entries with %s", what, cp.LastID, last)
	}
	must(t, s.Fingerprints(ctx, persistence.Horizon{}, func(b persistence.FingerprintBlock) bool {
		for _, fingerprint := range slices.Backward(b.Fingerprints) {
			if len(all) == 0 || fingerprint != all[len(all)-1] {
				t.Fatalf("%s: fingerprint %d is out of place", what, fingerprint)
			}
			all = all[:len(all)-1]
		}
		return true
	}))
	if len(all) > 0 {
		t.Fatalf("%s: %d entries have no fingerprint", what, len(all))
	}
	return end
}

// TestI1_PowerCutLeavesNoPartOfAnAppend cuts the power while an append of several blocks is
// written. All of it is stored, or nothing.
func TestI1_PowerCutLeavesNoPartOfAnAppend(t *testing.T) {
	t.Parallel()
	opt := embedded.Options{}
	files := new(memdisk.FS)
	opt.Files = files
	store, s := openFeed(t, "/store", opt)
	var done []acked
	total := int64(0)
	for _, n := range []int{10, 45_000, 10} {
		batch := new(messages.Batch)
		crashBatch(batch, total, n)
		total += int64(n)
		appended, err := s.Append(t.Context(), batch, messages.Checkpoint{Position: messages.Position{Seq: total}})
		must(t, err)
		if n > 10 && len(appended.Blocks) < 2 {
			t.Fatalf("%d events are %d blocks", n, len(appended.Blocks))
		}
		done = append(done, acked{ops: files.Ops(), entries: total})
	}
	must(t, store.Close())
	files.PowerCuts(done[0].ops, func(ops int, cut func(memdisk.Fate, *rand.Rand) *memdisk.FS) {
		least := acknowledged(done, ops)
		if raceEnabled && ops%24 != 0 {
			return
		}
		for _, fate := range memdisk.Fates {
			after := cut(fate, rand.New(rand.NewPCG(uint64(ops), 2)))
			checkAfterPowerCut(t, fmt.Sprintf("after %d operations, the rest %s", ops, fate), after, opt, least, false)
		}
	})
}

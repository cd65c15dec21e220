package embedded_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/embedded"
)

// A verification during appends, retention and packing finds nothing: changes during the check are
// no damage.
func TestVerifyBesideEverythingElse(t *testing.T) {
	t.Parallel()
	store, s := openFeed(t, t.TempDir(), embedded.Options{SegmentBytes: 8 << 10, MinFree: 1 << 20})
	defer func() { must(t, store.Close()) }()
	ctx, cancel := context.WithCancel(t.Context())
	var others sync.WaitGroup
	others.Go(func() {
		batch := new(messages.Batch)
		for seq := int64(0); ctx.Err() == nil; seq += 20 {
			crashBatch(batch, seq, 20)
			if _, err := s.Append(context.WithoutCancel(ctx), batch, messages.Checkpoint{Position: messages.Position{Seq: seq}}); err != nil {
				t.Error(err)
			}
		}
	})
	others.Go(func() {
		for ctx.Err() == nil {
			if _, err := s.Trim(context.WithoutCancel(ctx), persistence.Retention{Entries: 2000}); err != nil {
				t.Error(err)
			}
			embedded.Maintain(context.WithoutCancel(ctx), store)
			if err := embedded.Pack(context.WithoutCancel(ctx), store); err != nil {
				t.Error(err)
			}
		}
	})
	for rounds, appended := 0, int64(0); rounds < 30 || appended < 20_000; rounds++ {
		page, err := s.Read(t.Context(), persistence.FromBeginning(), persistence.FromBeginning(), 1)
		must(t, err)
		appended = page.Appended
		done, err := store.Verify(t.Context(), persistence.VerifyOptions{Found: func(f persistence.Finding) { t.Errorf("found %+v", f) }})
		if err != nil || done.Streams != 1 {
			t.Errorf("%+v, %v", done, err)
		}
	}
	cancel()
	others.Wait()
}

// Damage that happens while the store is in use is found while it is in use.
func TestI4_VerifyFindsDamageInUse(t *testing.T) {
	t.Parallel()
	for what, damage := range map[string]func(b []byte) []byte{"flipped": damages["flipped in the middle"], "a page zeroed": damages["a page zeroed"], "deleted": damages["deleted"]} {
		for _, file := range []string{"streams/feed/000000000002.seg", "marks/feed"} {
			dir := t.TempDir()
			store, s := openFeed(t, dir, embedded.Options{SegmentBytes: 8 << 10, MinFree: 1 << 20})
			batch := new(messages.Batch)
			for seq := int64(0); seq < 1000; seq += 20 {
				crashBatch(batch, seq, 20)
				_, err := s.Append(t.Context(), batch, messages.Checkpoint{})
				must(t, err)
			}
			path := filepath.Join(dir, file)
			before, err := os.ReadFile(path)
			must(t, err)
			left := damage(before)
			if left == nil {
				must(t, os.Remove(path))
			} else {
				must(t, os.WriteFile(path, left, 0o640))
			}
			var found []persistence.Finding
			done, err := store.Verify(t.Context(), persistence.VerifyOptions{Stream: "feed", Found: func(f persistence.Finding) { found = append(found, f) }})
			if err != nil || len(found) != 1 || found[0].File != file || done.Damaged != 1 {
				t.Errorf("%s %s: %+v, %v, found %+v", file, what, done, err, found)
			}
			must(t, store.Close())
			_, err = store.Verify(t.Context(), persistence.VerifyOptions{})
			if !errors.Is(err, persistence.ErrStoreClosed) {
				t.Errorf("after closing: %v", err)
			}
		}
	}
}

// No gap entry can be appended to a closed stream. Its readers are told where the loss is, and the
// repair says so.
func TestRepairOfAClosedStream(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store, s := openFeed(t, dir, embedded.Options{SegmentBytes: 8 << 10, MinFree: 1 << 20})
	batch := new(messages.Batch)
	for seq := int64(0); seq < 1000; seq += 20 {
		crashBatch(batch, seq, 20)
		_, err := s.Append(t.Context(), batch, messages.Checkpoint{})
		must(t, err)
	}
	must(t, s.Close(t.Context(), "done"))
	must(t, store.Close())
	must(t, os.Remove(filepath.Join(dir, "streams", "feed", "000000000002.seg")))
	done, err := embedded.RepairDir(t.Context(), dir, embedded.RepairOptions{})
	if err != nil || len(done.Remaining) > 0 || len(done.Lost) != 1 || done.Lost[0].Gap != nil || done.Lost[0].Note == "" {
		t.Errorf("%+v, %v", done, err)
	}
	store, s = openFeed(t, dir, embedded.Options{MinFree: 1 << 20})
	defer func() { must(t, store.Close()) }()
	info, err := s.Info(t.Context())
	must(t, err)
	if info.ClosedAt == nil || info.ClosedReason != "done" {
		t.Errorf("it is %+v", info)
	}
	if _, _, holes := readWithGaps(t, "closed", s); len(holes) != 1 {
		t.Errorf("readers are told %v", holes)
	}
}

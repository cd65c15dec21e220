package persistence_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/streamtest"
)

func TestEmbedded(t *testing.T) {
	t.Parallel()
	for name, opt := range map[string]persistence.EmbeddedOptions{
		"sync":     {},
		"interval": {SyncInterval: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opt.OnEvent = func(e persistence.Event) {
				if failed, ok := e.(persistence.MaintenanceFailed); ok {
					t.Errorf("maintenance failed: %+v", failed)
				}
			}
			streamtest.Run(t, streamtest.Backend{
				Open: func(ctx context.Context, dir string) (persistence.Store, error) {
					return persistence.OpenEmbedded(ctx, dir, opt)
				},
				Maintain: func(ctx context.Context, store persistence.Store) {
					e := store.(*persistence.Embedded)
					persistence.SyncLog(ctx, e)
					persistence.Maintain(ctx, e)
				},
			})
		})
	}
}

func TestSecondOpenerIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store, _ := openFeed(t, dir, persistence.EmbeddedOptions{})
	_, err := persistence.OpenEmbedded(t.Context(), dir, persistence.EmbeddedOptions{})
	if !errors.Is(err, persistence.ErrLocked) || !strings.Contains(err.Error(), dir) || strings.Contains(err.Error(), "\n") {
		t.Errorf("the second opener got %v", err)
	}
	must(t, store.Close())
	store, _ = openFeed(t, dir, persistence.EmbeddedOptions{})
	must(t, store.Close())
}

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

// TestSpaceGuard fills the disk, as far as the store can tell.
func TestSpaceGuard(t *testing.T) {
	t.Parallel()
	const minFree = 100 << 20
	var free atomic.Uint64
	free.Store(1 << 40)
	var events []persistence.Event
	store, s := openFeed(t, t.TempDir(), persistence.EmbeddedOptions{
		MinFree:   minFree,
		FreeSpace: func(string) (uint64, error) { return free.Load(), nil },
		OnEvent:   func(e persistence.Event) { events = append(events, e) },
	})
	batch := streamtest.NewEvents(1, benchStart).Fill(new(messages.Batch), 100)
	for range 3 {
		_, err := s.Append(t.Context(), batch, messages.Checkpoint{})
		must(t, err)
	}
	free.Store(minFree + 100)
	for range 3 {
		_, err := s.Append(t.Context(), batch, messages.Checkpoint{})
		full, ok := errors.AsType[*persistence.NoSpaceError](err)
		if !ok || full.Free != minFree+100 || full.Need < minFree {
			t.Fatalf("append on a full disk: %v", err)
		}
	}
	if err := store.Health(); err == nil {
		t.Error("a full store is healthy")
	}
	if err := store.SaveCheckpoint(t.Context(), "feed", messages.Checkpoint{}); err == nil {
		t.Error("a checkpoint was saved on a full disk")
	}
	// Reading works, and so does what makes room.
	page, err := s.Read(t.Context(), persistence.Start(), persistence.End(), 1000)
	must(t, err)
	if len(page.Frames) != 300 {
		t.Errorf("%d frames, want 300", len(page.Frames))
	}
	done, err := s.Trim(t.Context(), persistence.Retention{Entries: 100})
	must(t, err)
	if done.Entries != 200 {
		t.Errorf("a trim on a full disk dropped %d entries, want 200", done.Entries)
	}
	free.Store(minFree + 1<<20) // enough to start, not enough to start again
	if _, err := s.Append(t.Context(), batch, messages.Checkpoint{}); err == nil {
		t.Error("appends began again at once")
	}
	free.Store(2 * minFree)
	must(t, store.Health())
	_, err = s.Append(t.Context(), batch, messages.Checkpoint{})
	must(t, err)
	must(t, store.Close())

	var kinds []string
	for _, e := range events {
		switch e.(type) {
		case persistence.SpaceLow:
			kinds = append(kinds, "low")
		case persistence.SpaceRecovered:
			kinds = append(kinds, "recovered")
		}
	}
	if strings.Join(kinds, " ") != "low recovered" {
		t.Errorf("told %q, want low and recovered, once each", kinds)
	}
}

func TestFullDiskIsNotOpened(t *testing.T) {
	t.Parallel()
	_, err := persistence.OpenEmbedded(t.Context(), t.TempDir(), persistence.EmbeddedOptions{
		FreeSpace: func(string) (uint64, error) { return 1 << 20, nil },
	})
	if _, ok := errors.AsType[*persistence.NoSpaceError](err); !ok {
		t.Errorf("opening on a full disk: %v", err)
	}
}

// diskUsage is what du tells: allocated blocks, not file lengths.
func diskUsage(tb testing.TB, dir string) int64 {
	tb.Helper()
	var total int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		total += info.Sys().(*syscall.Stat_t).Blocks * 512
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return total
}

// TestTrimGivesTheDiskBack measures what a trim leaves on disk, while another stream shares the files and an appender goes on: the
// trim may make it wait, but never fail.
func TestTrimGivesTheDiskBack(t *testing.T) {
	t.Parallel()
	for name, opt := range map[string]persistence.EmbeddedOptions{"sync": {}, "interval": {SyncInterval: time.Hour}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			store, s := openFeed(t, dir, opt)
			other, err := store.OpenStream(t.Context(), "other", persistence.StreamOptions{})
			must(t, err)
			events := streamtest.NewEvents(1, benchStart)
			batch := events.Fill(new(messages.Batch), 8192)
			for i := range 40 {
				_, err := s.Append(t.Context(), batch, messages.Checkpoint{})
				must(t, err)
				if i%10 == 0 {
					_, err := other.Append(t.Context(), batch, messages.Checkpoint{})
					must(t, err)
				}
			}
			before := diskUsage(t, dir)
			stop := make(chan struct{})
			var wg sync.WaitGroup
			wg.Go(func() {
				small := events.Fill(new(messages.Batch), 1)
				for {
					select {
					case <-stop:
						return
					default:
						if _, err := other.Append(t.Context(), small, messages.Checkpoint{}); err != nil {
							t.Errorf("append during a trim: %v", err)
							return
						}
					}
				}
			})
			done, err := s.Trim(t.Context(), persistence.Retention{Entries: 1})
			must(t, err)
			close(stop)
			wg.Wait()
			after := diskUsage(t, dir)
			// One file of the value log is being written and cannot be given back, nor can the space reserved for it.
			if freed := before - after; done.Bytes < 100<<20 || freed < done.Bytes-(40<<20) {
				t.Errorf("dropped %d MiB, the disk got %d MiB back of %d", done.Bytes>>20, freed>>20, before>>20)
			}
			info, err := other.Info(t.Context())
			must(t, err)
			n, after2 := int64(0), persistence.FromBeginning()
			for {
				page, err := other.Tail(t.Context(), after2, 0, persistence.MaxCount)
				must(t, err)
				if len(page.Frames) == 0 {
					break
				}
				n += int64(len(page.Frames))
				after2 = persistence.CursorAt(page.Frames[len(page.Frames)-1].ID)
			}
			if n != info.Entries {
				t.Errorf("the other stream has %d entries, want %d", n, info.Entries)
			}
			must(t, store.Close())
		})
	}
}

// TestMergeMakesFewBlocksOfMany is a slow feed: a block an event.
func TestMergeMakesFewBlocksOfMany(t *testing.T) {
	t.Parallel()
	store, s := openFeed(t, t.TempDir(), persistence.EmbeddedOptions{SyncInterval: time.Hour})
	var batch messages.Batch
	const events = 6000
	most := 0
	for seq := range int64(events) {
		crashBatch(&batch, seq, 1)
		_, err := s.Append(t.Context(), &batch, messages.Checkpoint{Position: messages.Position{Seq: seq + 1}})
		must(t, err)
		if seq%500 == 499 {
			n, err := persistence.Blocks(t.Context(), s)
			must(t, err)
			most = max(most, n)
			persistence.SyncLog(t.Context(), store)
			persistence.Maintain(t.Context(), store)
		}
	}
	n, err := persistence.Blocks(t.Context(), s)
	must(t, err)
	if n > 100 || most > 700 {
		t.Errorf("%d events are %d blocks, were %d", events, n, most)
	}
	checkCrashed(t, s)
	must(t, store.Close())
}

// TestMaintenanceRunsByItself has the clock do it.
func TestMaintenanceRunsByItself(t *testing.T) {
	t.Parallel()
	clock := clockwork.NewFakeClockAt(time.UnixMicro(benchStart))
	trimmed := make(chan persistence.StreamTrimmed, 1)
	store, _ := openFeed(t, t.TempDir(), persistence.EmbeddedOptions{
		Clock: clock,
		OnEvent: func(e persistence.Event) {
			if e, ok := e.(persistence.StreamTrimmed); ok {
				trimmed <- e
			}
		},
	})
	s, err := store.OpenStream(t.Context(), "feed", persistence.StreamOptions{Retention: persistence.Retention{Age: time.Minute}})
	must(t, err)
	events := streamtest.NewEvents(1, benchStart)
	_, err = s.Append(t.Context(), events.Fill(new(messages.Batch), 10), messages.Checkpoint{})
	must(t, err)
	must(t, clock.BlockUntilContext(t.Context(), 1))
	clock.Advance(2 * time.Minute)
	if e := <-trimmed; e.Stream != "feed" || e.Entries != 10 {
		t.Errorf("told %+v, want 10 entries of feed", e)
	}
	must(t, store.Close())
}

// TestTailWaitsByTheClock has no time pass but the clock's: a tail keeps its whole budget, however many there are.
func TestTailWaitsByTheClock(t *testing.T) {
	t.Parallel()
	clock := clockwork.NewFakeClockAt(time.UnixMicro(benchStart))
	store, s := openFeed(t, t.TempDir(), persistence.EmbeddedOptions{Clock: clock, Maintenance: time.Hour})
	const tails = 50
	var ended atomic.Int64
	var wg sync.WaitGroup
	for range tails {
		wg.Go(func() {
			page, err := s.Tail(t.Context(), persistence.FromBeginning(), persistence.MaxBlock, 1)
			ended.Add(1)
			if err != nil || len(page.Frames) > 0 || page.IsClosed() {
				t.Errorf("a tail that timed out gave %+v, %v", page, err)
			}
		})
	}
	must(t, clock.BlockUntilContext(t.Context(), 1+tails))
	clock.Advance(persistence.MaxBlock - 1)
	if n := ended.Load(); n > 0 {
		t.Errorf("%d tails ended early", n)
	}
	clock.Advance(1)
	wg.Wait()
	must(t, store.Close())
}

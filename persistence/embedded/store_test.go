package embedded_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/embedded"
	"tempestd/persistence/embedded/disk/memdisk"
	"tempestd/persistence/streamtest"
)

func TestStore(t *testing.T) {
	t.Parallel()
	for name, opt := range map[string]embedded.Options{
		"sync":           {},
		"interval":       {SyncInterval: time.Hour},
		"small segments": {SegmentBytes: 2 << 10},
		"in memory":      {SegmentBytes: 20 << 10, Files: new(memdisk.FS)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opt.OnNotice = func(e persistence.Notice) {
				switch e.(type) {
				case persistence.StreamTrimmed, persistence.StreamEnded, persistence.StreamDeleted:
				default:
					t.Errorf("told %T %+v", e, e)
				}
			}
			streamtest.Run(t, streamtest.Backend{
				Open: func(ctx context.Context, dir string) (persistence.Store, error) {
					return embedded.Open(ctx, dir, opt)
				},
				Maintain: func(ctx context.Context, store persistence.Store) {
					s := store.(*embedded.Store)
					embedded.SyncLog(ctx, s)
					embedded.Maintain(ctx, s)
					if err := embedded.Pack(ctx, s); err != nil {
						t.Errorf("pack: %v", err)
					}
				},
			})
		})
	}
}
func TestSecondOpenerIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store, _ := openFeed(t, dir, embedded.Options{})
	_, err := embedded.Open(t.Context(), dir, embedded.Options{})
	if !errors.Is(err, persistence.ErrLocked) || !strings.Contains(err.Error(), dir) || strings.Contains(err.Error(), "\n") {
		t.Errorf("the second opener got %v", err)
	}
	must(t, store.Close())
	store, _ = openFeed(t, dir, embedded.Options{})
	must(t, store.Close())
}

// TestSpaceGuard simulates a full disk through the store's FreeSpace.
func TestSpaceGuard(t *testing.T) {
	t.Parallel()
	const minFree = 100 << 20
	var free atomic.Uint64
	free.Store(1 << 40)
	var events []persistence.Notice
	store, s := openFeed(t, t.TempDir(), embedded.Options{
		MinFree:   minFree,
		FreeSpace: func(string) (uint64, error) { return free.Load(), nil },
		OnNotice:  func(e persistence.Notice) { events = append(events, e) },
	})
	batch := streamtest.NewEvents(1, start).Fill(new(messages.Batch), 100)
	for range 3 {
		_, err := s.Append(t.Context(), batch, messages.Checkpoint{})
		must(t, err)
	}
	free.Store(minFree - 100)
	for range 3 {
		_, err := s.Append(t.Context(), batch, messages.Checkpoint{})
		full, ok := errors.AsType[*persistence.NoSpaceError](err)
		if !ok || full.Free != minFree-100 || full.Need < minFree {
			t.Fatalf("append on a full disk: %v", err)
		}
	}
	if err := store.Health(); err == nil {
		t.Error("a full store is healthy")
	}
	if err := store.SaveCheckpoint(t.Context(), "feed", messages.Checkpoint{}); err == nil {
		t.Error("a checkpoint was saved on a full disk")
	}
	// Reading works, and so does trimming.
	page, err := s.Read(t.Context(), persistence.Start(), persistence.End(), 1000)
	must(t, err)
	if len(page.Entries) != 300 {
		t.Errorf("%d entries, want 300", len(page.Entries))
	}
	done, err := s.Trim(t.Context(), persistence.Retention{Entries: 100})
	must(t, err)
	if done.Entries != 200 {
		t.Errorf("a trim on a full disk dropped %d entries, want 200", done.Entries)
	}
	free.Store(minFree + 1<<20) // enough to continue, but not enough to begin again
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

// TestFullDiskIsOpenedForReading opens a store on a disk that was filled while the store was
// closed.
func TestFullDiskIsOpenedForReading(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store, s := openFeed(t, dir, embedded.Options{})
	events := streamtest.NewEvents(1, start)
	batch := events.Fill(new(messages.Batch), 100)
	_, err := s.Append(t.Context(), batch, messages.Checkpoint{})
	must(t, err)
	must(t, store.SaveCheckpoint(t.Context(), "feed", messages.Checkpoint{Saved: 1}))
	must(t, store.Close())

	var free atomic.Uint64
	store, err = embedded.Open(t.Context(), dir, embedded.Options{FreeSpace: func(string) (uint64, error) { return free.Load(), nil }})
	must(t, err)
	s, err = store.Stream(t.Context(), "feed")
	must(t, err)
	page, err := s.Read(t.Context(), persistence.Start(), persistence.End(), 1000)
	must(t, err)
	if len(page.Entries) != 100 {
		t.Errorf("%d entries, want 100", len(page.Entries))
	}
	_, err = s.Append(t.Context(), batch, messages.Checkpoint{})
	_, loading := store.LoadCheckpoint(t.Context(), "feed")
	for what, err := range map[string]error{"append": err, "load a checkpoint": loading, "health": store.Health()} {
		if _, ok := errors.AsType[*persistence.NoSpaceError](err); !ok || !persistence.Temporary(err) {
			t.Errorf("%s on a full disk: %v", what, err)
		}
	}
	done, err := s.Trim(t.Context(), persistence.Retention{Entries: 1})
	must(t, err)
	if done.Entries != 0 {
		t.Errorf("a trim to one entry dropped %d of one block", done.Entries)
	}
	free.Store(1 << 40)
	cp, err := store.LoadCheckpoint(t.Context(), "feed")
	must(t, err)
	if cp.Saved != 1 {
		t.Errorf("with room the checkpoint is %+v", cp)
	}
	_, err = s.Append(t.Context(), batch, messages.Checkpoint{})
	must(t, err)
	must(t, store.Close())
}

// TestMaintenanceRunsByItself checks that maintenance runs by the clock.
func TestMaintenanceRunsByItself(t *testing.T) {
	t.Parallel()
	clock := clockwork.NewFakeClockAt(time.UnixMicro(start))
	trimmed := make(chan persistence.StreamTrimmed, 1)
	store, _ := openFeed(t, t.TempDir(), embedded.Options{
		Clock: clock,
		OnNotice: func(e persistence.Notice) {
			if e, ok := e.(persistence.StreamTrimmed); ok {
				trimmed <- e
			}
		},
	})
	s, err := store.OpenStream(t.Context(), "feed", persistence.StreamOptions{Retention: persistence.Retention{Age: time.Minute}})
	must(t, err)
	events := streamtest.NewEvents(1, start)
	_, err = s.Append(t.Context(), events.Fill(new(messages.Batch), 10), messages.Checkpoint{})
	must(t, err)
	// Entries that are newer by the stream's own time make the present entries old.
	later := streamtest.NewEvents(2, start+2*time.Minute.Microseconds())
	_, err = s.Append(t.Context(), later.Fill(new(messages.Batch), 5), messages.Checkpoint{})
	must(t, err)
	must(t, clock.BlockUntilContext(t.Context(), 1))
	clock.Advance(2 * time.Minute)
	if e := <-trimmed; e.Stream != "feed" || e.Entries != 10 {
		t.Errorf("told %+v, want 10 entries of feed", e)
	}
	must(t, store.Close())
}

// TestTailWaitsByTheClock moves only the fake clock. Every tail waits for its full time, however
// many there are.
func TestTailWaitsByTheClock(t *testing.T) {
	t.Parallel()
	clock := clockwork.NewFakeClockAt(time.UnixMicro(start))
	store, s := openFeed(t, t.TempDir(), embedded.Options{Clock: clock, Maintenance: time.Hour})
	const tails = 50
	var ended atomic.Int64
	var wg sync.WaitGroup
	for range tails {
		wg.Go(func() {
			page, err := s.Tail(t.Context(), persistence.FromBeginning(), persistence.MaxBlock, 1)
			ended.Add(1)
			if err != nil || len(page.Entries) > 0 || page.IsClosed() {
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

package persistence_test

import (
	"io/fs"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/streamtest"
)

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
			n := int64(0)
			for after := persistence.FromBeginning(); ; {
				page, err := other.Tail(t.Context(), after, 0, persistence.MaxCount)
				must(t, err)
				if len(page.Frames) == 0 {
					break
				}
				n += int64(len(page.Frames))
				after = persistence.CursorAt(page.Frames[len(page.Frames)-1].ID)
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

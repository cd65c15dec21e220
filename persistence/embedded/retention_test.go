package embedded_test

import (
	"errors"
	"io/fs"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/embedded"
	"tempestd/persistence/streamtest"
)

// diskUsage returns the allocated bytes, like du, and not the lengths of the files.
func diskUsage(tb testing.TB, dir string) int64 {
	tb.Helper()
	var total int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			return nil
		}
		var info fs.FileInfo
		if err == nil {
			info, err = d.Info()
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it was removed while the directory was read
		}
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

// TestTrimGivesTheDiskBack measures the disk usage after a trim, while another stream of the store
// is appended to. The trim may delay an append, but never makes it fail.
func TestTrimGivesTheDiskBack(t *testing.T) {
	t.Parallel()
	for name, opt := range map[string]embedded.Options{"sync": {}, "interval": {SyncInterval: time.Hour}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			store, s := openFeed(t, dir, opt)
			other, err := store.OpenStream(t.Context(), "other", persistence.StreamOptions{})
			must(t, err)
			events := streamtest.NewEvents(1, start)
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
			// The active segment and the space that is allocated ahead cannot be freed.
			if freed := before - after; done.Bytes < 100<<20 || freed < done.Bytes-(40<<20) {
				t.Errorf("dropped %d MiB, the disk got %d MiB back of %d", done.Bytes>>20, freed>>20, before>>20)
			}
			info, err := other.Info(t.Context())
			must(t, err)
			n := int64(0)
			for after := persistence.FromBeginning(); ; {
				page, err := other.Tail(t.Context(), after, 0, persistence.MaxCount)
				must(t, err)
				if len(page.Entries) == 0 {
					break
				}
				n += int64(len(page.Entries))
				after = persistence.CursorAt(page.Entries[len(page.Entries)-1].ID)
			}
			if n != info.Entries {
				t.Errorf("the other stream has %d entries, want %d", n, info.Entries)
			}
			must(t, store.Close())
		})
	}
}

package embedded_test

import (
	"errors"
	"testing"
	"time"

	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/embedded"
	"tempestd/persistence/embedded/disk/memdisk"
	"tempestd/persistence/streamtest"
)

func TestATailOfADeletedStreamReturns(t *testing.T) {
	store, s := openFeed(t, t.TempDir(), embedded.Options{MinFree: 1})
	defer store.Close()
	ended := make(chan error, 1)
	go func() {
		_, err := s.Tail(t.Context(), persistence.FromBeginning(), persistence.MaxBlock, 1)
		ended <- err
	}()
	must(t, store.DeleteStream(t.Context(), "feed"))
	if err := <-ended; !errors.Is(err, persistence.ErrNoStream) {
		t.Errorf("the tail ended with %v", err)
	}
	if _, err := s.Append(t.Context(), new(messages.Batch), messages.Checkpoint{}); !errors.Is(err, persistence.ErrNoStream) {
		t.Errorf("an append gives %v", err)
	}
}

func TestAStreamKeepsWhatItKeptWhenNoFeedOpensIt(t *testing.T) {
	dir := t.TempDir()
	opt := embedded.Options{MinFree: 1}
	store, err := embedded.Open(t.Context(), dir, opt)
	must(t, err)
	s, err := store.OpenStream(t.Context(), "feed", persistence.StreamOptions{Retention: persistence.Retention{Age: time.Hour, Entries: 7}})
	must(t, err)
	_, err = s.Append(t.Context(), streamtest.NewEvents(1, start).Fill(new(messages.Batch), 3), messages.Checkpoint{})
	must(t, err)
	must(t, store.Close())
	store, err = embedded.Open(t.Context(), dir, opt)
	must(t, err)
	defer store.Close()
	infos, err := store.Streams(t.Context())
	must(t, err)
	if len(infos) != 1 || infos[0].Retention == nil || *infos[0].Retention != (messages.Retention{AgeSeconds: 3600, Entries: 7}) {
		t.Errorf("it keeps %+v", infos)
	}
}

// A file system that refuses the n-th removal stands for a crash there: the next process finds the
// stream gone, and nothing of it.
func TestADeletionThatWasCutShortIsEndedLater(t *testing.T) {
	for fails := 1; fails <= 6; fails++ {
		n, refuse := 0, true
		files := &memdisk.FS{Capacity: 64 << 20}
		opt := embedded.Options{Files: files, MinFree: 1 << 20, Maintenance: time.Hour}
		store, s := openFeed(t, "/store", opt)
		_, err := s.Append(t.Context(), streamtest.NewEvents(1, start).Fill(new(messages.Batch), 10), messages.Checkpoint{})
		must(t, err)
		files.Fault = func(op memdisk.Op) error {
			if op.Kind == memdisk.Unlink {
				if n++; refuse && n >= fails {
					return errors.New("refused")
				}
			}
			return nil
		}
		must(t, store.DeleteStream(t.Context(), "feed"))
		must(t, store.Close())
		refuse = false
		var heard told
		opt.OnNotice = heard.add
		store, err = embedded.Open(t.Context(), "/store", opt)
		must(t, err)
		infos, err := store.Streams(t.Context())
		must(t, err)
		if len(infos) > 0 {
			t.Errorf("after %d removals the stream is there again: %+v", fails-1, infos)
		}
		names, err := files.List("/store/streams")
		must(t, err)
		marks, err := files.List("/store/marks")
		must(t, err)
		left, err := files.List("/store/deleted")
		must(t, err)
		if len(names)+len(marks)+len(left) > 0 {
			t.Errorf("after %d removals %v, %v and %v are left", fails-1, names, marks, left)
		}
		must(t, store.Close())
	}
}

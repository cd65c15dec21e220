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

// TestDiskLifeCycle fills small disks, first by the stream and then by another file to the last
// byte. The store can be stopped, started, read and trimmed, and appends work again.
func TestDiskLifeCycle(t *testing.T) {
	t.Parallel()
	for _, mib := range []int64{24, 128} {
		const minFree = 8 << 20
		files := &memdisk.FS{Capacity: mib << 20}
		var heard told
		opt := embedded.Options{Files: files, MinFree: minFree, Maintenance: time.Hour, OnNotice: heard.add}
		store, s := openFeed(t, "/store", opt)
		events, batch := streamtest.NewEvents(1, start), new(messages.Batch)
		fill := func() (n int64) {
			for {
				done, err := s.Append(t.Context(), events.Fill(batch, 500), messages.Checkpoint{Position: messages.Position{Seq: n}})
				if _, full := errors.AsType[*persistence.NoSpaceError](err); full {
					return n
				}
				must(t, err)
				n += int64(done.Entries)
			}
		}
		stored := fill()
		info, err := s.Info(t.Context())
		must(t, err)
		free, err := files.Free("/")
		must(t, err)
		if room := mib<<20 - minFree; info.Bytes < room*8/10 || free < minFree {
			t.Errorf("%d MiB: %d bytes were stored of %d that there is room for, %d are free", mib, info.Bytes, room, free)
		}
		foreign, err := files.Open("/foreign", 3)
		must(t, err)
		must(t, foreign.Preallocate(int64(free)))
		must(t, store.Close()) // closing needs no space

		store, s = openFeed(t, "/store", opt)
		if n := kept(t, s); n != stored {
			t.Errorf("%d MiB: opened on a full disk there are %d entries of %d", mib, n, stored)
		}
		page, err := s.Tail(t.Context(), persistence.FromBeginning(), 0, 1000)
		must(t, err)
		if len(page.Entries) != 1000 {
			t.Errorf("%d MiB: a page on a full disk has %d entries", mib, len(page.Entries))
		}
		if _, err := s.Append(t.Context(), batch, messages.Checkpoint{}); !persistence.Temporary(err) {
			t.Errorf("%d MiB: an append on a full disk: %v", mib, err)
		}
		done, err := s.Trim(t.Context(), persistence.Retention{Bytes: info.Bytes / 3})
		must(t, err)
		free, err = files.Free("/")
		must(t, err)
		if done.Bytes < info.Bytes/2 || int64(free) < info.Bytes/2 {
			t.Errorf("%d MiB: a trim on a full disk dropped %d bytes of %d, and %d are free", mib, done.Bytes, info.Bytes, free)
		}
		must(t, files.Unlink("/foreign"))
		must(t, store.Health())
		before := kept(t, s)
		if more := fill(); more == 0 || kept(t, s) != before+more {
			t.Errorf("%d MiB: with room again %d entries were appended", mib, more)
		}
		must(t, s.Close(t.Context(), "over")) // on a disk that the stream has filled
		must(t, store.Close())
		for _, e := range heard.all() {
			switch e.(type) {
			case persistence.SpaceLow, persistence.SpaceRecovered, persistence.StreamTrimmed, persistence.StreamEnded:
			default:
				t.Errorf("%d MiB: told %T %+v", mib, e, e)
			}
		}
	}
}

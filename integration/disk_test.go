package integration_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tempestd/messages"
)

// ballast makes the disk nearly full for one daemon only: the daemon's min_free is most of the free
// space, and the ballast takes the rest down to below min_free, while most of the disk stays free.
// It writes no data and needs no privilege. Tests with ballast do not run in parallel, because one
// ballast would affect the other test.
type ballast struct {
	t       testing.TB
	path    string
	size    int64
	minFree string // for stream.min_free
}

func newBallast(t testing.TB) *ballast {
	t.Helper()
	dir := t.TempDir()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	const mostMinFree = 1 << 40
	free := int64(st.Bavail) * int64(st.Bsize)
	minFree := min(free/10*8, mostMinFree)
	return &ballast{t: t, path: filepath.Join(dir, "ballast"), size: free - minFree/8*7, minFree: fmt.Sprintf(`"%dMiB"`, minFree>>20)}
}

// load makes the disk nearly full for the daemon.
func (b *ballast) load() {
	b.t.Helper()
	f, err := os.Create(b.path)
	if err != nil {
		b.t.Fatal(err)
	}
	defer f.Close()
	if err := allocate(f, b.size); err != nil {
		b.t.Fatalf("take %d MiB of the disk, by fallocate: %v; TMPDIR may name a file system that can", b.size>>20, err)
	}
}

// drop frees the space again.
func (b *ballast) drop() {
	b.t.Helper()
	if err := os.Remove(b.path); err != nil {
		b.t.Fatal(err)
	}
}

// A full disk stops the writing before anything breaks, and free space starts it again. Meanwhile
// the daemon does not read the feed, and that does not count as a stall.
func TestDiskFull(t *testing.T) {
	disk := newBallast(t)
	sim := simulate(t, 500)
	d := newDaemon(t, sim.url(), settings{"stream.min_free": disk.minFree, "feeds." + feed + ".stale_after": `"2s"`})
	d.startLive()
	d.awaitStored(500)
	if ready, err := d.Ready(t.Context()); err != nil || !ready.Ready {
		t.Errorf("with room: %+v, %v", ready, err)
	}

	disk.load()
	d.await("store.space_low")
	d.await("feed.backpressured")
	if ready, err := d.Ready(t.Context()); err != nil || ready.Ready || !strings.Contains(strings.Join(ready.Reasons, "\n"), "MiB free") {
		t.Errorf("on a full disk: %+v, %v", ready, err)
	}
	stored, sent := d.info().Entries, sim.stats().Contents
	eventually(t, "4 s of events were produced", func() bool { return sim.stats().Contents >= sent+4*500 })
	if now := d.info().Entries; now != stored {
		t.Errorf("%d entries were stored on a full disk", now-stored)
	}
	if status := d.status(); status.State != messages.StateBackpressured || status.Stalls > 0 || status.Restarts > 0 {
		t.Errorf("on a full disk: %+v", status)
	}

	disk.drop()
	d.await("append.resumed")
	d.await("feed.live")
	eventually(t, "the daemon is ready", func() bool {
		ready, err := d.Ready(t.Context())
		return err == nil && ready.Ready
	})
	d.exact(sim)
	if n := len(d.records("store.space_recovered")); n != 1 {
		t.Errorf("store.space_recovered: %d times", n)
	}
}

// When no file can be created, as on a file system that an error has turned read-only, the daemon
// still stops in time. It continues when files can be created again.
func TestADiskThatTakesNoFileHoldsUpNoStop(t *testing.T) {
	t.Parallel()
	sim := simulate(t, 500)
	d := newDaemon(t, sim.url(), nil)
	d.startLive()
	d.awaitStored(500)
	thaw := immutable(t, filepath.Join(d.data, "store", "state"))
	d.stop()
	thaw()
	d.startLive()
	d.exact(sim)
	d.stop()
}

// immutable prevents that files are created in the directory or removed from it, until thaw is
// called. Open files stay writable.
func immutable(t *testing.T, dir string) (thaw func()) {
	t.Helper()
	const flag = 0x10 // FS_IMMUTABLE_FL
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags|flag)
	}
	if err != nil {
		t.Fatalf("make %s immutable: %v; TMPDIR may name a file system that can", dir, err)
	}
	thawed := false
	thaw = func() {
		if thawed {
			return
		}
		thawed = true
		if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags); err != nil {
			t.Error(err)
		}
		f.Close()
	}
	t.Cleanup(thaw)
	return thaw
}

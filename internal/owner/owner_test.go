package owner_test

import (
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"tempestd/internal/owner"
)

const nobody = 65534

// What root makes in the directory of a daemon is the daemon's afterwards; what is elsewhere stays
// as it is, whatever the daemon links to.
func TestWhatRootMakesBelongsToTheOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		o := owner.Of(t.TempDir())
		if err := o.Give(); err != nil {
			t.Error(err)
		}
		return
	}
	dir, outside := t.TempDir(), t.TempDir()
	secret := filepath.Join(outside, "secret")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Chown(dir, nobody, nobody))
	o := owner.Of(dir)
	must(os.MkdirAll(filepath.Join(dir, "store", "state"), 0o700))
	must(os.WriteFile(filepath.Join(dir, "store", "state", "MANIFEST"), nil, 0o600))
	must(os.WriteFile(filepath.Join(dir, "others"), nil, 0o600))
	must(os.Chown(filepath.Join(dir, "others"), 1, 1))
	must(os.WriteFile(secret, nil, 0o600))
	must(os.Symlink(outside, filepath.Join(dir, "way")))
	must(os.Link(secret, filepath.Join(dir, "second")))

	names, err := o.Foreign()
	if want := []string{"others", "second", "store", "store/state", "store/state/MANIFEST", "way"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("of others are %q, %v", names, err)
	}
	must(o.Give())
	for path, want := range map[string]uint32{filepath.Join(dir, "store"): nobody, filepath.Join(dir, "store", "state", "MANIFEST"): nobody, filepath.Join(dir, "way"): nobody,
		filepath.Join(dir, "others"): 1, secret: 0, outside: 0} {
		info, err := os.Lstat(path)
		must(err)
		if st := info.Sys().(*syscall.Stat_t); st.Uid != want || st.Gid != want {
			t.Errorf("%s belongs to %d:%d, want %d", path, st.Uid, st.Gid, want)
		}
	}
}

// A directory that is root's, or was not there, stays root's.
func TestWhatIsRootsStaysRoots(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	o := owner.Of(dir)
	if err := o.Give(); err != nil {
		t.Error(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := o.Give(); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(dir); err != nil || int(info.Sys().(*syscall.Stat_t).Uid) != os.Geteuid() {
		t.Errorf("it belongs to %+v, %v", info.Sys(), err)
	}
}

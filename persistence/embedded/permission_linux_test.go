package embedded_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"tempestd/persistence/embedded"
)

// A file of the state that root has made, and that the daemon's user may not open, is not damaged:
// the store is refused as it is. The consumers and the ledger used to be lost by that.
func TestAStateThatMayNotBeOpenedIsNotLost(t *testing.T) {
	const user = 65534
	for _, name := range []string{"state.sums", "state/MANIFEST", "state.mark"} {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			dir := filepath.Join(top, "store")
			store, _ := openFeed(t, dir, embedded.Options{MinFree: 1 << 20})
			must(t, store.Close())
			file := filepath.Join(dir, filepath.FromSlash(name))
			if _, err := os.Stat(file); err != nil {
				t.Fatal(err)
			}
			must(t, os.Chmod(file, 0o000))
			if os.Geteuid() == 0 {
				must(t, os.Chown(filepath.Dir(top), user, user))
				must(t, filepath.WalkDir(top, func(path string, _ fs.DirEntry, err error) error {
					return errors.Join(err, os.Lchown(path, user, user))
				}))
				must(t, os.Chown(file, 0, 0))
			}
			// The file system sees another user on this thread, which ends with the goroutine.
			refused := make(chan error, 1)
			go func() {
				runtime.LockOSThread()
				if os.Geteuid() == 0 {
					if _, err := unix.SetfsuidRetUid(user); err != nil {
						refused <- err
						return
					}
				}
				store, err := embedded.Open(t.Context(), dir, embedded.Options{MinFree: 1 << 20})
				if err == nil {
					err = errors.Join(errors.New("opened"), store.Close())
				}
				refused <- err
			}()
			if err := <-refused; !errors.Is(err, fs.ErrPermission) {
				t.Errorf("opened by another user it says %v", err)
			}
			must(t, os.Chmod(file, 0o600))
			said := new(told)
			store, _ = openFeed(t, dir, embedded.Options{MinFree: 1 << 20, OnNotice: said.add})
			must(t, store.Close())
			if len(said.events) > 0 {
				t.Errorf("and afterwards %v", said.events)
			}
			if asides, _ := filepath.Glob(filepath.Join(dir, "aside", "*")); len(asides) > 0 {
				t.Errorf("set aside: %q", asides)
			}
		})
	}
}

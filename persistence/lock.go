package persistence

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// lockDir holds the directory for this process, until the file is closed or the process ends. Badger has a lock of its own, but
// refuses with an error that cannot be told from others, and knows nothing of the marks beside it.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "LOCK"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the store's lock: %w", err)
	}
	switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case err == nil:
		return f, nil
	case errors.Is(err, unix.EWOULDBLOCK):
		return nil, errors.Join(fmt.Errorf("%w: %s", ErrLocked, dir), f.Close())
	default:
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), f.Close())
	}
}

package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/jonboulle/clockwork"
	"golang.org/x/sys/unix"

	"tempestd/persistence"
)

// A process that was just killed may hold the lock a moment longer. So may a process that is just
// being started by a process that held the lock.
const (
	lockPatience = time.Second
	lockRetry    = 20 * time.Millisecond
)

// lockDir locks the directory for this process, until the file is closed or the process ends. It
// replaces Badger's own lock. Badger's lock returns an error that cannot be told from other errors,
// and does not cover the streams.
func lockDir(ctx context.Context, dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "LOCK"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the store's lock: %w", err)
	}
	clock := clockwork.NewRealClock() // real time, because another process is waited for
	for waited := time.Duration(0); ; waited += lockRetry {
		switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
		case err == nil:
			return f, nil
		case !errors.Is(err, unix.EWOULDBLOCK):
			return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), f.Close())
		case waited >= lockPatience:
			return nil, errors.Join(fmt.Errorf("%w: %s", persistence.ErrLocked, dir), f.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), f.Close())
		case <-clock.After(lockRetry):
		}
	}
}

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

// A process that was just killed, or is being started from one that held the lock, may hold it a
// moment longer.
const (
	lockPatience = time.Second
	lockRetry    = 20 * time.Millisecond
)

// lockDir holds the directory for this process, until the file is closed or the process ends. It
// stands for Badger's own lock, which refuses with an error that cannot be told from others, and
// knows nothing of the streams beside it.
func lockDir(ctx context.Context, dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "LOCK"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the store's lock: %w", err)
	}
	clock := clockwork.NewRealClock() // the other process's time is no other
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

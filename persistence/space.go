package persistence

import (
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// spaceGuard stops writing before the disk is full. Badger maps its files sparse, so a page that finds no room is no error it could
// return but a SIGBUS that kills the process, and again at each restart. Reading the free space costs a microsecond, so it is
// read before every write.
type spaceGuard struct {
	dir     string
	minFree uint64
	read    func(dir string) (uint64, error)
	emit    func(Event)
	low     atomic.Bool
}

// check gives a *NoSpaceError unless size bytes can be written and minFree bytes are free afterwards. Once refused, writing needs
// an eighth more than that, so that it does not stop and go.
func (g *spaceGuard) check(size uint64) error {
	need := g.minFree + size
	if g.low.Load() {
		need += g.minFree / 8
	}
	err := g.require(need)
	var full *NoSpaceError
	switch {
	case errors.As(err, &full):
		if g.low.CompareAndSwap(false, true) {
			g.emit(SpaceLow{full})
		}
	case err == nil && g.low.CompareAndSwap(true, false):
		free, _ := g.read(g.dir)
		g.emit(SpaceRecovered{Dir: g.dir, Free: free})
	}
	return err
}

// checkReserve asks for what the writing that makes room needs, and what opening needs: deletions, and flushing them. It is far less
// than minFree, so that a store that stopped in time can be opened, read and trimmed.
func (g *spaceGuard) checkReserve(size uint64) error { return g.require(g.minFree/4 + size) }

func (g *spaceGuard) require(need uint64) error {
	free, err := g.read(g.dir)
	if err != nil {
		return fmt.Errorf("read the free space of %s: %w", g.dir, err)
	}
	if free < need {
		return &NoSpaceError{Dir: g.dir, Free: free, Need: need}
	}
	return nil
}

// freeSpace is what the file system lets an unprivileged process write.
func freeSpace(dir string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return uint64(st.Bavail) * uint64(st.Bsize), nil
}

package embedded

import (
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"

	"tempestd/persistence"
)

// spaceGuard keeps the appends from using up the disk. Reading the free space costs a microsecond,
// so it is read before every append.
type spaceGuard struct {
	dir     string
	minFree uint64
	read    func(dir string) (uint64, error)
	emit    func(persistence.Event)
	low     atomic.Bool
}

// check gives a *NoSpaceError unless size bytes can be taken and minFree bytes are free afterwards.
// Once refused, appending needs an eighth more than that, so that it does not stop and go.
func (g *spaceGuard) check(size uint64) error {
	need := g.minFree + size
	if g.low.Load() {
		need += g.minFree / 8
	}
	free, err := g.read(g.dir)
	if err != nil {
		return &persistence.UnavailableError{Store: g.dir, Reason: "io", Err: fmt.Errorf("read the free space: %w", err)}
	}
	if free < need {
		full := &persistence.NoSpaceError{Dir: g.dir, Free: free, Need: need}
		if g.low.CompareAndSwap(false, true) {
			g.emit(persistence.SpaceLow{NoSpaceError: full})
		}
		return full
	}
	if g.low.CompareAndSwap(true, false) {
		g.emit(persistence.SpaceRecovered{Dir: g.dir, Free: free})
	}
	return nil
}

// spare is how much may be taken ahead and leave minFree.
func (g *spaceGuard) spare() int64 {
	free, err := g.read(g.dir)
	if err != nil || free < g.minFree {
		return 0
	}
	return int64(min(free-g.minFree, 1<<62))
}

// isFull says whether the system found no room: on the disk, or within what the user may have of it.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

package embedded

import (
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"

	"tempestd/persistence"
)

// spaceGuard stops appends before the disk is full. Reading the free space costs a microsecond, so
// it is read before every append.
type spaceGuard struct {
	dir     string
	minFree uint64
	read    func(dir string) (uint64, error)
	emit    func(persistence.Notice)
	low     atomic.Bool
}

// check returns a *NoSpaceError unless size bytes can be allocated and minFree bytes are free
// afterwards. After a refusal, appending needs an eighth of minFree more, so that it does not stop
// and start all the time.
func (g *spaceGuard) check(size uint64) error {
	need := g.minFree + size
	if g.low.Load() {
		need += g.minFree / 8
	}
	free, err := g.read(g.dir)
	if err != nil {
		return &persistence.UnavailableError{Store: g.dir, Reason: persistence.ReasonIO, Err: fmt.Errorf("read the free space: %w", err)}
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

// spare is how many bytes may be allocated ahead while minFree bytes stay free.
func (g *spaceGuard) spare() int64 {
	free, err := g.read(g.dir)
	if err != nil || free < g.minFree {
		return 0
	}
	return int64(min(free-g.minFree, 1<<62))
}

// isFull reports whether the system found no space: on the disk, or in the user's quota.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

package persistence

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// reservation gives Badger's open files their disk blocks before Badger writes to them. Badger makes its value log and its write-ahead
// log as sparse files and maps them; were the disk filled by somebody else between the space guard's look and the write, the write would
// be a SIGBUS. What Badger does not use of a file it cuts off when it is done with it.
type reservation struct {
	dir string

	mu   sync.Mutex
	vlog int // the number of the file that was reserved last
	mem  int
}

// The number in a file's name, and what of it is ever written: its size, and what one transaction may write beyond it.
const (
	vlogName    = "%06d.vlog"
	vlogReserve = vlogFileSize + 8<<20
	memName     = "%05d.mem"
	memReserve  = memTableSize + 1<<20
)

// ensure reserves the files that appeared since the last call. It costs two system calls when there are none.
func (r *reservation) ensure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return errors.Join(
		r.advance(&r.vlog, vlogName, vlogReserve),
		r.advance(&r.mem, memName, memReserve),
	)
}

// advance reserves the files after number last. Numbers only grow, by one.
func (r *reservation) advance(last *int, name string, size int64) error {
	for {
		f, err := os.OpenFile(filepath.Join(r.dir, fmt.Sprintf(name, *last+1)), os.O_RDWR, 0)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		} else if err != nil {
			return err
		}
		if err := errors.Join(allocate(f, size), f.Close()); err != nil {
			return fmt.Errorf("reserve disk space: %w", err)
		}
		*last++
	}
}

// begin finds the files of a database that was just opened: its newest ones are those it will write to.
func (r *reservation) begin() error {
	r.vlog, r.mem = r.newest(vlogName)-1, r.newest(memName)-1
	return r.ensure()
}

// newest is the greatest number in a name of that form; 0 for none.
func (r *reservation) newest(name string) int {
	paths, _ := filepath.Glob(filepath.Join(r.dir, "*"+filepath.Ext(name)))
	greatest := 0
	for _, path := range paths {
		var n int
		if _, err := fmt.Sscanf(filepath.Base(path), name, &n); err == nil {
			greatest = max(greatest, n)
		}
	}
	return greatest
}

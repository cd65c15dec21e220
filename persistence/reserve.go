package persistence

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// reservation gives Badger's open files their disk blocks before Badger writes to them. Badger makes its value log and its write-ahead
// log as sparse files and maps them; were the disk filled by somebody else between the space guard's look and the write, the write would
// be a SIGBUS. What Badger does not use of a file it cuts off when it is done with it.
type reservation struct {
	mu        sync.Mutex
	vlog, mem numbered
}

// Badger's names, and what of a file is ever written: its size, and what one transaction may write beyond it.
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
	return errors.Join(r.vlog.reserve(), r.mem.reserve())
}

// numbered is a series of files, whose numbers only grow, by one.
type numbered struct {
	pattern string // of their paths
	size    int64  // to reserve
	number  int    // of the next one
	next    string // its path
}

func (n *numbered) advance(to int) { n.number, n.next = to, fmt.Sprintf(n.pattern, to) }

func (n *numbered) reserve() error {
	for unix.Access(n.next, unix.F_OK) == nil {
		f, err := os.OpenFile(n.next, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		if err := errors.Join(allocate(f, n.size), f.Close()); err != nil {
			return fmt.Errorf("reserve disk space: %w", err)
		}
		n.advance(n.number + 1)
	}
	return nil
}

// begin finds the files of the database in dir, which was just opened: it will write to its newest ones.
func (r *reservation) begin(dir string) error {
	r.vlog = numbered{pattern: filepath.Join(dir, vlogName), size: vlogReserve}
	r.mem = numbered{pattern: filepath.Join(dir, memName), size: memReserve}
	r.vlog.advance(newestNumber(dir, vlogName))
	r.mem.advance(newestNumber(dir, memName))
	return r.ensure()
}

// newestNumber is the greatest number in a file name of that form; 0 for none.
func newestNumber(dir, name string) int {
	paths, _ := filepath.Glob(filepath.Join(dir, "*"+filepath.Ext(name)))
	greatest := 0
	for _, path := range paths {
		var n int
		if _, err := fmt.Sscanf(filepath.Base(path), name, &n); err == nil {
			greatest = max(greatest, n)
		}
	}
	return greatest
}

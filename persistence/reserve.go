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

// begin finds the files that the database in dir writes to: the newest ones. It is called when the database was opened, and after
// whatever may have removed a file before ensure saw it.
func (r *reservation) begin(dir string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	files, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("list the store's files: %w", err)
	}
	r.vlog = numbered{dir: dir, name: vlogName, size: vlogReserve}
	r.mem = numbered{dir: dir, name: memName, size: memReserve}
	r.vlog.find(files)
	r.mem.find(files)
	return errors.Join(r.vlog.reserve(), r.mem.reserve())
}

// numbered is a series of files, whose numbers only grow, by one.
type numbered struct {
	dir, name string
	size      int64  // to reserve
	number    int    // of the next one
	next      string // its path
}

func (n *numbered) advance(to int) {
	n.number, n.next = to, filepath.Join(n.dir, fmt.Sprintf(n.name, to))
}

// find makes the newest of the files the next one.
func (n *numbered) find(files []os.DirEntry) {
	newest := 0
	for _, f := range files {
		var number int
		if _, err := fmt.Sscanf(f.Name(), n.name, &number); err == nil {
			newest = max(newest, number)
		}
	}
	n.advance(newest)
}

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

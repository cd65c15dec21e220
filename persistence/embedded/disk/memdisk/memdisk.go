// Package memdisk is a file system in memory for tests. It can have faults, a limited capacity and
// power cuts. After a power cut, data that was not synced, and changes in a directory that was not
// synced, may be lost, kept, or kept in part.
package memdisk

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"

	"tempestd/persistence/embedded/disk"
)

// Op is one operation on the file system, as Fault gets it.
type Op struct {
	Kind Kind
	Path string
	To   string // of a rename
	Off  int64
	Data []byte // of a write
	Size int64  // of a preallocation or truncation

	node *node
}

// Kind is the kind of an operation.
type Kind string

// The kinds of operations. The operations of the first group change something and are recorded;
// those of the second are not.
const (
	Make     Kind = "make" // a file by Open, a directory by MakeDir
	WriteAt  Kind = "write"
	Sync     Kind = "sync"
	Prealloc Kind = "preallocate"
	Truncate Kind = "truncate"
	Rename   Kind = "rename"
	Unlink   Kind = "unlink"
	SyncDir  Kind = "syncdir"

	Open   Kind = "open"
	ReadAt Kind = "read"
	List   Kind = "list"
	Free   Kind = "free"
)

// FS is a file system in memory. The zero value is empty, without faults and without a limit.
type FS struct {
	// Fault is called before every operation. If it returns an error, the operation returns that
	// error. A failed write has written the first half. After a failed sync, the data that was
	// written before can be read, but is not durable, not even after a later sync, as on Linux.
	// Fault must not use the file system.
	Fault func(Op) error
	// Misread is called with what a read returns, and may change it. Misread must not use the file
	// system. nil changes nothing.
	Misread func(op Op, b []byte)
	// Lies is called before every sync, also of a directory. If it returns true, the sync says that it
	// has succeeded, and nothing of it is durable until the next one, as on a disk with a write cache that it does not
	// flush. nil means that none does.
	Lies func(Op) bool
	// Capacity is the number of bytes of the file system; 0 means no limit.
	Capacity int64

	mu    sync.Mutex
	names map[string]*node
	used  int64
	ops   []Op
}

var _ disk.FS = (*FS)(nil)

// node is a file or a directory.
type node struct {
	dir  bool
	data []byte
}

// do runs change unless there is a fault, and records the operation.
func (f *FS) do(op Op, change func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.names == nil {
		f.names = map[string]*node{"/": {dir: true}}
	}
	if f.Fault != nil {
		if err := f.Fault(op); err != nil {
			switch op.Kind {
			case WriteAt:
				op.Data = op.Data[:len(op.Data)/2]
				_ = op.node.write(f, op.Off, op.Data)
				f.record(op)
			case Sync:
				op.Kind = syncFailed
				f.record(op)
			}
			return &fs.PathError{Op: string(op.Kind), Path: op.Path, Err: err}
		}
	}
	if err := change(); err != nil {
		return &fs.PathError{Op: string(op.Kind), Path: op.Path, Err: err}
	}
	if (op.Kind == Sync || op.Kind == SyncDir) && f.Lies != nil && f.Lies(op) {
		op.Kind = syncClaimed
	}
	f.record(op)
	return nil
}

// syncClaimed is a sync that has synced nothing.
const syncClaimed Kind = "claimed sync"

// syncFailed is a failed sync: the data that it had to sync is never written.
const syncFailed Kind = "failed sync"

func (f *FS) record(op Op) {
	switch op.Kind {
	case Open, ReadAt, List, Free:
	default:
		op.Data = slices.Clone(op.Data)
		f.ops = append(f.ops, op)
	}
}

// Ops returns how many operations have changed something so far.
func (f *FS) Ops() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.ops)
}

func clean(name string) string { return path.Clean("/" + name) }

// Open implements disk.FS.
func (f *FS) Open(name string, mode disk.Mode) (disk.File, error) {
	name = clean(name)
	var opened *node
	kind := Open
	f.mu.Lock()
	if f.names[name] == nil && mode&disk.Create == disk.Create {
		kind = Make
		opened = new(node)
	}
	f.mu.Unlock()
	err := f.do(Op{Kind: kind, Path: name, node: opened}, func() error {
		if kind == Make {
			if dir := f.names[path.Dir(name)]; dir == nil || !dir.dir {
				return fs.ErrNotExist
			}
			f.names[name] = opened
			return nil
		}
		if opened = f.names[name]; opened == nil {
			return fs.ErrNotExist
		}
		if opened.dir {
			return syscall.EISDIR
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &file{fs: f, name: name, node: opened, mode: mode}, nil
}

// Rename implements disk.FS.
func (f *FS) Rename(from, to string) error {
	from, to = clean(from), clean(to)
	return f.do(Op{Kind: Rename, Path: from, To: to}, func() error {
		return rename(f.names, from, to)
	})
}

func rename(names map[string]*node, from, to string) error {
	n := names[from]
	if n == nil {
		return fs.ErrNotExist
	}
	moved := map[string]*node{to: n}
	delete(names, from)
	if n.dir {
		for name, inner := range names {
			if rest, ok := strings.CutPrefix(name, from+"/"); ok {
				moved[to+"/"+rest] = inner
				delete(names, name)
			}
		}
	}
	maps.Copy(names, moved)
	return nil
}

// Unlink implements disk.FS.
func (f *FS) Unlink(name string) error {
	name = clean(name)
	return f.do(Op{Kind: Unlink, Path: name}, func() error {
		n := f.names[name]
		if n == nil {
			return fs.ErrNotExist
		}
		delete(f.names, name)
		f.used -= int64(len(n.data))
		return nil
	})
}

// List implements disk.FS.
func (f *FS) List(dir string) (names []string, err error) {
	dir = clean(dir)
	err = f.do(Op{Kind: List, Path: dir}, func() error {
		if n := f.names[dir]; n == nil || !n.dir {
			return fs.ErrNotExist
		}
		for name := range f.names {
			if path.Dir(name) == dir && name != dir {
				names = append(names, path.Base(name))
			}
		}
		slices.Sort(names)
		return nil
	})
	return names, err
}

// MakeDir implements disk.FS.
func (f *FS) MakeDir(dir string) error {
	dir = clean(dir)
	return f.do(Op{Kind: Make, Path: dir, node: &node{dir: true}}, func() error {
		makeDirs(f.names, dir)
		return nil
	})
}

func makeDirs(names map[string]*node, dir string) {
	for ; names[dir] == nil; dir = path.Dir(dir) {
		names[dir] = &node{dir: true}
	}
}

// SyncDir implements disk.FS.
func (f *FS) SyncDir(dir string) error {
	return f.do(Op{Kind: SyncDir, Path: clean(dir)}, func() error { return nil })
}

// Free implements disk.FS.
func (f *FS) Free(dir string) (free uint64, err error) {
	err = f.do(Op{Kind: Free, Path: clean(dir)}, func() error {
		free = 1 << 50
		if f.Capacity > 0 {
			free = uint64(max(f.Capacity-f.used, 0))
		}
		return nil
	})
	return free, err
}

// grow makes a file at least size bytes long, within the capacity.
func (n *node) grow(f *FS, size int64) error {
	more := size - int64(len(n.data))
	if more <= 0 {
		return nil
	}
	if f != nil {
		if f.Capacity > 0 && f.used+more > f.Capacity {
			return syscall.ENOSPC
		}
		f.used += more
	}
	n.data = append(n.data, make([]byte, more)...)
	return nil
}

func (n *node) write(f *FS, off int64, b []byte) error {
	if err := n.grow(f, off+int64(len(b))); err != nil {
		return err
	}
	copy(n.data[off:], b)
	return nil
}

func (n *node) truncate(f *FS, size int64) error {
	if less := int64(len(n.data)) - size; less > 0 {
		if f != nil {
			f.used -= less
		}
		n.data = n.data[:size:size]
		return nil
	}
	return n.grow(f, size)
}

// file is an open file.
type file struct {
	fs   *FS
	name string
	node *node
	mode disk.Mode
}

func (f *file) ReadAt(b []byte, off int64) (n int, err error) {
	err = f.fs.do(Op{Kind: ReadAt, Path: f.name, Off: off}, func() error {
		if off < int64(len(f.node.data)) {
			n = copy(b, f.node.data[off:])
		}
		if f.fs.Misread != nil {
			f.fs.Misread(Op{Kind: ReadAt, Path: f.name, Off: off}, b[:n])
		}
		return nil
	})
	if err == nil && n < len(b) {
		err = io.EOF
	}
	return n, err
}

func (f *file) WriteAt(b []byte, off int64) (int, error) {
	if f.mode&disk.Write == 0 {
		return 0, &fs.PathError{Op: "write", Path: f.name, Err: syscall.EBADF}
	}
	err := f.fs.do(Op{Kind: WriteAt, Path: f.name, Off: off, Data: b, node: f.node}, func() error { return f.node.write(f.fs, off, b) })
	if err != nil {
		return 0, err
	}
	return len(b), nil
}

func (f *file) Sync() error {
	return f.fs.do(Op{Kind: Sync, Path: f.name, node: f.node}, func() error { return nil })
}

func (f *file) Preallocate(size int64) error {
	return f.fs.do(Op{Kind: Prealloc, Path: f.name, Size: size, node: f.node}, func() error { return f.node.grow(f.fs, size) })
}

func (f *file) Truncate(size int64) error {
	return f.fs.do(Op{Kind: Truncate, Path: f.name, Size: size, node: f.node}, func() error { return f.node.truncate(f.fs, size) })
}

func (f *file) Size() (size int64, err error) {
	err = f.fs.do(Op{Kind: Open, Path: f.name}, func() error {
		size = int64(len(f.node.data))
		return nil
	})
	return size, err
}

func (f *file) Close() error { return nil }

// String lists the files and their sizes.
func (f *FS) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(f.names)) {
		fmt.Fprintf(&b, "%s %d\n", name, len(f.names[name].data))
	}
	return b.String()
}

// Package disk is the narrow interface between the embedded store and the file system: what the
// store needs of it and nothing else. OS is the real one; memdisk is one in memory, with faults,
// torn writes and power cuts, for tests.
package disk

import (
	"errors"
	"io"
	"io/fs"
)

// FS is a file system. Paths are absolute or relative to the process, with "/" between their parts.
// Errors are the system's: they match fs.ErrNotExist, syscall.ENOSPC, syscall.EIO and so on. It is
// safe for concurrent use.
type FS interface {
	// Open opens a file for reading and, with Write, for writing; Create makes it when it is
	// missing. What was made lasts once SyncDir was called.
	Open(path string, mode Mode) (File, error)
	// Rename replaces what is at to. It lasts once SyncDir was called.
	Rename(from, to string) error
	// Unlink removes a file. Whoever has it open may still read it.
	Unlink(path string) error
	// List gives the names in a directory, in order; one that is missing matches fs.ErrNotExist.
	List(dir string) ([]string, error)
	// MakeDir makes a directory and those above it, durably.
	MakeDir(dir string) error
	// SyncDir makes durable what was made, renamed and removed in a directory.
	SyncDir(dir string) error
	// Free is how many bytes the file system of dir lets this process write.
	Free(dir string) (uint64, error)
}

// Linker is a file system that can give a file a second name. It is asked for where a copy does as well.
type Linker interface {
	Link(from, to string) error
}

// File is an open file. ReadAt and WriteAt are pread and pwrite. It is safe for concurrent use.
type File interface {
	io.ReaderAt
	io.WriterAt
	// Sync returns once everything that was written is on the disk (fdatasync).
	Sync() error
	// Preallocate takes disk space for the first size bytes, which read as zeros where nothing was
	// written. The file gets at least that size.
	Preallocate(size int64) error
	// Truncate gives the file its size. Making it smaller needs no space.
	Truncate(size int64) error
	Size() (int64, error)
	Close() error
}

// Mode is how a file is opened.
type Mode uint8

// What may be done with a file.
const (
	Read   Mode = 0
	Write  Mode = 1 << 0
	Create Mode = 1<<1 | Write
)

// ReadFile gives all of a file.
func ReadFile(f FS, path string) ([]byte, error) {
	file, err := f.Open(path, Read)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	size, err := file.Size()
	if err != nil {
		return nil, err
	}
	b := make([]byte, size)
	if n, err := file.ReadAt(b, 0); n < len(b) {
		return b[:n], err
	}
	return b, nil
}

// ReplaceFile puts b in the place of the file at path, in dir: after a crash either is there, whole.
func ReplaceFile(f FS, dir, path string, b []byte) error {
	temporary := path + TemporarySuffix
	file, err := f.Open(temporary, Create)
	if err != nil {
		return err
	}
	_, err = file.WriteAt(b, 0)
	if err == nil {
		err = file.Truncate(int64(len(b)))
	}
	if err == nil {
		err = file.Sync()
	}
	if closing := file.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = f.Rename(temporary, path)
	}
	if err != nil {
		_ = f.Unlink(temporary)
		return err
	}
	return f.SyncDir(dir)
}

// TemporarySuffix ends the names of files that are not finished. They hold nothing that is not
// elsewhere.
const TemporarySuffix = ".tmp"

// Exists says whether there is something at path.
func Exists(f FS, path string) (bool, error) {
	file, err := f.Open(path, Read)
	switch {
	case err == nil:
		return true, file.Close()
	case isNotExist(err):
		return false, nil
	}
	return false, err
}

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }

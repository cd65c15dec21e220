// Package disk is the narrow interface between the embedded store and the file system. It has only
// what the store needs. OS is the real file system. Package memdisk is one in memory for tests,
// with faults, torn writes and power cuts.
package disk

import (
	"errors"
	"io"
	"io/fs"

	"tempestd/internal/crashpoint"
)

// ErrNotRegular is the error of opening what is no regular file: a directory, a pipe, a device.
var ErrNotRegular = errors.New("it is not a regular file")

// FS is a file system. Paths are absolute or relative to the process, with "/" between their parts.
// Errors are the system's: they match fs.ErrNotExist, syscall.ENOSPC, syscall.EIO and so on. FS is
// safe for concurrent use.
type FS interface {
	// Open opens a file for reading and, with Write, for writing. With Create it creates a missing
	// file. A created file is durable when SyncDir was called. The error for anything but a regular
	// file matches ErrNotRegular.
	Open(path string, mode Mode) (File, error)
	// Rename replaces the file at to. It is durable when SyncDir was called.
	Rename(from, to string) error
	// Unlink removes a file. It can still be read where it is open.
	Unlink(path string) error
	// List returns the sorted names in a directory. For a missing directory the error matches
	// fs.ErrNotExist.
	List(dir string) ([]string, error)
	// MakeDir creates a directory and its missing parents, durably.
	MakeDir(dir string) error
	// SyncDir makes the creations, renames and removals in a directory durable.
	SyncDir(dir string) error
	// Free returns how many bytes this process may still write to the file system of dir.
	Free(dir string) (uint64, error)
}

// Linker is a file system that can give a file a second name. It is used where a copy would do as
// well.
type Linker interface {
	Link(from, to string) error
}

// File is an open file. ReadAt and WriteAt are pread and pwrite. It is safe for concurrent use.
type File interface {
	io.ReaderAt
	io.WriterAt
	// Sync returns when everything that was written is on disk (fdatasync).
	Sync() error
	// Preallocate allocates disk space for the first size bytes. Bytes that were not written read
	// as zeros. The file gets at least that size.
	Preallocate(size int64) error
	// Truncate sets the size of the file. Making it smaller needs no space.
	Truncate(size int64) error
	Size() (int64, error)
	Close() error
}

// Mode is how a file is opened.
type Mode uint8

// The modes of Open.
const (
	Read   Mode = 0
	Write  Mode = 1 << 0
	Create Mode = 1<<1 | Write
)

// ReadFile returns the whole content of a file.
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

// ReplaceFile replaces the file at path, which is in dir, by one with the content b. After a crash
// the old or the new file is there, whole.
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
		crashpoint.Pass(crashpoint.FileReplace)
		err = f.Rename(temporary, path)
	}
	if err != nil {
		_ = f.Unlink(temporary)
		return err
	}
	crashpoint.Pass(crashpoint.FileReplaced)
	return f.SyncDir(dir)
}

// TemporarySuffix is the end of the names of unfinished files. Their data is also elsewhere, so
// they may be removed.
const TemporarySuffix = ".tmp"

// Exists reports whether there is a file at path.
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

package disk

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Sync is fdatasync: the times of a file do not matter.
func (f osFile) Sync() error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if !errors.Is(err, unix.EINTR) {
			return pathError("fdatasync", f.File, err)
		}
	}
}

// Preallocate is fallocate. On a file system without fallocate it only sets the file's size. There
// a full disk is only noticed when writing.
func (f osFile) Preallocate(size int64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), 0, 0, size)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
			return extend(f, size)
		}
		return pathError("fallocate", f.File, err)
	}
}

func pathError(op string, f *os.File, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: op, Path: f.Name(), Err: err}
}

package embedded

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// keepBlocks allocates disk blocks for a file and keeps its length. If the file system cannot do
// that, nothing is allocated and there is no error.
func keepBlocks(f *os.File, size int64) error {
	err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return nil
	}
	return err
}

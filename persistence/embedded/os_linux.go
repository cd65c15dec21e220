package embedded

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// keepBlocks takes disk blocks for a file and leaves its length. A file system that cannot do that
// leaves it to luck.
func keepBlocks(f *os.File, size int64) error {
	err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return nil
	}
	return err
}

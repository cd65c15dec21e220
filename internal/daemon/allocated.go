//go:build unix

package daemon

import (
	"io/fs"
	"syscall"
)

// allocated returns the bytes that a file takes on the disk. Badger's files and the segment that is
// being written have holes, or space that was taken ahead.
func allocated(info fs.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int64(st.Blocks) * 512
	}
	return info.Size()
}

package daemon

import (
	"math"

	"golang.org/x/sys/unix"
)

// openFiles returns how many files this process may have open. The Go runtime has raised the soft
// limit to the hard one.
func openFiles() uint64 {
	var files unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &files) != nil {
		return math.MaxUint64
	}
	return uint64(files.Cur)
}

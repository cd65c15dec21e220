package persistence

import (
	"bytes"
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// releaseResident lets the kernel take back the pages of Badger's files under dir. Badger maps them all, and every page it has written or
// read since it opened counts as resident, long after it is on disk: gigabytes after a day, for which a memory limit would kill us.
//
// MADV_PAGEOUT is only advice, whatever the range has become since the mappings were listed, and nothing is lost: what is needed again
// is read again. Kernels that do not know it refuse it, and the pages stay.
func releaseResident(dir string) {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return
	}
	prefix := []byte(" " + dir + "/")
	for line := range bytes.Lines(maps) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		if !bytes.Contains(line, prefix) || !bytes.HasSuffix(line, []byte(".vlog")) && !bytes.HasSuffix(line, []byte(".sst")) {
			continue
		}
		span, _, _ := bytes.Cut(line, []byte(" "))
		from, to, _ := bytes.Cut(span, []byte("-"))
		start, err1 := strconv.ParseUint(string(from), 16, 64)
		end, err2 := strconv.ParseUint(string(to), 16, 64)
		if err1 == nil && err2 == nil && end > start {
			_, _, _ = unix.Syscall(unix.SYS_MADVISE, uintptr(start), uintptr(end-start), unix.MADV_PAGEOUT)
		}
	}
}

// allocate gives the first size bytes of a file their disk blocks. The file keeps its length and what it holds. A file system that
// cannot do that leaves it to the space guard alone.
func allocate(f *os.File, size int64) error {
	err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return nil
	}
	return err
}

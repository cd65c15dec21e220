package integration_test

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// tied makes a process end together with the test that started it, also when the test is killed
// before its cleanup.
func tied() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// allocate reserves disk space for a file without writing to it.
func allocate(f *os.File, size int64) error { return unix.Fallocate(int(f.Fd()), 0, 0, size) }

//go:build !linux

package integration_test

import (
	"errors"
	"os"
	"syscall"
)

// tied has no way to make a process end with the test that started it.
func tied() *syscall.SysProcAttr { return nil }

// allocate has no way to take disk space without writing to it.
func allocate(*os.File, int64) error { return errors.ErrUnsupported }

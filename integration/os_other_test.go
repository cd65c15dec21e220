//go:build !linux

package integration_test

import (
	"errors"
	"os"
	"syscall"
)

// tied does nothing: this system cannot end a process together with the test that started it.
func tied() *syscall.SysProcAttr { return nil }

// allocate fails: this system cannot reserve disk space without writing to it.
func allocate(*os.File, int64) error { return errors.ErrUnsupported }

//go:build !linux

package integration_test

import "syscall"

// tied has no way to make a process end with the test that started it.
func tied() *syscall.SysProcAttr { return nil }

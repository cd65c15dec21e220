package integration_test

import "syscall"

// tied makes a process end with the test that started it, should that be killed before its cleanup.
func tied() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

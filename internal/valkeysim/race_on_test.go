//go:build race

package valkeysim_test

// racing says that the race detector runs. The contract has its own run under it, with real servers.
const racing = true

//go:build !race

package valkeysim_test

const racing = false

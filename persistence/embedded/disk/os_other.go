//go:build !linux

package disk

// Preallocate gives the file its size alone: a full disk is met when writing.
func (f osFile) Preallocate(size int64) error { return extend(f, size) }

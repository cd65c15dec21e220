//go:build !linux

package disk

// Preallocate only sets the file's size. A full disk is only noticed when writing.
func (f osFile) Preallocate(size int64) error { return extend(f, size) }

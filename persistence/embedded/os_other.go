//go:build !linux

package embedded

import "os"

// keepBlocks does nothing: only Linux can allocate blocks beyond a file's length.
func keepBlocks(*os.File, int64) error { return nil }

//go:build !linux

package embedded

import "os"

// keepBlocks is left to luck.
func keepBlocks(*os.File, int64) error { return nil }

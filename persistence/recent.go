package persistence

// Bounds of the recent entries that a store keeps in memory per stream, for tails at the tip (I5).
const (
	RecentBytes = 6 << 20
	// RecentIdle is how long the recent entries are kept after the last tail. A stream without
	// tails costs neither the copy nor the memory.
	RecentIdle = 2 * MaxBlock
)

package persistence

// What a store keeps of a stream's recent entries for tails at the tip (I5).
const (
	RecentBytes = 6 << 20
	// RecentIdle is for how long after the last tail they are still kept: a stream that nobody
	// follows pays neither the copy nor the memory.
	RecentIdle = 2 * MaxBlock
)

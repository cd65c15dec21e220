package dedupe

import "slices"

// The set of recent fingerprints: 512 KiB, which a core's second cache holds.
const (
	recentEvents = 1 << 16 // about how many of the newest fingerprints it remembers
	bucketSize   = 8       // fingerprints in a cache line
)

// recent remembers about the newest fingerprints. Each has one bucket it can be in, of one cache line, in which it displaces the oldest.
type recent struct {
	buckets [][bucketSize]uint64
}

func newRecent() *recent {
	return &recent{buckets: make([][bucketSize]uint64, recentEvents/bucketSize)}
}

// seen adds the fingerprint and says whether it was there. Of the fingerprint 0 it says so wrongly.
func (r *recent) seen(fingerprint uint64) bool {
	b := &r.buckets[fingerprint%uint64(len(r.buckets))]
	if slices.Contains(b[:], fingerprint) {
		return true
	}
	copy(b[1:], b[:bucketSize-1])
	b[0] = fingerprint
	return false
}

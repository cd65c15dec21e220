package dedupe

import "slices"

// Sizes of the set of recent fingerprints. It begins small and grows with its contents, up to 8
// MiB.
const (
	leastRecent = 1 << 13 // room at first, in fingerprints
	// This is the room at most: hours of the whole network, while a server repeats minutes.
	mostRecent = 1 << 20
	bucketSize = 8 // fingerprints in a cache line
)

// recent has approximately the newest fingerprints. Each fingerprint belongs to one bucket, of one
// cache line, and displaces the oldest one in it. The lookups of one batch do not depend on each
// other, so the processor can wait for several cache lines at a time.
type recent struct {
	buckets [][bucketSize]uint64
	mask    uint64
	added   int
}

func newRecent() *recent {
	n := leastRecent / bucketSize
	return &recent{buckets: make([][bucketSize]uint64, n), mask: uint64(n - 1)}
}

// room makes room for n more; call it once per batch.
func (r *recent) room(n int) {
	for r.added += n; r.added > len(r.buckets)*bucketSize/2 && len(r.buckets)*bucketSize < mostRecent; {
		r.grow()
	}
}

// grow doubles the set: the fingerprints of each bucket go to two buckets.
func (r *recent) grow() {
	old := len(r.buckets)
	buckets := make([][bucketSize]uint64, 2*old)
	for i := range r.buckets {
		low, high := &buckets[i], &buckets[i+old]
		nl, nh := 0, 0
		for _, fp := range r.buckets[i] {
			switch {
			case fp == 0:
			case fp&uint64(old) == 0:
				low[nl] = fp
				nl++
			default:
				high[nh] = fp
				nh++
			}
		}
	}
	r.buckets, r.mask = buckets, uint64(2*old-1)
}

// seen adds the fingerprint and says whether it was there. For the fingerprint 0 it may say so
// wrongly.
func (r *recent) seen(fingerprint uint64) bool {
	b := &r.buckets[fingerprint&r.mask]
	if slices.Contains(b[:], fingerprint) {
		return true
	}
	copy(b[1:], b[:bucketSize-1])
	b[0] = fingerprint
	return false
}

// seed adds fingerprints, where there is room. They must be older than everything that was added
// before.
func (r *recent) seed(fingerprints []uint64) {
	if r.added >= mostRecent/2 {
		return
	}
	r.room(len(fingerprints))
	for _, fp := range fingerprints {
		b := &r.buckets[fp&r.mask]
		if slices.Contains(b[:], fp) {
			continue
		}
		if i := slices.Index(b[:], 0); i >= 0 {
			b[i] = fp
		}
	}
}

package jetsim

import (
	"fmt"
	"io"
	"iter"
	"math/bits"
	"os"
	"sort"
)

// History is a snapshot of the ground truth: everything that a server had ingested at that moment.
// It is safe for concurrent use.
type History struct {
	net    *network
	log    ingestLog
	legacy bool
	host   string // the server's address, "" if unknown
}

// OpenHistory reads the history file at path. A running simulator may be writing to it. The file
// records what Forget dropped, but not what has become too old for the server's lookback.
func OpenHistory(path string) (*History, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("jetsim: %w", err)
	}
	defer f.Close()
	head := make([]byte, headerSize)
	n, _ := io.ReadFull(f, head) // decodeHeader reports a short header
	h, err := decodeHeader(head[:n])
	if err != nil {
		return nil, fmt.Errorf("jetsim: history %s: %w", path, err)
	}
	log, marks, _, err := readLog(f)
	if err != nil {
		return nil, fmt.Errorf("jetsim: history %s: %w", path, err)
	}
	made := h.made()
	made.load(marks, log.contents)
	return &History{net: newNetwork(h.seed, int(h.accounts), h.syncs, h.archived, made), log: log, legacy: h.legacy}, nil
}

func (h *History) seqOnWire(r *record) int64 {
	if h.legacy {
		return 0
	}
	return r.seq
}

// generation returns the generation of the version at index.
func (h *History) generation(index int) int {
	return sort.SearchInts(h.log.generations, index+1) - 1
}

// expected yields, in log order, one version of every content that a subscription must get if it
// begins with the version at first: the rest of the generation of first, and the contents that
// later generations ingested for the first time.
func (h *History) expected(first int) iter.Seq[int] {
	return func(yield func(int) bool) {
		end := h.log.n
		if own := h.generation(first); own+1 < len(h.log.generations) {
			end = h.log.generations[own+1]
		}
		known := newBitset(h.log.contents)
		for i := range end {
			known.set(h.log.at(i).num)
		}
		for i := first; i < h.log.n; i++ {
			if i >= end && known.set(h.log.at(i).num) {
				continue
			}
			if !yield(i) {
				return
			}
		}
	}
}

// bitset is a set of content numbers.
type bitset []uint64

// newBitset returns a set with room for the numbers from 0 to n.
func newBitset(n int64) bitset { return make(bitset, n/64+1) }

// set adds i and reports whether i was in the set before.
func (b bitset) set(i int64) bool {
	had := b.has(i)
	b[i/64] |= 1 << (i % 64)
	return had
}

func (b bitset) has(i int64) bool { return b[i/64]>>(i%64)&1 != 0 }

func (b bitset) count() (n int64) {
	for _, w := range b {
		n += int64(bits.OnesCount64(w))
	}
	return n
}

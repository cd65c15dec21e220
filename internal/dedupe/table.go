package dedupe

import (
	"math/bits"
	"sort"

	"tempestd/messages"
)

// table finds the places of the entries that have a fingerprint. It is open-addressed, without deletion but for the newest insertions, and flat: 8
// bytes of fingerprint and 4 of place a slot, four slots for three entries. Several entries may have one fingerprint. A slot follows from the
// fingerprint's high bits, so that the table may have any size.
type table struct {
	fingerprints []uint64 // 0 is a free slot
	places       []uint32 // what the slot of the same index stands for
	used, limit  int

	blocks []block // in the order of their numbers
	next   uint32  // the number of the next entry
}

// block is one block of the stream. Its entries are numbered on from first.
type block struct {
	first uint32
	last  messages.EntryID
}

// A place is the number of a stored entry or, with this bit, the index of an event in the batch that is being marked.
const inBatch = 1 << 31

func newTable(limit int) *table {
	slots := limit + limit/3 + 8 // a free one at least, which is where a search ends
	return &table{fingerprints: make([]uint64, slots), places: make([]uint32, slots), limit: limit}
}

// room says whether n more fit.
func (t *table) room(n int) bool {
	return t.used+n <= t.limit && uint64(t.next)+uint64(n) < inBatch
}

// slotKey is the fingerprint as a slot holds it: 0, which is a free slot, becomes 1. They share their hits, and a hit is confirmed.
func slotKey(fingerprint uint64) uint64 { return max(fingerprint, 1) }

// first is the slot to begin a search at.
func (t *table) first(key uint64) int {
	slot, _ := bits.Mul64(key, uint64(len(t.fingerprints)))
	return int(slot)
}

// find returns the first slot at or after slot that holds key, or the free slot where the search ends.
func (t *table) find(key uint64, slot int) (at int, found bool) {
	for {
		switch t.fingerprints[slot] {
		case key:
			return slot, true
		case 0:
			return slot, false
		}
		slot = t.after(slot)
	}
}

func (t *table) after(slot int) int {
	if slot++; slot == len(t.fingerprints) {
		return 0
	}
	return slot
}

// set fills a free slot that find ended at.
func (t *table) set(slot int, key uint64, place uint32) {
	t.fingerprints[slot], t.places[slot] = key, place
	t.used++
}

// free undoes the newest set. Undoing in reverse leaves the table as it was.
func (t *table) free(slot int) {
	t.fingerprints[slot] = 0
	t.used--
}

// addBlock numbers the n entries of the block that ends with last, and returns the first one's number.
func (t *table) addBlock(last messages.EntryID, n int) uint32 {
	first := t.next
	t.blocks = append(t.blocks, block{first: first, last: last})
	t.next += uint32(n)
	return first
}

// load adds a stored block, entries that do not fit left out.
func (t *table) load(last messages.EntryID, fingerprints []uint64) {
	first := t.addBlock(last, len(fingerprints))
	for i, fp := range fingerprints {
		if t.used == t.limit {
			return
		}
		key := slotKey(fp)
		slot := t.first(key)
		for t.fingerprints[slot] != 0 {
			slot = t.after(slot)
		}
		t.set(slot, key, first+uint32(i))
	}
}

// entry names the stored entry with the given number: its block's last ID and its index there.
func (t *table) entry(number uint32) (last messages.EntryID, i int) {
	b := sort.Search(len(t.blocks), func(i int) bool { return t.blocks[i].first > number }) - 1
	return t.blocks[b].last, int(number - t.blocks[b].first)
}

// older is how many of the loaded entries are older than the one with the given number: blocks were loaded newest first.
func (t *table) older(number, loaded uint32) uint32 {
	b := sort.Search(len(t.blocks), func(i int) bool { return t.blocks[i].first > number }) - 1
	end := loaded
	if b+1 < len(t.blocks) && t.blocks[b+1].first < loaded {
		end = t.blocks[b+1].first
	}
	return loaded - end + number - t.blocks[b].first
}

package dedupe

import (
	"math/bits"
	"sort"

	"tempestd/messages"
	"tempestd/persistence"
)

// table finds the entries that have a fingerprint. It is an open-addressed hash table
// that can only delete the newest insertions. It is flat: a slot has 8 bytes of fingerprint and 4
// of reference, and there are four slots for three entries. Several entries may have the same
// fingerprint. The slot is computed from the high bits of the fingerprint, so the table may have
// any size.
type table struct {
	fingerprints []uint64 // 0 is a free slot
	refs         []uint32 // refers to the entry of the slot with the same index
	used, limit  int

	blocks []block // ordered by their entries' numbers
	next   uint32  // the number of the next entry
}

// block is one block of the stream. Its entries are numbered consecutively from first.
type block struct {
	first uint32
	last  messages.EntryID
}

// inBatch marks a reference that is the index of an event in the batch that is being marked. Any
// other reference is the number of a stored entry.
const inBatch = 1 << 31

func newTable(limit int) *table {
	slots := limit + limit/3 + 8 // at least one is free: a search ends there
	return &table{fingerprints: make([]uint64, slots), refs: make([]uint32, slots), limit: limit}
}

// room says whether n more fit.
func (t *table) room(n int) bool {
	return t.used+n <= t.limit && uint64(t.next)+uint64(n) < inBatch
}

// roomFor returns a table with the same contents and room for n more: t, or one that is larger.
func (t *table) roomFor(n int) *table {
	if t.used+n <= t.limit {
		return t
	}
	larger := newTable(max(2*t.limit, t.used+n))
	larger.blocks, larger.next = t.blocks, t.next
	for i, key := range t.fingerprints {
		if key == 0 {
			continue
		}
		slot := larger.first(key)
		for larger.fingerprints[slot] != 0 {
			slot = larger.after(slot)
		}
		larger.set(slot, key, t.refs[i])
	}
	return larger
}

// number numbers the stored events of a batch, and calls each with an event's index and number.
func (t *table) number(b *messages.Batch, a persistence.Appended, each func(i int, number uint32)) {
	if a.Entries == 0 {
		return
	}
	blocks := blocksOf(a)
	left, number := 0, uint32(0)
	for i := range b.Events {
		if b.Events[i].Drop {
			continue
		}
		for left == 0 {
			if len(blocks) == 0 {
				return
			}
			number, left = t.addBlock(blocks[0].Last, blocks[0].Entries), blocks[0].Entries
			blocks = blocks[1:]
		}
		each(i, number)
		left--
		number++
	}
}

// slotKey returns the fingerprint as a slot has it: 0, which means a free slot, becomes 1. So 0 and
// 1 have the same hits, which does no harm because each hit is confirmed.
func slotKey(fingerprint uint64) uint64 { return max(fingerprint, 1) }

// first returns the slot where a search begins.
func (t *table) first(key uint64) int {
	slot, _ := bits.Mul64(key, uint64(len(t.fingerprints)))
	return int(slot)
}

// find returns the first slot at or after slot that has the key, or the free slot where the search
// ends.
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

// set fills a free slot, which find returned.
func (t *table) set(slot int, key uint64, ref uint32) {
	t.fingerprints[slot], t.refs[slot] = key, ref
	t.used++
}

// free undoes the newest set. To undo several sets in reverse order restores the table.
func (t *table) free(slot int) {
	t.fingerprints[slot] = 0
	t.used--
}

// addBlock numbers the n entries of the block that ends with last, and returns the number of the
// first.
func (t *table) addBlock(last messages.EntryID, n int) uint32 {
	first := t.next
	t.blocks = append(t.blocks, block{first: first, last: last})
	t.next += uint32(n)
	return first
}

// load adds a stored block. Entries that do not fit are left out.
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

// entry returns the stored entry with the given number: its block's last ID and its index in the
// block.
func (t *table) entry(number uint32) (last messages.EntryID, i int) {
	b := sort.Search(len(t.blocks), func(i int) bool { return t.blocks[i].first > number }) - 1
	return t.blocks[b].last, int(number - t.blocks[b].first)
}

// older returns how many of the loaded entries are older than the one with the given number. Blocks
// were loaded newest first.
func (t *table) older(number, loaded uint32) uint32 {
	b := sort.Search(len(t.blocks), func(i int) bool { return t.blocks[i].first > number }) - 1
	end := loaded
	if b+1 < len(t.blocks) && t.blocks[b+1].first < loaded {
		end = t.blocks[b+1].first
	}
	return loaded - end + number - t.blocks[b].first
}

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
//
// A table that grows beside live events gets another part, because to move millions of entries takes
// longer than a live event may wait. A search visits all parts; what is added goes to the last one.
type table struct {
	parts       []part
	used, limit int // of all parts

	blocks []block // ordered by their entries' numbers
	next   uint32  // the number of the next entry
}

// part is one of a table's flat parts.
type part struct {
	fingerprints []uint64 // 0 is a free slot
	refs         []uint32 // refers to the entry of the slot with the same index
}

// slot is a place in a table.
type slot struct{ part, i int }

// block is one block of the stream. Its entries are numbered consecutively from first.
type block struct {
	first uint32
	last  messages.EntryID
}

// inBatch marks a reference that is the index of an event in the batch that is being marked. Any
// other reference is the number of a stored entry.
const inBatch = 1 << 31

func newTable(limit int) *table {
	t := &table{}
	t.extend(limit)
	return t
}

// extend adds a part with room for n entries. No entry may be freed afterwards that was set before.
func (t *table) extend(n int) {
	slots := n + n/3 + 8 // at least one is free: a search ends there
	t.parts = append(t.parts, part{fingerprints: make([]uint64, slots), refs: make([]uint32, slots)})
	t.limit = t.used + n
}

// room says whether n more fit.
func (t *table) room(n int) bool {
	return t.used+n <= t.limit && uint64(t.next)+uint64(n) < inBatch
}

// makeRoom extends the table if n more do not fit. The table may have most entries in all; with
// more, makeRoom says no.
func (t *table) makeRoom(n, most int) bool {
	if t.room(n) {
		return true
	}
	more := min(max(t.used, minRoom, n), most-t.used)
	if more < n || uint64(t.next)+uint64(n) >= inBatch {
		return false
	}
	t.extend(more)
	return true
}

// moved returns a table with the same contents and room for n more, in one part: t, or one that is
// larger.
func (t *table) moved(n int) *table {
	if t.used+n <= t.limit {
		return t
	}
	larger := newTable(max(2*t.limit, t.used+n))
	larger.blocks, larger.next = t.blocks, t.next
	for _, p := range t.parts {
		for i, key := range p.fingerprints {
			if key != 0 {
				larger.add(key, p.refs[i])
			}
		}
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

// begin returns the slot of a part where a search begins.
func (p *part) begin(key uint64) int {
	i, _ := bits.Mul64(key, uint64(len(p.fingerprints)))
	return int(i)
}

func (p *part) after(i int) int {
	if i++; i == len(p.fingerprints) {
		return 0
	}
	return i
}

// first returns the slot where a search begins.
func (t *table) first(key uint64) slot { return slot{0, t.parts[0].begin(key)} }

// find returns the first slot at or after at that has the key, or the free slot where the search
// ends.
func (t *table) find(key uint64, at slot) (_ slot, found bool) {
	for {
		p := &t.parts[at.part]
		for i := at.i; ; i = p.after(i) {
			if v := p.fingerprints[i]; v == key {
				return slot{at.part, i}, true
			} else if v == 0 {
				at.i = i
				break
			}
		}
		if at.part == len(t.parts)-1 {
			return at, false
		}
		at.part++
		at.i = t.parts[at.part].begin(key)
	}
}

func (t *table) after(at slot) slot { return slot{at.part, t.parts[at.part].after(at.i)} }

// ref returns the reference of a slot.
func (t *table) ref(at slot) uint32 { return t.parts[at.part].refs[at.i] }

// refer changes the reference of a slot.
func (t *table) refer(at slot, ref uint32) { t.parts[at.part].refs[at.i] = ref }

// set fills a free slot, which find returned.
func (t *table) set(at slot, key uint64, ref uint32) {
	p := &t.parts[at.part]
	p.fingerprints[at.i], p.refs[at.i] = key, ref
	t.used++
}

// add adds an entry, whether or not another one has its key.
func (t *table) add(key uint64, ref uint32) {
	t.parts[len(t.parts)-1].add(key, ref)
	t.used++
}

func (p *part) add(key uint64, ref uint32) {
	i := p.begin(key)
	for p.fingerprints[i] != 0 {
		i = p.after(i)
	}
	p.fingerprints[i], p.refs[i] = key, ref
}

// free undoes the newest set. To undo several sets in reverse order restores the table.
func (t *table) free(at slot) {
	t.parts[at.part].fingerprints[at.i] = 0
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
	p := &t.parts[len(t.parts)-1]
	for i, fp := range fingerprints[:min(len(fingerprints), t.limit-t.used)] {
		p.add(slotKey(fp), first+uint32(i))
		t.used++
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

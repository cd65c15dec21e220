package jss

import (
	"encoding/binary"
	"fmt"
)

// MaxRows bounds the rows of a block. Servers close a block at 4096.
const MaxRows = 1 << 18

// Kind is what a row records.
type Kind uint8

// The kinds of rows. Resync is a record that the server found when it read a repository anew; its
// socket sends it as a creation.
const (
	Create Kind = 1 + iota
	Update
	Delete
	Identity
	Account
	Sync
	Resync
)

// Commit says whether the row is about a record.
func (k Kind) Commit() bool { return k <= Delete || k == Resync }

// Row is one event. Its bytes are parts of the block.
type Row struct {
	Seq         uint64
	WitnessedUS int64 // when the server saw the event, Unix µs
	IndexedUS   int64 // the event's own time where it has another, Unix µs; else 0
	Kind        Kind
	Collection  []byte // of a commit, as Key and Rev
	DID         []byte
	Key         []byte
	Rev         []byte
	Payload     []byte // DAG-CBOR: the record of a Create, Update or Resync; the message of an Identity, Account or Sync
}

// The columns, in their order, by the bytes that a row takes in each.
const (
	colSeq         = 0
	colWitnessed   = colSeq + 8
	colIndexed     = colWitnessed + 8
	colKind        = colIndexed + 8
	colCollection  = colKind + 1
	colDID         = colCollection + 1
	colKey         = colDID + 2
	colRev         = colKey + 1
	colPayload     = colRev + 1
	rowSize        = colPayload + 4
	blockCountSize = 4
)

// Block iterates over the rows of a decompressed block, in their order. The zero Block has none.
type Block struct {
	raw []byte
	n   int
	row int
	at  [5]int // where the next row's collection, DID, key, rev and payload begin
}

// ParseBlock checks that a decompressed block is complete: that its lengths add up to its size, that
// sequence numbers rise and that every kind is known. raw must not change while the Block is used.
func ParseBlock(raw []byte) (Block, error) {
	if len(raw) < blockCountSize {
		return Block{}, corrupt("a block of %d bytes", len(raw))
	}
	count := binary.LittleEndian.Uint32(raw)
	if count > MaxRows {
		return Block{}, corrupt("a block of %d rows, more than %d", count, MaxRows)
	}
	b := Block{raw: raw, n: int(count)}
	size := blockCountSize + b.n*rowSize
	if len(raw) < size {
		return Block{}, corrupt("a block of %d bytes has %d rows, which take %d", len(raw), b.n, size)
	}
	var areas [5]uint64
	for i := range b.n {
		for area, n := range b.lengths(i) {
			areas[area] += uint64(n)
		}
	}
	at := uint64(size)
	for area, n := range areas {
		b.at[area] = int(at)
		at += n // 2^18 rows of 4 GiB do not overflow it
	}
	if at != uint64(len(raw)) {
		return Block{}, corrupt("a block of %d bytes, its columns announce %d", len(raw), at)
	}
	for i := range b.n {
		if i > 0 && b.u64(colSeq, i) <= b.u64(colSeq, i-1) {
			return Block{}, corrupt("row %d has the sequence number %d, the one before it %d", i, b.u64(colSeq, i), b.u64(colSeq, i-1))
		}
		if k := Kind(b.u8(colKind, i)); k < Create || k > Resync {
			return Block{}, fmt.Errorf("row %d has the kind %d: %w, which knows %d to %d", i, k, ErrUnknown, Create, Resync)
		}
	}
	return b, nil
}

// Within checks that the block has as many rows as its index says, and no number outside the range.
func (b *Block) Within(i *BlockInfo) error {
	if b.n != int(i.Events) {
		return corrupt("a block of %d rows, its index says %d", b.n, i.Events)
	}
	if first, last := b.Bounds(); b.n > 0 && (first < i.MinSeq || last > i.MaxSeq) {
		return corrupt("a block with the sequence numbers %d to %d, its index says %d to %d", first, last, i.MinSeq, i.MaxSeq)
	}
	return nil
}

// Bounds are the sequence numbers of the first and the last row, 0 where there is none.
func (b *Block) Bounds() (first, last uint64) {
	if b.n == 0 {
		return 0, 0
	}
	return b.u64(colSeq, 0), b.u64(colSeq, b.n-1)
}

// Len is how many rows the block has.
func (b *Block) Len() int { return b.n }

// Next reads the next row into r. It returns false after the last one.
func (b *Block) Next(r *Row) bool {
	i := b.row
	if i >= b.n {
		return false
	}
	b.row++
	*r = Row{
		Seq:         b.u64(colSeq, i),
		WitnessedUS: int64(b.u64(colWitnessed, i)),
		IndexedUS:   int64(b.u64(colIndexed, i)),
		Kind:        Kind(b.u8(colKind, i)),
	}
	lengths := b.lengths(i)
	for area, field := range [5]*[]byte{&r.Collection, &r.DID, &r.Key, &r.Rev, &r.Payload} {
		end := b.at[area] + lengths[area]
		*field = b.raw[b.at[area]:end:end]
		b.at[area] = end
	}
	return true
}

// lengths are those of a row's collection, DID, key, rev and payload.
func (b *Block) lengths(i int) [5]int {
	return [5]int{
		int(b.u8(colCollection, i)),
		int(binary.LittleEndian.Uint16(b.raw[b.cell(colDID, 2, i):])),
		int(b.u8(colKey, i)),
		int(b.u8(colRev, i)),
		int(binary.LittleEndian.Uint32(b.raw[b.cell(colPayload, 4, i):])),
	}
}

// cell is where row i of a column is; column is what a row takes in the columns before it.
func (b *Block) cell(column, size, i int) int { return blockCountSize + column*b.n + size*i }

func (b *Block) u8(column, i int) byte { return b.raw[b.cell(column, 1, i)] }

func (b *Block) u64(column, i int) uint64 {
	return binary.LittleEndian.Uint64(b.raw[b.cell(column, 8, i):])
}

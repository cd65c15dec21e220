package jss

import (
	"encoding/binary"
	"slices"

	"github.com/klauspost/compress/zstd"
)

// AppendBlock appends the block of some rows, as it is before compression. Fields that are too long
// for their column panic: the caller made them.
func AppendBlock(dst []byte, rows []Row) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint32(dst, uint32(len(rows)))
	each := func(column func(r *Row)) {
		for i := range rows {
			column(&rows[i])
		}
	}
	short := func(b []byte, most int) int {
		if len(b) > most {
			panic("jss: a field that is too long for its column")
		}
		return len(b)
	}
	each(func(r *Row) { dst = le.AppendUint64(dst, r.Seq) })
	each(func(r *Row) { dst = le.AppendUint64(dst, uint64(r.WitnessedUS)) })
	each(func(r *Row) { dst = le.AppendUint64(dst, uint64(r.IndexedUS)) })
	each(func(r *Row) { dst = append(dst, byte(r.Kind)) })
	each(func(r *Row) { dst = append(dst, byte(short(r.Collection, 0xff))) })
	each(func(r *Row) { dst = le.AppendUint16(dst, uint16(short(r.DID, 0xffff))) })
	each(func(r *Row) { dst = append(dst, byte(short(r.Key, 0xff))) })
	each(func(r *Row) { dst = append(dst, byte(short(r.Rev, 0xff))) })
	each(func(r *Row) { dst = le.AppendUint32(dst, uint32(len(r.Payload))) })
	for _, area := range []func(r *Row) []byte{
		func(r *Row) []byte { return r.Collection },
		func(r *Row) []byte { return r.DID },
		func(r *Row) []byte { return r.Key },
		func(r *Row) []byte { return r.Rev },
		func(r *Row) []byte { return r.Payload },
	} {
		each(func(r *Row) { dst = append(dst, area(r)...) })
	}
	return dst
}

// NewCompressor returns an encoder that packs blocks into frames like a server's: single, with length
// and checksum.
func NewCompressor() (*zstd.Encoder, error) {
	return zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(true), zstd.WithSingleSegment(true))
}

// Build makes a sealed segment of blocks of rows. Its blooms and its index of collections are empty:
// a reader with a plan needs neither.
func Build(enc *zstd.Encoder, blocks [][]Row) []byte {
	b := NewBuilder(enc)
	for _, rows := range blocks {
		b.Add(rows)
	}
	return b.Seal(nil)
}

// Builder makes a sealed segment block by block. It is not safe for concurrent use.
type Builder struct {
	enc         *zstd.Encoder
	h           Header
	file, index []byte
	raw, frame  []byte
}

// NewBuilder begins a segment whose blocks enc packs.
func NewBuilder(enc *zstd.Encoder) *Builder {
	return &Builder{enc: enc, h: Header{MinSeq: 1<<64 - 1}, file: make([]byte, HeaderSize)}
}

// Add adds a block. It keeps none of the rows.
func (b *Builder) Add(rows []Row) {
	le := binary.LittleEndian
	h := &b.h
	b.raw = AppendBlock(b.raw[:0], rows)
	b.frame = b.enc.EncodeAll(b.raw, b.frame[:0])
	i := BlockInfo{Offset: uint64(len(b.file)), Size: uint32(len(b.frame)), RawSize: uint32(len(b.raw)), Events: uint32(len(rows))}
	if len(rows) > 0 {
		i.MinSeq, i.MaxSeq = rows[0].Seq, rows[len(rows)-1].Seq
		witnessed := func(a, b Row) int { return int(a.WitnessedUS - b.WitnessedUS) }
		i.MinWitnessedUS, i.MaxWitnessedUS = slices.MinFunc(rows, witnessed).WitnessedUS, slices.MaxFunc(rows, witnessed).WitnessedUS
		if h.Events == 0 {
			h.MinWitnessedUS = i.MinWitnessedUS
		}
		h.MinSeq, h.MaxSeq = min(h.MinSeq, i.MinSeq), max(h.MaxSeq, i.MaxSeq)
		h.MinWitnessedUS, h.MaxWitnessedUS = min(h.MinWitnessedUS, i.MinWitnessedUS), max(h.MaxWitnessedUS, i.MaxWitnessedUS)
		h.Events += i.Events
	}
	h.Blocks++
	b.file = append(le.AppendUint64(b.file, uint64(len(b.frame))), b.frame...)
	b.index = le.AppendUint64(b.index, i.Offset)
	b.index = le.AppendUint32(b.index, i.Size)
	b.index = le.AppendUint32(b.index, i.RawSize)
	b.index = le.AppendUint32(b.index, i.Events)
	b.index = le.AppendUint64(b.index, i.MinSeq)
	b.index = le.AppendUint64(b.index, i.MaxSeq)
	b.index = le.AppendUint64(b.index, uint64(i.MinWitnessedUS))
	b.index = le.AppendUint64(b.index, uint64(i.MaxWitnessedUS))
}

// Seal ends the segment and returns the file. blooms are the bytes between the block index and the
// index of collections, which is empty.
func (b *Builder) Seal(blooms []byte) []byte {
	h := &b.h
	h.MinSeq = min(h.MinSeq, h.MaxSeq)
	h.IndexOffset = uint64(len(b.file))
	h.AccountBloomOffset = h.IndexOffset + uint64(len(b.index))
	h.BlockBloomOffset = h.AccountBloomOffset
	h.CollectionIndexOffset = h.AccountBloomOffset + uint64(len(blooms))
	file := append(append(b.file, b.index...), blooms...)
	h.put(file[:HeaderSize])
	h.Checksum = checksum(file, file[h.IndexOffset:])
	binary.LittleEndian.PutUint64(file[4:], h.Checksum)
	return file
}

// put writes the header without its checksum.
func (h *Header) put(b []byte) {
	le := binary.LittleEndian
	copy(b, magic)
	le.PutUint16(b[12:], Version)
	for i, v := range []uint32{h.Blocks, h.Events, h.Accounts} {
		le.PutUint32(b[14+4*i:], v)
	}
	for i, v := range []uint64{
		h.MinSeq, h.MaxSeq, uint64(h.MinWitnessedUS), uint64(h.MaxWitnessedUS),
		h.IndexOffset, h.AccountBloomOffset, h.BlockBloomOffset, h.CollectionIndexOffset, h.IndexOffset,
	} {
		le.PutUint64(b[26+8*i:], v)
	}
}

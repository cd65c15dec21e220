package jss_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"tempestd/internal/archive/dagcbor"
	"tempestd/internal/archive/jss"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// rows are n of them, from a number on.
func rows(from uint64, n int) []jss.Row {
	out := make([]jss.Row, n)
	for i := range out {
		seq := from + uint64(i)*3 // with holes
		out[i] = jss.Row{
			Seq: seq, WitnessedUS: int64(1e15 + seq), Kind: jss.Kind(1 + i%7),
			Collection: fmt.Appendf(nil, "app.bsky.feed.post%d", i%3), DID: fmt.Appendf(nil, "did:plc:%024d", i),
			Key: fmt.Appendf(nil, "%013d", seq), Rev: []byte("3migo7fijwi2k"), Payload: bytes.Repeat([]byte{byte(i)}, i%50),
		}
	}
	return out
}

var decompressor = must(jss.NewDecompressor(16 << 20))

// read reads a whole segment, as a reader of a plan does.
func read(file []byte) (jss.Header, [][]jss.Row, error) {
	h, err := jss.ParseHeader(file)
	if err != nil {
		return h, nil, err
	}
	if h.IndexOffset > uint64(len(file)) || h.AccountBloomOffset > uint64(len(file)) {
		return h, nil, fmt.Errorf("%w: cut", jss.ErrCorrupt)
	}
	if err := jss.Verify(file[:jss.HeaderSize], file[h.IndexOffset:]); err != nil {
		return h, nil, err
	}
	infos, err := jss.ParseIndex(&h, file[h.IndexOffset:h.AccountBloomOffset])
	if err != nil {
		return h, nil, err
	}
	var blocks [][]jss.Row
	for _, i := range infos {
		raw, err := decompressor.Unpack(nil, file[i.FrameOffset():][:i.Size])
		if err != nil {
			return h, nil, err
		}
		b, err := jss.ParseBlock(raw)
		if err == nil {
			err = b.Within(&i)
		}
		if err != nil {
			return h, nil, err
		}
		blocks = append(blocks, all(&b))
	}
	return h, blocks, nil
}

func all(b *jss.Block) []jss.Row {
	out := make([]jss.Row, 0, b.Len())
	for row := (jss.Row{}); b.Next(&row); {
		out = append(out, row)
	}
	return out
}

func TestASegmentIsReadAsItWasWritten(t *testing.T) {
	blocks := [][]jss.Row{rows(10, 100), {}, rows(1000, 1), rows(2000, 4096)}
	file := jss.Build(must(jss.NewCompressor()), blocks)
	h, got, err := read(file)
	if err != nil {
		t.Fatal(err)
	}
	if h.Blocks != 4 || h.Events != 4197 || h.MinSeq != 10 || h.MaxSeq != 2000+3*4095 || h.MinWitnessedUS != 1e15+10 {
		t.Errorf("%+v", h)
	}
	for i := range blocks {
		for j := range blocks[i] {
			if want := blocks[i][j]; fmt.Sprint(want) != fmt.Sprint(got[i][j]) {
				t.Fatalf("row %d of block %d is %+v, want %+v", j, i, got[i][j], want)
			}
		}
		if len(got[i]) != len(blocks[i]) {
			t.Errorf("block %d has %d rows", i, len(got[i]))
		}
	}
}

// Every byte of a segment that is flipped, and every place that it is cut at, is noticed.
func TestDamageIsNoticed(t *testing.T) {
	blocks := [][]jss.Row{rows(10, 5), rows(1000, 2)}
	file := jss.Build(must(jss.NewCompressor()), blocks)
	footer := must(jss.ParseHeader(file)).IndexOffset
	for i := range file {
		bad := bytes.Clone(file)
		bad[i] ^= 0x10
		// Header and footer have a checksum for themselves, which also covers what no reader needs.
		if err := jss.Verify(bad[:jss.HeaderSize], bad[footer:]); err == nil && (i < jss.HeaderSize || uint64(i) >= footer) {
			t.Errorf("byte %d of header and footer is another, and nothing is noticed", i)
		}
		// A frame has bits that nobody reads, and its length stands in the index, too.
		if _, got, err := read(bad); err == nil && fmt.Sprint(got) != fmt.Sprint(blocks) {
			t.Errorf("byte %d is another, and nothing is noticed", i)
		}
		if _, _, err := read(file[:i]); err == nil {
			t.Errorf("cut after %d bytes, and nothing is noticed", i)
		}
	}
}

func TestBlocksThatContradictThemselves(t *testing.T) {
	good := jss.AppendBlock(nil, rows(1, 3))
	set := func(at int, b ...byte) []byte {
		raw := bytes.Clone(good)
		copy(raw[at:], b)
		return raw
	}
	const n = 3
	for name, c := range map[string]struct {
		raw  []byte
		kind error
	}{
		"no count":                {nil, jss.ErrCorrupt},
		"as many rows as a u32":   {set(0, 0xff, 0xff, 0xff, 0xff), jss.ErrCorrupt},
		"a row more":              {set(0, 4), jss.ErrCorrupt},
		"a row less":              {set(0, 2), jss.ErrCorrupt},
		"a byte behind it":        {append(bytes.Clone(good), 0), jss.ErrCorrupt},
		"a byte less":             {good[:len(good)-1], jss.ErrCorrupt},
		"a number twice":          {set(4+8, 1), jss.ErrCorrupt},
		"a kind of none":          {set(4+24*n, 0), jss.ErrUnknown},
		"a kind of later":         {set(4+24*n, 8), jss.ErrUnknown},
		"a payload of 4 GiB":      {set(4+30*n, 0xff, 0xff, 0xff, 0xff), jss.ErrCorrupt},
		"a longer collection":     {set(4+25*n, 0xff), jss.ErrCorrupt},
		"columns without content": {good[:4+34*n], jss.ErrCorrupt},
	} {
		if b, err := jss.ParseBlock(c.raw); !errors.Is(err, c.kind) {
			t.Errorf("%s: %d rows, %v", name, b.Len(), err)
		}
	}
	empty, err := jss.ParseBlock(make([]byte, 4))
	if err != nil || empty.Next(new(jss.Row)) {
		t.Errorf("a block that compaction emptied: %v", err)
	}
	b := must(jss.ParseBlock(good))
	for _, i := range []jss.BlockInfo{{Events: 2, MinSeq: 1, MaxSeq: 7}, {Events: 3, MinSeq: 2, MaxSeq: 7}, {Events: 3, MinSeq: 1, MaxSeq: 6}} {
		if err := b.Within(&i); !errors.Is(err, jss.ErrCorrupt) {
			t.Errorf("within %+v: %v", i, err)
		}
	}
}

// What is packed too well, without a checksum, or twice, is refused.
func TestFramesThatAreRefused(t *testing.T) {
	const most = 1 << 17
	d := must(jss.NewDecompressor(most))
	defer d.Close()
	good := must(jss.NewCompressor()).EncodeAll(make([]byte, most), nil)
	if raw, err := d.Unpack(nil, good); err != nil || len(raw) != most {
		t.Fatal(len(raw), err)
	}
	plain := func(opts ...zstd.EOption) *zstd.Encoder {
		return must(zstd.NewWriter(nil, append(opts, zstd.WithEncoderConcurrency(1))...))
	}
	var stream bytes.Buffer
	w := must(zstd.NewWriter(&stream, zstd.WithEncoderConcurrency(1)))
	for range 200 {
		must(w.Write(make([]byte, 1000)))
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	bomb := stream.Bytes()
	lying := bytes.Clone(good) // says that it is half as long
	if i := bytes.Index(lying, binary.LittleEndian.AppendUint32(nil, most)); i > 0 {
		binary.LittleEndian.PutUint32(lying[i:], most/2)
	}
	for name, frame := range map[string][]byte{
		"nothing":                     nil,
		"no frame":                    []byte("hello"),
		"cut":                         good[:len(good)-1],
		"a bomb that does not say so": bomb,
		"a bomb":                      must(jss.NewCompressor()).EncodeAll(make([]byte, most+1), nil),
		"no checksum":                 plain(zstd.WithEncoderCRC(false), zstd.WithSingleSegment(true)).EncodeAll(make([]byte, 100), nil),
		"no length":                   stream.Bytes(),
		"two frames":                  append(bytes.Clone(good), good...),
		"more than it says":           lying,
	} {
		if raw, err := d.Unpack(nil, frame); err == nil {
			t.Errorf("%s: %d bytes", name, len(raw))
		}
	}
}

func TestNames(t *testing.T) {
	last := ""
	for _, i := range []uint64{0, 1, 35, 36, 37, 36 * 36, 7000, 1 << 40} {
		name := jss.Name(i)
		if got, err := jss.ParseName(name); got != i || err != nil || name <= last {
			t.Errorf("%d is %s, which is %d, %v", i, name, got, err)
		}
		last = name
	}
	for _, bad := range []string{"", "seg_.jss", "seg_000000000.jss", "seg_00000000000.jss", "seg_000000000A.jss", "seg_00000000-1.jss", "../seg_0000000001.jss", "seg_0000000001.jss/"} {
		if i, err := jss.ParseName(bad); err == nil {
			t.Errorf("%q is %d", bad, i)
		}
	}
}

// corpus is a file of the archive's own test data, in the folder that TEMPEST_CORPUS names.
func corpus(t *testing.T, name string) []byte {
	if os.Getenv("TEMPEST_CORPUS") == "" {
		t.Skip("TEMPEST_CORPUS names no folder of test data")
	}
	return seeds(name)[0]
}

// seeds are the same files, and none without the folder.
func seeds(names ...string) (files [][]byte) {
	if dir := os.Getenv("TEMPEST_CORPUS"); dir != "" {
		for _, name := range names {
			files = append(files, must(os.ReadFile(filepath.Join(dir, "archive", name))))
		}
	}
	return files
}

func TestGoldenSegment(t *testing.T) {
	file := corpus(t, "golden_corpus_segment.jss")
	h, blocks, err := read(file)
	if err != nil {
		t.Fatal(err)
	}
	want := jss.Header{
		Checksum: h.Checksum, Blocks: 3, Events: 23, Accounts: 1, MinSeq: 1, MaxSeq: 23, MinWitnessedUS: 1750000000000001, MaxWitnessedUS: 1750000000000023,
		IndexOffset: 3004, AccountBloomOffset: 3160, BlockBloomOffset: 3249, CollectionIndexOffset: 3524,
	}
	if h != want || jss.ChecksumText(h.Checksum) != "8ac51e3e2c8fb641" {
		t.Errorf("%+v, checksum %s", h, jss.ChecksumText(h.Checksum))
	}
	if err := jss.Verify(file[:jss.HeaderSize], file[h.IndexOffset:]); err != nil {
		t.Error(err)
	}
	infos := must(jss.ParseIndex(&h, file[h.IndexOffset:h.AccountBloomOffset]))
	for i, want := range []jss.BlockInfo{
		{Offset: 256, Size: 1074, RawSize: 2886, Events: 8, MinSeq: 1, MaxSeq: 8, MinWitnessedUS: 1750000000000001, MaxWitnessedUS: 1750000000000008},
		{Offset: 1338, Size: 820, RawSize: 2608, Events: 8, MinSeq: 9, MaxSeq: 16, MinWitnessedUS: 1750000000000009, MaxWitnessedUS: 1750000000000016},
		{Offset: 2166, Size: 830, RawSize: 2014, Events: 7, MinSeq: 17, MaxSeq: 23, MinWitnessedUS: 1750000000000017, MaxWitnessedUS: 1750000000000023},
	} {
		if infos[i] != want || len(blocks[i]) != int(want.Events) {
			t.Errorf("block %d is %+v with %d rows, want %+v", i, infos[i], len(blocks[i]), want)
		}
	}
	// Row n has the record of line n.
	lines := strings.Split(strings.TrimSpace(string(corpus(t, "car_expected_records.tsv"))), "\n")
	rows := slices.Concat(blocks...)
	if len(rows) != 23 || len(lines) != 23 {
		t.Fatalf("%d rows, %d records are expected", len(rows), len(lines))
	}
	for i, r := range rows {
		got := fmt.Sprintf("%s/%s\t%v", r.Collection, r.Key, dagcbor.Sum(dagcbor.CodecDAGCBOR, r.Payload))
		if n := uint64(i + 1); got != lines[i] || r.Seq != n || r.WitnessedUS != int64(1750000000000000+n) || r.IndexedUS != 0 || r.Kind != jss.Create ||
			string(r.DID) != "did:plc:53iucmf5ldftgqyf2ac7hmhd" || string(r.Rev) != "3migo7fijwi2k" {
			t.Errorf("row %d is %s, %+v; want %s", n, got, r, lines[i])
		}
	}
}

// told is everything that a row has.
func told(r jss.Row) string {
	return fmt.Sprintf("%d %d %d %d %s %s %s %s %x", r.Seq, r.WitnessedUS, r.IndexedUS, r.Kind, r.DID, r.Collection, r.Key, r.Rev, r.Payload)
}

func TestGoldenLayouts(t *testing.T) {
	h, blocks, err := read(corpus(t, "golden_seal.bin"))
	if err != nil || jss.ChecksumText(h.Checksum) != "03aa49bb5c88b97c" || len(blocks) != 1 {
		t.Fatal(h, blocks, err)
	}
	b := must(jss.ParseBlock(must(decompressor.Unpack(nil, corpus(t, "golden_block.bin")))))
	for name, c := range map[string]struct {
		rows []jss.Row
		want []string
	}{
		"the segment": {blocks[0], []string{
			"1 100 0 1 did:plc:a app.bsky.feed.post k1 v1 7031",
			"2 200 250 1 did:plc:b app.bsky.feed.like k2 v2 7032",
		}},
		"the block": {all(&b), []string{
			"1 1700000000000000 0 1 did:plc:abcdefghijklmnopqrstuvwx app.bsky.feed.post 3l3qo2vuowo2b 3l3qo2vutsw2b a16568656c6c6f05",
			"2 1700000001000000 1700000000500000 4 did:web:example.com    ",
			"3 1700000002000000 0 3 did:plc:zzzzzzzzzzzzzzzzzzzzzzzz app.bsky.feed.like 3l3qo2vuowo2c 3l3qo2vutsw2c ",
		}},
	} {
		if len(c.rows) != len(c.want) {
			t.Errorf("%s has %d rows", name, len(c.rows))
			continue
		}
		for i, r := range c.rows {
			if told(r) != c.want[i] {
				t.Errorf("%s: row %d is %s, want %s", name, i+1, told(r), c.want[i])
			}
		}
	}
}

func FuzzParseBlock(f *testing.F) {
	f.Add(jss.AppendBlock(nil, rows(1, 3)))
	f.Add(make([]byte, 4))
	for _, frame := range seeds("golden_block.bin") {
		f.Add(must(decompressor.Unpack(nil, frame)))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := jss.ParseBlock(raw)
		if err != nil {
			if !errors.Is(err, jss.ErrCorrupt) && !errors.Is(err, jss.ErrUnknown) {
				t.Fatal(err)
			}
			return
		}
		if again := jss.AppendBlock(nil, all(&b)); !bytes.Equal(again, raw) {
			t.Fatalf("%x is written as %x", raw, again)
		}
	})
}

// A header is either refused, or its numbers bound what is read by them.
func FuzzHeader(f *testing.F) {
	f.Add(jss.Build(must(jss.NewCompressor()), [][]jss.Row{rows(10, 3), rows(1000, 2)})[:jss.HeaderSize])
	for _, file := range seeds("golden_corpus_segment.jss", "golden_seal.bin") {
		f.Add(file[:jss.HeaderSize])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := jss.ParseHeader(b)
		if err != nil {
			if !errors.Is(err, jss.ErrCorrupt) && !errors.Is(err, jss.ErrUnknown) {
				t.Fatal(err)
			}
			return
		}
		if h.IndexOffset < jss.HeaderSize || h.AccountBloomOffset < h.IndexOffset || h.BlockBloomOffset < h.AccountBloomOffset ||
			h.CollectionIndexOffset < h.BlockBloomOffset || h.AccountBloomOffset-h.IndexOffset != 52*uint64(h.Blocks) || h.MinSeq > h.MaxSeq {
			t.Fatalf("%x is accepted: %+v", b, h)
		}
	})
}

// Whatever stands in a segment, its reader ends with an error of its own, or with rows that lie
// within their index.
func FuzzSegment(f *testing.F) {
	f.Add(jss.Build(must(jss.NewCompressor()), [][]jss.Row{rows(10, 3), rows(1000, 2)}))
	for _, file := range seeds("golden_corpus_segment.jss", "golden_seal.bin") {
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		h, err := jss.ParseHeader(file)
		if err != nil || h.AccountBloomOffset > uint64(len(file)) {
			return
		}
		// As if its checksum were right, or nothing behind it would be met.
		infos, err := jss.ParseIndex(&h, file[h.IndexOffset:h.AccountBloomOffset])
		if err != nil {
			return
		}
		for _, i := range infos {
			if i.Offset < jss.HeaderSize || i.FrameOffset()+uint64(i.Size) > h.IndexOffset {
				t.Fatalf("a block that is not between header and footer: %+v", i)
			}
			raw, err := decompressor.Unpack(nil, file[i.FrameOffset():][:i.Size])
			if err != nil {
				continue
			}
			if b, err := jss.ParseBlock(raw); err == nil && b.Within(&i) == nil && uint32(len(all(&b))) != i.Events {
				t.Fatalf("a block of other rows than %+v", i)
			}
		}
	})
}

package jss_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
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
	for i := range file {
		bad := bytes.Clone(file)
		bad[i] ^= 0x10
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
	dir := os.Getenv("TEMPEST_CORPUS")
	if dir == "" {
		t.Skip("TEMPEST_CORPUS names no folder of test data")
	}
	return must(os.ReadFile(filepath.Join(dir, "archive", name)))
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
	records := map[string]string{}
	for _, line := range strings.Split(strings.TrimSpace(string(corpus(t, "car_expected_records.tsv"))), "\n") {
		path, cid, _ := strings.Cut(line, "\t")
		records[path] = cid
	}
	sizes, met := []int{}, 0
	for _, rows := range blocks {
		sizes = append(sizes, len(rows))
		for _, r := range rows {
			path, cid := string(r.Collection)+"/"+string(r.Key), dagcbor.Sum(dagcbor.CodecDAGCBOR, r.Payload).String()
			if want, ok := records[path]; ok {
				if met++; cid != want {
					t.Errorf("%s has the CID %s, want %s", path, cid, want)
				}
			}
			if r.Seq == 12 && (path != "app.bsky.feed.post/3lqcnvhqk622d" || cid != "bafyreia6dvxmf6vnz6novba2cu24rbbbn7x4qelt7valzz32xngvep5lem") {
				t.Errorf("row 12 is %s, %s", path, cid)
			}
		}
	}
	if !reflect.DeepEqual(sizes, []int{8, 8, 7}) || met == 0 {
		t.Errorf("blocks of %v rows; %d of the records are in the repository", sizes, met)
	}
}

func TestGoldenLayouts(t *testing.T) {
	h, blocks, err := read(corpus(t, "golden_seal.bin"))
	if err != nil || jss.ChecksumText(h.Checksum) != "03aa49bb5c88b97c" || len(blocks) != 1 || len(blocks[0]) != 2 {
		t.Fatal(h, blocks, err)
	}
	if r := blocks[0][1]; r.IndexedUS != 250 || r.WitnessedUS != 200 {
		t.Errorf("%+v", r)
	}
	b, err := jss.ParseBlock(must(decompressor.Unpack(nil, corpus(t, "golden_block.bin"))))
	if err != nil || b.Len() != 3 {
		t.Error(b.Len(), err)
	}
}

func FuzzParseBlock(f *testing.F) {
	f.Add(jss.AppendBlock(nil, rows(1, 3)))
	f.Add(make([]byte, 4))
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := jss.ParseBlock(raw)
		if err != nil {
			return
		}
		if again := jss.AppendBlock(nil, all(&b)); !bytes.Equal(again, raw) {
			t.Fatalf("%x is written as %x", raw, again)
		}
	})
}

func FuzzSegment(f *testing.F) {
	f.Add(jss.Build(must(jss.NewCompressor()), [][]jss.Row{rows(10, 3), rows(1000, 2)}))
	f.Fuzz(func(t *testing.T, file []byte) {
		h, err := jss.ParseHeader(file)
		if err != nil {
			return
		}
		if h.AccountBloomOffset <= uint64(len(file)) {
			_, _ = jss.ParseIndex(&h, file[h.IndexOffset:h.AccountBloomOffset])
		}
	})
}

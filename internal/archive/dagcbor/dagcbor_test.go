package dagcbor_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"pgregory.net/rapid"

	"tempestd/internal/archive/dagcbor"
)

// link is a CID of the data model: dag-cbor, SHA-256 of "x".
var link = dagcbor.Sum(dagcbor.CodecDAGCBOR, []byte("x"))

func TestOneSpellingOfEachValue(t *testing.T) {
	cid := hex.EncodeToString(must(link.AppendBinary(nil)))
	deep := func(n int) string { return strings.Repeat("81", n) + "01" }
	for _, c := range []struct {
		name, in, want string
		kind           error
	}{
		{"zero", "00", "0", nil},
		{"a short integer", "17", "23", nil},
		{"one byte", "1818", "24", nil},
		{"one byte that need not be", "1817", "", dagcbor.ErrMalformed},
		{"two bytes that need not be", "1900ff", "", dagcbor.ErrMalformed},
		{"four bytes that need not be", "1a0000ffff", "", dagcbor.ErrMalformed},
		{"eight bytes that need not be", "1b00000000ffffffff", "", dagcbor.ErrMalformed},
		{"the largest integer", "1b7fffffffffffffff", "9223372036854775807", nil},
		{"one more", "1b8000000000000000", "", dagcbor.ErrOutsideModel},
		{"minus one", "20", "-1", nil},
		{"the smallest integer", "3b7fffffffffffffff", "-9223372036854775808", nil},
		{"one less", "3b8000000000000000", "", dagcbor.ErrOutsideModel},
		{"bytes", "420102", `{"$bytes":"AQI"}`, nil},
		{"no bytes", "40", `{"$bytes":""}`, nil},
		{"text", "6161", `"a"`, nil},
		{"text that is not UTF-8", "61ff", "", dagcbor.ErrMalformed},
		{"text of indefinite length", "7f6161ff", "", dagcbor.ErrMalformed},
		{"a list", "820102", "[1,2]", nil},
		{"a list of indefinite length", "9f01ff", "", dagcbor.ErrMalformed},
		{"an empty map", "a0", "{}", nil},
		{"keys by length, and by bytes in JSON", "a3616201616303626161f6", `{"aa":null,"b":1,"c":3}`, nil},
		{"keys out of order", "a2616301616202", "", dagcbor.ErrMalformed},
		{"a long key first", "a262616101616202", "", dagcbor.ErrMalformed},
		{"a key twice", "a2616201616202", "", dagcbor.ErrMalformed},
		{"a key that is no text", "a10102", "", dagcbor.ErrMalformed},
		{"a link", "d82a582500" + cid, `{"$link":"` + link.String() + `"}`, nil},
		{"a link without its 0", "d82a5824" + cid, "", dagcbor.ErrMalformed},
		{"a link of another hash", "d82a58250001711320" + cid[8:], "", dagcbor.ErrOutsideModel},
		{"a CIDv0", "d82a582300" + "1220" + cid[8:], "", dagcbor.ErrOutsideModel},
		{"another tag", "c101", "", dagcbor.ErrMalformed},
		{"false", "f4", "false", nil},
		{"true", "f5", "true", nil},
		{"undefined", "f7", "", dagcbor.ErrMalformed},
		{"a simple value in two bytes", "f8ff", "", dagcbor.ErrMalformed},
		{"half a float", "f90000", "", dagcbor.ErrOutsideModel},
		{"a float", "fb3ff0000000000000", "", dagcbor.ErrOutsideModel},
		{"a break", "ff", "", dagcbor.ErrMalformed},
		{"nothing", "", "", dagcbor.ErrMalformed},
		{"two values", "0000", "", dagcbor.ErrMalformed},
		{"a list that is cut", "8201", "", dagcbor.ErrMalformed},
		{"a text that is cut", "6261", "", dagcbor.ErrMalformed},
		{"a list as long as memory", "9b7fffffffffffffff", "", dagcbor.ErrMalformed},
		{"bytes as long as memory", "5bffffffffffffffff", "", dagcbor.ErrMalformed},
		{"as deep as may be", deep(dagcbor.MaxDepth), strings.Repeat("[", dagcbor.MaxDepth) + "1" + strings.Repeat("]", dagcbor.MaxDepth), nil},
		{"deeper", deep(dagcbor.MaxDepth + 1), "", dagcbor.ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			src, err := hex.DecodeString(c.in)
			if err != nil {
				t.Fatal(err)
			}
			var e dagcbor.Encoder
			got, err := e.AppendJSON([]byte("before"), src)
			if string(got) != "before"+c.want || !errors.Is(err, c.kind) || (err == nil) != (c.kind == nil) {
				t.Errorf("%s, %v; want %q, %v", got, err, c.want, c.kind)
			}
			p := dagcbor.NewParser(src)
			if _, skipped := p.Skip(); skipped == nil && p.Done() == nil && err != nil {
				t.Errorf("skipped, but not written: %v", err)
			}
		})
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// value draws a value of the data model: as an encoder of CBOR takes it, and as one of JSON does.
func value(depth int) *rapid.Generator[[2]any] {
	return rapid.Custom(func(t *rapid.T) [2]any {
		kinds := 6
		if depth > 0 {
			kinds = 8
		}
		switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
		case 0:
			return [2]any{nil, nil}
		case 1:
			b := rapid.Bool().Draw(t, "bool")
			return [2]any{b, b}
		case 2:
			n := rapid.Int64().Draw(t, "int")
			return [2]any{n, n}
		case 3:
			b := rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")
			return [2]any{b, map[string]any{"$bytes": base64.RawStdEncoding.EncodeToString(b)}}
		case 4:
			s := text().Draw(t, "text")
			return [2]any{s, s}
		case 5:
			cid := dagcbor.Sum(rapid.SampledFrom([]byte{dagcbor.CodecDAGCBOR, dagcbor.CodecRaw}).Draw(t, "codec"), rapid.SliceOf(rapid.Byte()).Draw(t, "content"))
			return [2]any{
				cbor.Tag{Number: 42, Content: must(cid.AppendBinary([]byte{0}))},
				map[string]any{"$link": cid.String()},
			}
		case 6:
			a, b := []any{}, []any{}
			for _, v := range rapid.SliceOfN(value(depth-1), 0, 5).Draw(t, "list") {
				a, b = append(a, v[0]), append(b, v[1])
			}
			return [2]any{a, b}
		}
		a, b := map[string]any{}, map[string]any{}
		for k, v := range rapid.MapOfN(text(), value(depth-1), 0, 8).Draw(t, "map") {
			a[k], b[k] = v[0], v[1]
		}
		return [2]any{a, b}
	})
}

func text() *rapid.Generator[string] {
	return rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "<a & b>", "\u2028\u2029\u202a", "\x00\x1f\x7f\b\f\n\r\t\"\\/", "日本", "😀"}))
}

var dagMode = must(cbor.EncOptions{Sort: cbor.SortLengthFirst, IndefLength: cbor.IndefLengthForbidden}.EncMode())

// Any value, encoded by another implementation, has the JSON that encoding/json writes for it.
func TestJSONIsThatOfEncodingJSON(t *testing.T) {
	var e dagcbor.Encoder
	rapid.Check(t, func(t *rapid.T) {
		v := value(4).Draw(t, "value")
		src, err := dagMode.Marshal(v[0])
		if err != nil {
			t.Fatal(err)
		}
		want, err := json.Marshal(v[1])
		if err != nil {
			t.Fatal(err)
		}
		got, err := e.AppendJSON(nil, src)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%x:\n got %s, %v\nwant %s", src, got, err, want)
		}
		p := dagcbor.NewParser(src)
		if all, err := p.Skip(); err != nil || !bytes.Equal(all, src) || p.Done() != nil {
			t.Fatalf("%x: skipped %x, %v", src, all, err)
		}
	})
}

// What stands around a record keeps its line separators.
func TestEnvelopesKeepLineSeparators(t *testing.T) {
	const s = "a\u2028b\u2029c\u202ad"
	if got := string(dagcbor.AppendText(nil, s, false)); got != `"`+s+`"` {
		t.Error(got)
	}
	if got := string(dagcbor.AppendText(nil, s, true)); got != "\"a\\u2028b\\u2029c\u202ad\"" {
		t.Error(got)
	}
}

func TestCIDs(t *testing.T) {
	text := link.String()
	if got, err := dagcbor.ParseCIDText(text); got != link || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", text[1:], text + "a", "z" + text[1:], strings.ToUpper(text), "Qmbcd"} {
		if got, err := dagcbor.ParseCIDText(bad); err == nil {
			t.Errorf("%q is %v", bad, got)
		}
	}
	bin := must(link.AppendBinary(nil))
	for i := range 4 {
		bad := bytes.Clone(bin)
		bad[i]++
		if got, err := dagcbor.ParseCID(bad); err == nil {
			t.Errorf("%x is %v", bad, got)
		}
	}
}

// Integers beyond int64 are met as unsigned ones, and as negative ones.
func TestIntegersThatDoNotFit(t *testing.T) {
	for _, v := range []uint64{math.MaxInt64 + 1, math.MaxUint64} {
		var e dagcbor.Encoder
		if got, err := e.AppendJSON(nil, must(dagMode.Marshal(v))); !errors.Is(err, dagcbor.ErrOutsideModel) {
			t.Errorf("%d: %s, %v", v, got, err)
		}
	}
}

// seeds are the blocks of a repository that a server has sent, with TEMPEST_CORPUS: sections of a
// CAR file, behind its header.
func seeds() (blocks [][]byte) {
	dir := os.Getenv("TEMPEST_CORPUS")
	if dir == "" {
		return nil
	}
	for file := must(os.ReadFile(filepath.Join(dir, "archive", "repo.car"))); len(file) > 0; {
		n, w := binary.Uvarint(file)
		section := file[w : w+int(n)]
		file = file[w+int(n):]
		if section[0] == 1 { // a CID is in front
			blocks = append(blocks, section[dagcbor.CIDSize:])
		}
	}
	return blocks
}

func FuzzAppendJSON(f *testing.F) {
	f.Add([]byte{0xa1, 0x61, 0x61, 0x01})
	f.Add(must(dagMode.Marshal(map[string]any{"a": []any{1, "x", nil, true, []byte{1}}, "bb": map[string]any{"c": -5}})))
	f.Add(append([]byte{0xd8, 0x2a, 0x58, 0x25, 0x00}, must(link.AppendBinary(nil))...))
	for _, record := range seeds() {
		f.Add(record)
	}
	strict := must(cbor.DecOptions{DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, MaxNestedLevels: dagcbor.MaxDepth + 4}.DecMode())
	var e dagcbor.Encoder
	f.Fuzz(func(t *testing.T, src []byte) {
		got, err := e.AppendJSON(nil, src)
		if err != nil {
			if len(got) > 0 || !errors.Is(err, dagcbor.ErrMalformed) && !errors.Is(err, dagcbor.ErrOutsideModel) {
				t.Fatalf("%s, %v", got, err)
			}
			return
		}
		if !json.Valid(got) {
			t.Fatalf("%x is written as %s", src, got)
		}
		if err := strict.Wellformed(src); err != nil {
			t.Fatalf("%x is accepted: %v", src, err)
		}
	})
}

func BenchmarkAppendJSON(b *testing.B) {
	src := must(dagMode.Marshal(map[string]any{
		"$type": "app.bsky.feed.post", "text": strings.Repeat("the quick brown fox jumps over the lazy dog ", 5),
		"langs": []any{"en"}, "createdAt": "2026-11-28T12:00:00.000Z",
		"reply": map[string]any{
			"root":   map[string]any{"cid": link.String(), "uri": "at://did:plc:abcdefghijklmnopqrstuvwx/app.bsky.feed.post/3lqcnvhqk622d"},
			"parent": map[string]any{"cid": link.String(), "uri": "at://did:plc:abcdefghijklmnopqrstuvwx/app.bsky.feed.post/3lqcnvhqk622d"},
		},
	}))
	var e dagcbor.Encoder
	var out []byte
	b.SetBytes(int64(len(src)))
	b.ReportAllocs()
	for b.Loop() {
		out, _ = e.AppendJSON(out[:0], src)
	}
}

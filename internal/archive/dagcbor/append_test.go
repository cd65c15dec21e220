package dagcbor_test

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"pgregory.net/rapid"

	"tempestd/internal/archive/dagcbor"
)

// JSON in whatever form has one encoding, and the JSON of that is the normal form.
func TestJSONIsNormalised(t *testing.T) {
	for _, c := range []struct {
		name, in, want string
		kind           error
	}{
		{"order, space and escapes", ` { "b" : 1, "a\u0062" : "<\/&\u00e9\u2028" } `, `{"ab":"\u003c/\u0026é\u2028","b":1}`, nil},
		{"a link", `{"$link":"` + link.String() + `"}`, `{"$link":"` + link.String() + `"}`, nil},
		{"bytes with padding", `{"x":{"$bytes":"AQ=="}}`, `{"x":{"$bytes":"AQ"}}`, nil},
		{"no bytes", `{"$bytes":""}`, `{"$bytes":""}`, nil},
		{"big integers", `[9223372036854775807,-9223372036854775808,-1,0,23,24,255,256,65536,4294967296]`,
			`[9223372036854775807,-9223372036854775808,-1,0,23,24,255,256,65536,4294967296]`, nil},
		{"plain values", `[null,true,false,"",[],{}]`, `[null,true,false,"",[],{}]`, nil},
		{"an integer too large", `9223372036854775808`, "", dagcbor.ErrOutsideModel},
		{"a float", `1.5`, "", dagcbor.ErrOutsideModel},
		{"an exponent", `1e2`, "", dagcbor.ErrOutsideModel},
		{"a link beside another key", `{"$link":"` + link.String() + `","x":1}`, "", dagcbor.ErrOutsideModel},
		{"a link that is a number", `{"$link":1}`, "", dagcbor.ErrOutsideModel},
		{"another CID", `{"$link":"QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n"}`, "", dagcbor.ErrOutsideModel},
		{"bytes that are none", `{"$bytes":"*"}`, "", dagcbor.ErrOutsideModel},
		{"two values", `1 2`, "", dagcbor.ErrMalformed},
		{"nothing", ``, "", dagcbor.ErrMalformed},
		{"half a value", `{"a":`, "", dagcbor.ErrMalformed},
		{"too deep", strings.Repeat("[", dagcbor.MaxDepth+1) + strings.Repeat("]", dagcbor.MaxDepth+1), "", dagcbor.ErrMalformed},
		{"deep", strings.Repeat("[", dagcbor.MaxDepth) + strings.Repeat("]", dagcbor.MaxDepth),
			strings.Repeat("[", dagcbor.MaxDepth) + strings.Repeat("]", dagcbor.MaxDepth), nil},
	} {
		got, err := normalise([]byte(c.in))
		if !errors.Is(err, c.kind) || string(got) != c.want {
			t.Errorf("%s: %s, %v; want %s, %v", c.name, got, err, c.want, c.kind)
		}
	}
	if _, err := dagcbor.Append(nil, 1.5); !errors.Is(err, dagcbor.ErrOutsideModel) {
		t.Errorf("a float: %v", err)
	}
}

func normalise(src []byte) ([]byte, error) {
	v, err := dagcbor.FromJSON(src)
	if err != nil {
		return nil, err
	}
	block, err := dagcbor.Append(nil, v)
	if err != nil {
		return nil, err
	}
	return new(dagcbor.Encoder).AppendJSON(nil, block)
}

// The encoding is the one of another library.
func TestEncodingIsThatOfAnOracle(t *testing.T) {
	mode := must(cbor.EncOptions{Sort: cbor.SortLengthFirst}.EncMode())
	var value func(depth int) *rapid.Generator[any]
	value = func(depth int) *rapid.Generator[any] {
		kinds := []*rapid.Generator[any]{rapid.Just[any](nil), rapid.Bool().AsAny(), rapid.Int64().AsAny(), rapid.Int64Range(-300, 300).AsAny(),
			rapid.SampledFrom([]int64{math.MinInt64, math.MaxInt64, 1 << 32, -1 << 32}).AsAny(), rapid.String().AsAny(), rapid.SliceOf(rapid.Byte()).AsAny()}
		if depth > 0 {
			kinds = append(kinds, rapid.SliceOfN(value(depth-1), 0, 4).AsAny(), rapid.MapOfN(rapid.String(), value(depth-1), 0, 4).AsAny())
		}
		return rapid.OneOf(kinds...)
	}
	rapid.Check(t, func(t *rapid.T) {
		v := value(3).Draw(t, "value")
		got, err := dagcbor.Append(nil, v)
		if want := must(mode.Marshal(v)); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%x, %v; want %x", got, err, want)
		}
	})
}

func FuzzFromJSON(f *testing.F) {
	f.Add([]byte(`{"$type":"app.bsky.feed.post","text":"a\ud83d\ude00b","embed":{"ref":{"$link":"` + link.String() + `"}},"n":[1,-5,{"$bytes":"AQID"}]}`))
	f.Add([]byte(`{"a":1.5,"a":"\ud800"}`))
	f.Fuzz(func(t *testing.T, src []byte) {
		once, err := normalise(src)
		if err != nil {
			if !errors.Is(err, dagcbor.ErrMalformed) && !errors.Is(err, dagcbor.ErrOutsideModel) {
				t.Fatal(err)
			}
			return
		}
		twice, err := normalise(once)
		if err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%q is %s, then %s, %v", src, once, twice, err)
		}
	})
}

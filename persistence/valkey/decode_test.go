package valkey

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"testing"
	"time"

	valkeygo "github.com/valkey-io/valkey-go"
	"pgregory.net/rapid"

	"tempestd/persistence"
)

// The values of replies, beside strings, ints, bools, nil (null) and lists.
type (
	list    = []any
	pairs   []any  // a map: names and values take turns
	failure string // an error inside a reply
	printed string // a text with a format, as INFO returns
)

// message makes a reply as the client library hands it over.
func message(t interface{ Fatal(...any) }, v any) valkeygo.ValkeyMessage {
	var m valkeygo.ValkeyMessage
	if err := m.CacheUnmarshalView(appendMessage(make([]byte, 7), v)); err != nil {
		t.Fatal(err)
	}
	return m
}

// appendMessage appends a value in the format of CacheUnmarshalView: the type, a number or a
// length, the content.
func appendMessage(b []byte, v any) []byte {
	head := func(kind byte, n int) { b = binary.BigEndian.AppendUint64(append(b, kind), uint64(n)) }
	switch v := v.(type) {
	case nil:
		head('_', 0)
	case int:
		head(':', v)
	case bool:
		head('#', 1)
	case string:
		head('$', len(v))
		b = append(b, v...)
	case printed:
		head('=', len(v))
		b = append(b, v...)
	case failure:
		head('-', len(v))
		b = append(b, v...)
	case list:
		head('*', len(v))
		for _, e := range v {
			b = appendMessage(b, e)
		}
	case pairs:
		head('%', len(v))
		for _, e := range v {
			b = appendMessage(b, e)
		}
	default:
		panic(fmt.Sprintf("no value of a reply: %T", v))
	}
	return b
}

// decoding is a decoder with one reply that it understands.
type decoding struct {
	name   string
	decode func(m valkeygo.ValkeyMessage) (any, error)
	reply  any
	want   any
	short  int // a shorter reply that is also understood, by its number of values; 0 for none
}

func decoderOf[T any](decode func(valkeygo.ValkeyMessage) (T, error)) func(valkeygo.ValkeyMessage) (any, error) {
	return func(m valkeygo.ValkeyMessage) (any, error) { return decode(m) }
}

func id(ms, seq uint64) persistence.EntryID { return persistence.EntryID{MS: ms, Seq: seq} }

var testKeys = newStreamKeys("p:", "feed")

// readBlocks decodes all blocks.
func readBlocks(m valkeygo.ValkeyMessage) (blocks []block, err error) {
	for b, err := range decodeBlocks(m) {
		if err != nil {
			return nil, err
		}
		blocks = append(blocks, b)
	}
	return blocks, nil
}

// decodings has all decoders.
var decodings = []decoding{
	{"append OK", decoderOf(decodeAppend), list{"OK", 3, 400, "OOM"}, appendReply{verdict: appendOK, trimmed: persistence.Trimmed{Entries: 3, Bytes: 400}, failed: "OOM"}, 0},
	{"append FENCED", decoderOf(decodeAppend), list{"FENCED", "7", "other"}, appendReply{verdict: appendFenced, epoch: 7, owner: "other"}, 0},
	{"append CLOSED", decoderOf(decodeAppend), list{"CLOSED", "over"}, appendReply{verdict: appendClosed, reason: "over"}, 0},
	{"append CONFLICT", decoderOf(decodeAppend), list{"CONFLICT", "5-6"}, appendReply{verdict: appendConflict, last: id(5, 6)}, 0},
	{"append FOREIGN", decoderOf(decodeAppend), list{"FOREIGN", "p:{feed}", "5-6"}, appendReply{verdict: appendForeign, key: "p:{feed}", last: id(5, 6)}, 0},
	{"trim", decoderOf(decodeTrim), list{3, 400}, persistence.Trimmed{Entries: 3, Bytes: 400}, 0},
	{"info", decoderOf(decodeInfo), list{"1", "9-1", "20", "2000", "5", "500", "4-0", "1000000", "over", "4-1"}, infoReply{layout: "1", last: id(9, 1), entries: 20, bytes: 2000,
		droppedEntries: 5, droppedBytes: 500, trimmed: id(4, 0), closure: closure{time.Unix(1, 0).UTC(), "over"}, oldest: id(4, 1)}, 0},
	{"info of no stream", decoderOf(decodeInfo), list{nil, nil, nil, nil, nil, nil, nil, nil, nil, nil}, infoReply{}, 0},
	{"page", decoderOf(decodePage), list{"9-1", "4-0", nil, nil, "4-1", 1, 20, 1, 6, "5", "7-0", -1}, pageReply{last: id(9, 1), trimmed: id(4, 0), oldest: id(4, 1), foreign: true, appended: 20, limited: true,
		next: &nextBlock{following: 6, entries: 5, first: id(7, 0), rest: -1}}, 8},
	{"page at the tip", decoderOf(decodePage), list{"9-1", nil, "1000000", "over", "4-1", 0, 20, 0}, pageReply{last: id(9, 1), closure: closure{time.Unix(1, 0).UTC(), "over"}, oldest: id(4, 1), appended: 20}, 0},
	{"end", decoderOf(decodeEnd), list{"1", "9-1", "3-ff", nil}, endReply{layout: "1", end: ending{id(9, 1), "3-ff"}}, 0},
	{"end that readers do not see", decoderOf(decodeEnd), list{"1", "9-1", "3-ff", "8-0"}, endReply{"1", ending{id(9, 1), "3-ff"}, true, id(8, 0)}, 0},
	{"outcome", decoderOf(decodeOutcome), list{"3", "n", "name", "9-1", "3-ff", "{}"}, outcomeReply{3, "n", "name", ending{id(9, 1), "3-ff"}, "{}"}, 0},
	{"checkpoint", decoderOf(decodeCheckpoint), list{"{}", "9-1", "t"}, checkpointReply{"{}", ending{id(9, 1), "t"}}, 0},
	{"bounds", decoderOf(decodeBounds), list{"4-0", "5-0"}, boundsReply{id(4, 0), id(5, 0), true}, 0},
	{"no bounds", decoderOf(decodeBounds), list{nil, nil}, boundsReply{}, 0},
	{"synced", decoderOf(decodeSynced), list{1, 2}, int64(1), 0},
	{"acquire", decoderOf(decodeAcquire), list{0, 3, "n", "name", 1500}, acquireReply{false, 3, "n", "name", 1500 * time.Millisecond}, 0},
	{"renew", decoderOf(decodeRenew), list{1, 3, "name"}, renewReply{true, 3, "name"}, 0},
	{"owner", decoderOf(decodeOwner), list{"3", "n", "name"}, ownerReply{3, "n", "name"}, 0},
	{"consumer", decoderOf(decodeConsumer), list{"7", "500", "{}"}, consumerReply{time.Unix(7, 500_000).UTC(), "{}"}, 0},
	{"save gaps OK", decoderOf(decodeSaveGaps), list{"OK", 7}, saveGapsReply{verdict: appendOK, rows: 7}, 0},
	{"save gaps FENCED", decoderOf(decodeSaveGaps), list{"FENCED", "7", "other"}, saveGapsReply{verdict: appendFenced, epoch: 7, owner: "other"}, 0},
	{"probe", decoderOf(decodeProbe), list{"DENIED", "XADD", "p:{feed}"}, probeReply{"DENIED", "XADD", "p:{feed}"}, 0},
}

// A reply of another shape than the script's is an error: it is neither taken as empty nor a panic.
func TestMalformedRepliesAreErrors(t *testing.T) {
	for _, c := range decodings {
		t.Run(c.name, func(t *testing.T) {
			if got, err := c.decode(message(t, c.reply)); err != nil || !reflect.DeepEqual(got, c.want) {
				t.Fatalf("%v is %+v (%v), want %+v", c.reply, got, err, c.want)
			}
			refused := func(what string, v any) {
				t.Helper()
				if got, err := c.decode(message(t, v)); err == nil {
					t.Errorf("%s: %v is %+v, want an error", what, v, got)
				}
			}
			for _, v := range []any{nil, 1, true, "OK", failure("ERR no"), pairs{"OK", 1}} {
				refused("no array", v)
			}
			values := c.reply.(list)
			for n := range values {
				if n != c.short || n == 0 {
					refused("too short", values[:n])
				}
			}
			refused("too long", append(values[:len(values):len(values)], "more"))
			for i, had := range values {
				for _, wrong := range []any{list{}, list{"1-1"}, pairs{}, true, failure("ERR no")} {
					refused(fmt.Sprintf("value %d", i+1), replaced(values, i, wrong))
				}
				if wrong := opposite(had); wrong != nil {
					refused(fmt.Sprintf("value %d", i+1), replaced(values, i, wrong))
				}
			}
		})
	}
}

func replaced(values list, i int, v any) list {
	other := append(list(nil), values...)
	other[i] = v
	return other
}

// opposite returns a value that cannot stand where had does: a text for a number or an ID, a number
// for another text. It is nil if had does not tell.
func opposite(had any) any {
	switch had := had.(type) {
	case int:
		return "none"
	case string:
		var a, b uint64
		if n, _ := fmt.Sscanf(had, "%d-%d", &a, &b); n == 2 {
			return "9_1"
		}
		if n, _ := fmt.Sscanf(had, "%d", &a); n == 0 {
			return 5
		}
	}
	return nil
}

// The same for replies with other shapes than a list of values.
func TestMalformedEntriesAreErrors(t *testing.T) {
	entries, blocks := decoderOf(decodeEntries), decoderOf(readBlocks)
	tail := decoderOf(func(m valkeygo.ValkeyMessage) (tailReply, error) {
		return decodeTail(testKeys.stream, testKeys.closed, m)
	})
	texts := decoderOf(func(m valkeygo.ValkeyMessage) ([]string, error) { return decodeTexts("texts", m) })
	text := decoderOf(func(m valkeygo.ValkeyMessage) (string, error) { return decodeText("a text", m) })
	number := decoderOf(func(m valkeygo.ValkeyMessage) (int64, error) { return decodeNumber("a number", m) })
	fingerprint := string(binary.LittleEndian.AppendUint64(nil, 77))
	entry := list{"5-6", list{"json", "{}"}}
	for _, c := range []struct {
		name   string
		decode func(valkeygo.ValkeyMessage) (any, error)
		reply  any
		want   any // nil: an error
	}{
		{"entries", entries, list{entry}, []persistence.Entry{{ID: id(5, 6), Event: []byte("{}")}}},
		{"entry with other fields", entries, list{list{"5-6", list{"did", "d", "json", "{}"}}}, []persistence.Entry{{ID: id(5, 6), Event: []byte("{}")}}},
		{"entries: no array", entries, "OK", nil},
		{"entries: null", entries, nil, nil},
		{"entry: no array", entries, list{"5-6"}, nil},
		{"entry: one part", entries, list{list{"5-6"}}, nil},
		{"entry: three parts", entries, list{list{"5-6", list{"json", "{}"}, "more"}}, nil},
		{"entry: bad ID", entries, list{list{"5", list{"json", "{}"}}}, nil},
		{"entry: ID is a number", entries, list{list{5, list{"json", "{}"}}}, nil},
		{"entry: ID is null", entries, list{list{nil, list{"json", "{}"}}}, nil},
		{"entry: no fields", entries, list{list{"5-6", nil}}, nil},
		{"entry: field without a value", entries, list{list{"5-6", list{"json"}}}, nil},
		{"entry: name is a number", entries, list{list{"5-6", list{1, "{}"}}}, nil},
		{"entry: event is a list", entries, list{list{"5-6", list{"json", list{}}}}, nil},
		{"entry: event is null", entries, list{list{"5-6", list{"json", nil}}}, nil},
		{"entry: event is a truth value", entries, list{list{"5-6", list{"json", true}}}, nil},
		{"second entry is bad", entries, list{entry, list{}}, nil},

		{"blocks", blocks, list{list{"5-6", list{"f", "5-6", "n", "1", "b", "2", "p", fingerprint, "e", "9"}}}, []block{{first: id(5, 6), last: id(5, 6), entries: 1, bytes: 2, fingerprints: []byte(fingerprint)}}},
		{"blocks: null", blocks, nil, nil},
		{"block: no fields", blocks, list{list{"5-6", list{}}}, nil},
		{"block: no first entry", blocks, list{list{"5-6", list{"n", "1", "p", fingerprint}}}, nil},
		{"block: no fingerprints", blocks, list{list{"5-6", list{"f", "5-6", "n", "1"}}}, nil},
		{"block: half a fingerprint", blocks, list{list{"5-6", list{"f", "5-6", "n", "1", "p", fingerprint[:4]}}}, nil},
		{"block: too many entries", blocks, list{list{"5-6", list{"f", "5-6", "n", "2", "p", fingerprint}}}, nil},
		{"block: negative entries", blocks, list{list{"5-6", list{"f", "5-6", "n", "-1", "p", ""}}}, nil},
		{"block: fingerprints are a number", blocks, list{list{"5-6", list{"f", "5-6", "n", "1", "p", 77}}}, nil},
		{"block: field without a value", blocks, list{list{"5-6", list{"f", "5-6", "n", "1", "p", fingerprint, "b"}}}, nil},

		{"tail", tail, pairs{testKeys.stream, list{entry}}, tailReply{entries: []persistence.Entry{{ID: id(5, 6), Event: []byte("{}")}}}},
		{"tail of a closed stream", tail, pairs{testKeys.closed, list{}}, tailReply{closed: true}},
		{"tail without news", tail, nil, tailReply{}},
		{"tail: text", tail, "OK", nil},
		{"tail: no entries", tail, pairs{testKeys.stream, nil}, nil},
		{"tail: key without entries", tail, pairs{testKeys.stream}, nil},
		{"tail: key is a number", tail, pairs{1, list{}}, nil},
		{"tail: pairs", tail, list{list{testKeys.stream, list{entry}}}, nil},

		{"gaps", decoderOf(decodeGaps), list{"{}", "3 {\"id\":\"a b\"}", "4 x"}, gapsReply{"{}", []string{`{"id":"a b"}`, "x"}}},
		{"gaps of a new stream", decoderOf(decodeGaps), list{""}, gapsReply{}},
		{"gaps: null", decoderOf(decodeGaps), nil, nil},
		{"gaps: nothing", decoderOf(decodeGaps), list{}, nil},
		{"gaps: row without a version", decoderOf(decodeGaps), list{"{}", "{}"}, nil},
		{"gaps: version is no number", decoderOf(decodeGaps), list{"{}", "x {}"}, nil},
		{"gaps: row is a number", decoderOf(decodeGaps), list{"{}", 7}, nil},
		{"gaps: row is null", decoderOf(decodeGaps), list{"{}", nil}, nil},

		{"texts", texts, list{"a", "b"}, []string{"a", "b"}},
		{"texts: null", texts, nil, nil},
		{"texts: a number", texts, list{"a", 1}, nil},
		{"texts: a list", texts, list{list{}}, nil},
		{"text", text, "a", "a"},
		{"printed text", text, printed("a"), "a"},
		{"text: null", text, nil, nil},
		{"text: truth value", text, true, nil},
		{"text: number", text, 1, nil},
		{"text: list", text, list{"a"}, nil},
		{"number", number, 5, int64(5)},
		{"number as text", number, "5", int64(5)},
		{"number: null", number, nil, nil},
		{"number: no number", number, "a", nil},
		{"number: list", number, list{5}, nil},
	} {
		got, err := c.decode(message(t, c.reply))
		if c.want == nil && err == nil || c.want != nil && (err != nil || !reflect.DeepEqual(got, c.want)) {
			t.Errorf("%s: %v is %+v (%v), want %+v", c.name, c.reply, got, err, c.want)
		}
	}
}

// No reply makes a decoder panic.
func TestI7_NoReplyMakesADecoderPanic(t *testing.T) {
	all := []func(valkeygo.ValkeyMessage) (any, error){decoderOf(decodeEntries), decoderOf(readBlocks), decoderOf(decodeGaps),
		decoderOf(func(m valkeygo.ValkeyMessage) (tailReply, error) {
			return decodeTail(testKeys.stream, testKeys.closed, m)
		}),
		decoderOf(func(m valkeygo.ValkeyMessage) ([]string, error) { return decodeTexts("texts", m) }),
		decoderOf(func(m valkeygo.ValkeyMessage) (string, error) { return decodeText("a text", m) }),
		decoderOf(func(m valkeygo.ValkeyMessage) (int64, error) { return decodeNumber("a number", m) })}
	for _, c := range decodings {
		all = append(all, c.decode)
	}
	leaf := rapid.OneOf(rapid.Just[any](nil), rapid.Map(rapid.IntRange(-2, 5), func(n int) any { return n }), rapid.Just[any](true), rapid.Just[any](failure("ERR no")),
		rapid.SampledFrom([]any{"", "OK", "FENCED", "CLOSED", "CONFLICT", "FOREIGN", "5", "-5", "5-6", "json", "f", "n", "p", "b", "12345678", testKeys.stream, testKeys.closed}))
	var value func(depth int) *rapid.Generator[any]
	value = func(depth int) *rapid.Generator[any] {
		if depth == 0 {
			return leaf
		}
		return rapid.OneOf(leaf, rapid.Map(rapid.SliceOfN(value(depth-1), 0, 12), func(v []any) any { return list(v) }),
			rapid.Map(rapid.SliceOfN(value(depth-1), 0, 6), func(v []any) any { return pairs(v) }))
	}
	replies := value(4)
	rapid.Check(t, func(r *rapid.T) {
		for range 50 {
			m := message(r, replies.Draw(r, "reply"))
			for _, decode := range all {
				_, _ = decode(m)
			}
		}
	})
}

package jetstream_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// reference returns what a frame says according to encoding/json, and whether it is an event.
func reference(frame []byte) (e messages.Event, id string, valid, event bool) {
	var top map[string]json.RawMessage
	if !json.Valid(frame) || !utf8.Valid(frame) || json.Unmarshal(frame, &top) != nil || top == nil {
		return e, "", false, false
	}
	did, kind := str(top["did"]), str(top["kind"])
	e.TimeUS, e.Seq = integer(top["time_us"]), integer(top["cursor"])
	if did == "" || kind == "" || e.TimeUS == 0 {
		return e, "", true, false
	}
	if at, err := time.Parse(time.RFC3339Nano, str(top["witnessedAt"])); err == nil && at.UnixMicro() > 0 {
		e.TimeUS = at.UnixMicro()
	}
	var inner map[string]json.RawMessage
	_ = json.Unmarshal(top[kind], &inner)
	id = fmt.Sprintf("nameless %q %q %s", kind, did, otherMembers(frame))
	switch kind {
	case "commit":
		e.Kind = messages.KindCommit
		parts := []string{str(inner["rev"]), str(inner["operation"]), str(inner["collection"]), str(inner["rkey"])}
		for _, p := range parts {
			if p == "" {
				return e, "", true, false
			}
		}
		id = fmt.Sprintf("commit %q %q", did, parts)
	case "identity", "account":
		e.Kind = messages.KindIdentity
		if kind == "account" {
			e.Kind = messages.KindAccount
		}
		if seq := integer(inner["seq"]); seq != 0 {
			id = fmt.Sprintf("%s %q %d", kind, did, seq)
		}
	case "sync":
		e.Kind = messages.KindSync
		if rev := str(inner["rev"]); rev != "" {
			id = fmt.Sprintf("sync %q %q %s", did, rev, inner["blocks"])
		}
	case "gap":
		return e, "", true, false
	}
	return e, id, true, true
}

// otherMembers returns the members, as spelled, that are not common to all events.
func otherMembers(frame []byte) (spelled []string) {
	d := json.NewDecoder(bytes.NewReader(frame))
	for _, err := d.Token(); err == nil && d.More(); {
		from := d.InputOffset()
		var key json.Token
		if key, err = d.Token(); err != nil {
			break
		}
		raw := bytes.TrimLeft(frame[from:d.InputOffset()], ", \t\r\n")
		var value json.RawMessage
		if err = d.Decode(&value); err == nil && !slices.Contains([]json.Token{"did", "kind", "time_us", "cursor", "witnessedAt"}, key) {
			spelled = append(spelled, string(raw), string(value))
		}
	}
	return spelled
}

func str(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

func integer(raw json.RawMessage) int64 {
	var n int64
	if json.Unmarshal(raw, &n) != nil || n < 0 || n > 999999999999999999 {
		return 0
	}
	return n
}

// depth returns how deep a valid frame nests.
func depth(frame []byte) int {
	deepest, now := 0, 0
	d := json.NewDecoder(bytes.NewReader(frame))
	for {
		token, err := d.Token()
		if err != nil {
			return deepest
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			now++
			deepest = max(deepest, now)
		case json.Delim('}'), json.Delim(']'):
			now--
		}
	}
}

func compareWithReference(t interface{ Fatalf(string, ...any) }, frame []byte) (messages.Event, string) {
	var got messages.Event
	err := jetstream.Scan(frame, &got)
	want, id, valid, event := reference(frame)
	if valid && depth(frame) > 512 {
		valid, event = false, false
	}
	switch {
	case !valid && !errors.Is(err, jetstream.ErrBadJSON),
		valid && !event && !errors.Is(err, jetstream.ErrBadEvent),
		event && err != nil:
		t.Fatalf("%q: Scan says %v; valid = %v, event = %v", frame, err, valid, event)
	case err != nil:
		return got, ""
	}
	want.Fingerprint = got.Fingerprint
	if got != want {
		t.Fatalf("%q: Scan says %+v, want %+v", frame, got, want)
	}
	return got, id
}

func FuzzScan(f *testing.F) {
	for _, s := range shapes {
		f.Add([]byte(s))
	}
	for _, s := range []string{``, `{}`, `{"a":[{},[],"",0,-0.1e-5,true,false,null]}`, `{"did":"a","time_us":1,"kind":"x","v":"\ud800\u0041\udc00"}`,
		`{"did":"a","did":7,"time_us":12345678901234567890,"kind":"\u006b"}`, "{\"did\":\"\xc3\"}", `{"":{"":{"":[[[]]]}}}`,
		`{"did":"a","time_us":1,"kind":"account","account":{"seq":9e1},"account":{"seq":3}}`} {
		f.Add([]byte(s))
	}
	for _, frame := range corpus(f, "real_v1_shapes.jsonl") {
		f.Add(frame)
	}
	f.Fuzz(func(t *testing.T, frame []byte) { compareWithReference(t, frame) })
}

func FuzzSameIdentity(f *testing.F) {
	for i, a := range shapes {
		f.Add([]byte(a), []byte(shapes[(i+1)%len(shapes)]))
		f.Add([]byte(a), []byte(a))
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		ea, ida := compareWithReference(t, a)
		eb, idb := compareWithReference(t, b)
		if ida == "" || idb == "" {
			return
		}
		if same := jetstream.SameIdentity(a, b); same != (ida == idb) {
			t.Fatalf("same = %v, want %v:\n%q\n%q", same, ida == idb, a, b)
		}
		if ida == idb && ea.Fingerprint != eb.Fingerprint {
			t.Fatalf("one identity, two fingerprints:\n%q\n%q", a, b)
		}
	})
}

// The frames are built from few names and values, so that known keys, duplicates, wrong types and
// broken syntax often occur together.
func TestScanAgreesWithEncodingJSON(t *testing.T) {
	words := []string{`"did"`, `"time_us"`, `"cursor"`, `"kind"`, `"commit"`, `"identity"`, `"account"`, `"sync"`, `"gap"`, `"rev"`, `"operation"`, `"collection"`, `"rkey"`,
		`"seq"`, `"witnessedAt"`, `"2026-11-22T06:05:51.918217Z"`, `"k\u0069nd"`, `"s\u0065q"`, `""`, `"a\"b\\c\/\n"`, `"é🌩"`, `"\ud83c\udf29"`, `"\udf29x"`}
	others := []string{`1`, `0`, `-1`, `17`, `1.5`, `1e3`, `999999999999999999`, `1000000000000000000`, `true`, `false`, `null`}
	value := rapid.Deferred(func() *rapid.Generator[string] { return anyValue(words, others, 3) })
	rapid.Check(t, func(t *rapid.T) {
		frame := value.Draw(t, "frame")
		if rapid.IntRange(0, 3).Draw(t, "break it") == 0 && len(frame) > 0 {
			i := rapid.IntRange(0, len(frame)-1).Draw(t, "at")
			frame = frame[:i] + rapid.SampledFrom([]string{"", ",", "}", "\"", "\x00", "\x80", " "}).Draw(t, "with") + frame[i+1:]
		}
		compareWithReference(t, []byte(frame))
	})
}

// anyValue generates JSON values, mostly objects.
func anyValue(words, others []string, depth int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		shape := rapid.IntRange(0, 9).Draw(t, "shape")
		switch {
		case depth == 0 || shape < 2 && depth < 3:
			return rapid.SampledFrom(words).Draw(t, "word")
		case shape < 4 && depth < 3:
			return rapid.SampledFrom(others).Draw(t, "other")
		}
		inner := rapid.SliceOfN(anyValue(words, others, depth-1), 0, 7).Draw(t, "values")
		if shape == 4 {
			return "[" + strings.Join(inner, ",") + "]"
		}
		space := rapid.SampledFrom([]string{"", "", " ", "\t\n"}).Draw(t, "space")
		for i := range inner {
			inner[i] = space + rapid.SampledFrom(words).Draw(t, "key") + space + ":" + space + inner[i] + space
		}
		return "{" + strings.Join(inner, ",") + space + "}"
	})
}

func TestScanReadsTheCorpus(t *testing.T) {
	for _, file := range []string{"real_v1.jsonl", "real_v1_shapes.jsonl", "captured_v1.jsonl"} {
		seen := map[uint64]string{}
		for _, frame := range corpus(t, file) {
			e, id := compareWithReference(t, frame)
			if id == "" {
				t.Fatalf("%s: %s is no event", file, frame)
			}
			if other, twice := seen[e.Fingerprint]; twice {
				t.Errorf("%s: %s\nhas the fingerprint of %s", file, id, other)
			}
			seen[e.Fingerprint] = id
		}
	}
}

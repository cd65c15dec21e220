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

// pairs are the same events in v1 and in v2, with invented names and texts.
var pairs = [][2]string{
	{`{"did":"did:plc:a","time_us":1795327636563030,"cursor":18467,"kind":"commit","commit":{"rev":"3ke6","operation":"create","collection":"app.bsky.feed.like","rkey":"22b6","record":{"$type":"app.bsky.feed.like","createdAt":"1975-11-26T10:08:18Z","subject":{"cid":"b6ff7","uri":"at://did:plc:p5lw/app.bsky.feed.post/22an"},"text":"\u00e9 \"x\" 🌩️"},"cid":"bafyreigzx6"}}`,
		`{"$type":"message","payload":{"$type":"network.bsky.jetstream.subscribeEvents#commit","cid":"bafyreigzx6","collection":"app.bsky.feed.like","did":"did:plc:a","operation":"create","record":{"$type":"app.bsky.feed.like","createdAt":"1975-11-26T10:08:18Z","subject":{"cid":"b6ff7","uri":"at://did:plc:p5lw/app.bsky.feed.post/22an"},"text":"\u00e9 \"x\" 🌩️"},"rev":"3ke6","rkey":"22b6","seq":18467,"time":"2026-11-22T06:07:16.563030Z"}}`},
	{`{"did":"did:plc:b","time_us":1795327551918178,"cursor":12,"kind":"commit","commit":{"rev":"3ke6kg3wkzr22","operation":"delete","collection":"app.bsky.feed.post","rkey":"22amlwi2zrowy"}}`,
		`{"$type":"message","payload":{"$type":"network.bsky.jetstream.subscribeEvents#commit","collection":"app.bsky.feed.post","did":"did:plc:b","operation":"delete","rev":"3ke6kg3wkzr22","rkey":"22amlwi2zrowy","seq":12,"time":"2026-11-22T06:05:51.918178Z"}}`},
	{`{"did":"did:plc:b","time_us":1795327551918215,"cursor":20,"kind":"identity","identity":{"did":"did:plc:b","seq":43,"time":"2023-11-14T22:13:20.001Z"}}`,
		`{"$type":"message","payload":{"$type":"network.bsky.jetstream.subscribeEvents#identity","did":"did:plc:b","identity":{"did":"did:plc:b","seq":43,"time":"2023-11-14T22:13:20.001Z"},"seq":20,"time":"2026-11-22T06:05:51.918215Z"}}`},
	{`{"did":"did:plc:b","time_us":1795327551918216,"cursor":21,"kind":"account","account":{"active":false,"did":"did:plc:b","seq":44,"status":"deleted","time":"2023-11-14T22:13:20.001Z"}}`,
		`{"$type":"message","payload":{"$type":"network.bsky.jetstream.subscribeEvents#account","account":{"active":false,"did":"did:plc:b","seq":44,"status":"deleted","time":"2023-11-14T22:13:20.001Z"},"did":"did:plc:b","seq":21,"time":"2026-11-22T06:05:51.918216Z"}}`},
	{`{"did":"did:plc:b","time_us":1795327551918217,"cursor":22,"kind":"sync","sync":{"blocks":{"$bytes":"3q2+7w=="},"did":"did:plc:b","rev":"3l3rev","seq":45,"time":"2023-11-14T22:13:20.001Z"}}`,
		`{"$type":"message","payload":{"$type":"network.bsky.jetstream.subscribeEvents#sync","did":"did:plc:b","seq":22,"sync":{"blocks":{"$bytes":"3q2+7w=="},"did":"did:plc:b","rev":"3l3rev","seq":45,"time":"2023-11-14T22:13:20.001Z"},"time":"2026-11-22T06:05:51.918217Z"}}`},
	// Events that servers do not send, so far.
	{`{"did":"did:plc:b","time_us":1795327551918217,"cursor":22,"kind":"sync","sync":{"rev":"3l3rev","blocks":[]}}`,
		`{"$type":"message","payload":{"$type":"network.bsky.jetstream.subscribeEvents#sync","did":"did:plc:b","rev":"3l3rev","seq":22,"time":"2026-11-22T06:05:51.918217Z","blocks":[]}}`},
	{`{"did":"did:plc:b","time_us":1795327551918217,"kind":"label","label":{"val":1}}`,
		`{"$type":"message","payload":{"$type":"network.bsky.jetstream.subscribeEvents#label","did":"did:plc:b","label":{"val":1},"other":2,"time":"2026-11-22T06:05:51.918217Z"}}`},
	{`{"did":"did:plc:b","time_us":1795327551918217,"cursor":3,"kind":"label","label":{}}`,
		`{"$type":"message","payload":{"$type":"network.bsky.jetstream.subscribeEvents#label","did":"did:plc:b","seq":3,"time":"2026-11-22T06:05:51.918217Z"}}`},
	{`{"did":"did:plc:b","time_us":1000000,"kind":"commit","commit":{"rev":"r","operation":"create","collection":"c","rkey":"k","record":null,"cid":5,"prev":{"a":[1]},"blobs":[]}}`,
		`{"payload":{"prev":{"a":[1]}, "blobs" : [] ,"$type":"#commit","did":"did:plc:b","rev":"r","operation":"create","collection":"c","rkey":"k","record":null,"cid":5,"time":"1970-01-01T00:00:01Z"},"$type":"message"}`},
}

func unwrap(t testing.TB, frame string) (string, messages.Event) {
	t.Helper()
	var e messages.Event
	got, err := jetstream.Unwrap(nil, []byte(frame), &e)
	if err != nil {
		t.Fatalf("%s: %v", frame, err)
	}
	return string(got), e
}

func TestAV2FrameBecomesTheV1FrameOfTheSameEvent(t *testing.T) {
	for _, pair := range pairs {
		got, e := unwrap(t, pair[1])
		if got != pair[0] {
			t.Errorf("unwrapped it is\n%s, want\n%s", got, pair[0])
		}
		if want := scan(t, pair[0]); e != want || scan(t, pair[1]) != want {
			t.Errorf("the event is %+v, scanned raw %+v, want %+v", e, scan(t, pair[1]), want)
		}
		if again, _ := unwrap(t, pair[0]); again != pair[0] {
			t.Errorf("a v1 frame becomes\n%s", again)
		}
	}
}

func TestI2_IdentitiesAreTheSameOverEitherWire(t *testing.T) {
	for i, a := range pairs {
		for j, b := range pairs {
			if i == 4 && j == 5 || i == 5 && j == 4 {
				continue // the same sync in two shapes
			}
			for _, x := range a {
				for _, y := range b {
					if same := jetstream.SameIdentity([]byte(x), []byte(y)); same != (i == j) || same != (scan(t, x).Fingerprint == scan(t, y).Fingerprint) {
						t.Errorf("same = %v:\n%s\n%s", same, x, y)
					}
				}
			}
		}
	}
}

func TestUnwrapAppends(t *testing.T) {
	var e messages.Event
	got, err := jetstream.Unwrap([]byte("before"), []byte(pairs[0][1]), &e)
	if err != nil || string(got) != "before"+pairs[0][0] {
		t.Errorf("got %s, %v", got, err)
	}
	got, err = jetstream.Unwrap([]byte("before"), []byte(`{"$type":"message","payload":{}}`), &e)
	if err == nil || string(got) != "before" {
		t.Errorf("got %s, %v", got, err)
	}
}

func TestUnwrapDoesNotAllocate(t *testing.T) {
	room := make([]byte, 0, 4096)
	for _, pair := range pairs[:5] {
		frame := []byte(pair[1])
		var e messages.Event
		if n := testing.AllocsPerRun(100, func() {
			if _, err := jetstream.Unwrap(room, frame, &e); err != nil {
				t.Fatal(err)
			}
			if err := jetstream.Scan(frame, &e); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%v allocations for %s", n, frame)
		}
	}
}

func TestScanRefusesOfV2(t *testing.T) {
	payload := func(members string) string { return `{"$type":"message","payload":{` + members + `}}` }
	for _, c := range []struct {
		frame string
		kind  error
		want  string
	}{
		{`{"$type":"message","payload":{}`, jetstream.ErrBadJSON, "unexpected end"},
		{`{"$type":"message"}`, jetstream.ErrBadEvent, `"did"`},
		{`{"$type":"message","payload":[]}`, jetstream.ErrBadEvent, `"did"`},
		{`{"$type":"snapshot","payload":{"$type":"x#commit"}}`, jetstream.ErrBadEvent, `"did"`},
		{`{"$type":"error","error":"ConsumerTooSlow","message":"x"}`, jetstream.ErrBadEvent, `"did"`},
		{payload(`"$type":"commit"`), jetstream.ErrBadEvent, `"$type"`},
		{payload(`"$type":"x#"`), jetstream.ErrBadEvent, `"$type"`},
		{payload(`"$type":"x#a\"b"`), jetstream.ErrBadEvent, `"$type"`},
		{payload(`"$type":"x#` + strings.Repeat("k", 65) + `"`), jetstream.ErrBadEvent, `"$type"`},
		{payload(`"$type":"x#did"`), jetstream.ErrBadEvent, `"$type"`},
		{payload(`"$type":"x#gap","did":"a","time":"2026-11-22T06:05:51.918217Z"`), jetstream.ErrBadEvent, `"gap"`},
		{payload(`"$type":"x#info","name":"OutdatedCursor"`), jetstream.ErrBadEvent, `info`},
		{payload(`"$type":"x#commit","did":"a"`), jetstream.ErrBadEvent, `"time"`},
		{payload(`"$type":"x#commit","did":"a","time":"2026-13-22T06:05:51.918217Z"`), jetstream.ErrBadEvent, `"time"`},
		{payload(`"$type":"x#commit","did":"a","time":"2026-02-29T06:05:51.918217Z"`), jetstream.ErrBadEvent, `"time"`},
		{payload(`"$type":"x#commit","did":"a","time":"1969-12-31T23:59:59.999999Z"`), jetstream.ErrBadEvent, `"time"`},
		{payload(`"$type":"x#commit","time":"2026-11-22T06:05:51.918217Z"`), jetstream.ErrBadEvent, `"did"`},
		{payload(`"$type":"x#commit","did":"a","time":"2026-11-22T06:05:51.918217Z","rev":"r","collection":"c","operation":"o"`), jetstream.ErrBadEvent, `"rkey"`},
	} {
		var e messages.Event
		if err := jetstream.Scan([]byte(c.frame), &e); !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q gives %v, want %v with %q", c.frame, err, c.kind, c.want)
		}
	}
}

func TestV2TimesInOtherForms(t *testing.T) {
	for text, want := range map[string]int64{
		"2026-11-22T06:07:16.582807Z":      1795327636582807,
		"2026-11-22T06:07:16Z":             1795327636000000,
		"2026-11-22T07:07:16.5+01:00":      1795327636500000,
		"2026-11-22T06:07:16.582807999Z":   1795327636582807,
		`2026-11-22T06:07:16.58280\u0037Z`: 1795327636582807,
		"2024-02-29T00:00:00.000000Z":      1709164800000000,
	} {
		e := scan(t, `{"$type":"message","payload":{"$type":"#x","did":"a","time":"`+text+`"}}`)
		if e.TimeUS != want {
			t.Errorf("%s is %d, want %d", text, e.TimeUS, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		when := time.UnixMicro(rapid.Int64Range(1, 253402300799999999).Draw(t, "time")).UTC()
		text := when.Format("2006-01-02T15:04:05.000000Z")
		var e messages.Event
		if err := jetstream.Scan([]byte(`{"$type":"message","payload":{"$type":"#x","did":"a","time":"`+text+`"}}`), &e); err != nil || e.TimeUS != when.UnixMicro() {
			t.Fatalf("%s is %d (%v), want %d", text, e.TimeUS, err, when.UnixMicro())
		}
	})
}

// referenceV2 returns a v2 frame in v1's shape according to encoding/json, for the members that
// servers send; event is false if the frame is not an event.
func referenceV2(frame []byte) (v1 []byte, event bool) {
	var top struct {
		Type    json.RawMessage `json:"$type"`
		Payload json.RawMessage `json:"payload"`
	}
	var p map[string]json.RawMessage
	if json.Unmarshal(exactKeys(frame), &top) != nil || str(top.Type) != "message" || json.Unmarshal(top.Payload, &p) != nil || p == nil {
		return nil, false
	}
	_, kind, ok := cutLast(str(p["$type"]))
	at, err := time.Parse(time.RFC3339Nano, str(p["time"]))
	if !ok || kind == "info" || err != nil || at.UnixMicro() <= 0 || str(p["did"]) == "" {
		return nil, false
	}
	out := map[string]any{"did": p["did"], "time_us": at.UnixMicro(), "kind": kind}
	if seq := integer(p["seq"]); seq > 0 && seq < 1e15 { // a greater number is a time in its place
		out["cursor"] = seq
	}
	if at, err := time.Parse(time.RFC3339Nano, str(p["witnessedAt"])); err == nil && at.UnixMicro() > 0 {
		out["witnessedAt"] = p["witnessedAt"]
	}
	body := map[string]json.RawMessage{}
	for k, v := range p {
		if !slices.Contains([]string{"$type", "did", "seq", "time", "witnessedAt"}, k) {
			body[k] = v
		}
	}
	own, has := p[kind]
	switch {
	case kind == "commit":
		for _, k := range []string{"identity", "account", "sync"} {
			delete(body, k)
		}
		out[kind] = body
	case has:
		out[kind] = own
	default:
		out[kind] = body
	}
	v1, err = json.Marshal(out)
	return v1, err == nil
}

// exactKeys returns the frame with the exact keys only, because encoding/json ignores the case of
// keys when it decodes into structs.
func exactKeys(frame []byte) []byte {
	var keys map[string]json.RawMessage
	_ = json.Unmarshal(frame, &keys)
	exact := map[string]json.RawMessage{}
	for _, k := range []string{"$type", "payload"} {
		if v, ok := keys[k]; ok {
			exact[k] = v
		}
	}
	out, _ := json.Marshal(exact)
	return out
}

// compareV2 compares Unwrap with the reference. Kinds whose names servers do not use are left to
// other tests.
func compareV2(t interface{ Fatalf(string, ...any) }, frame []byte) {
	var e, raw messages.Event
	got, err := jetstream.Unwrap(nil, frame, &e)
	if rawErr := jetstream.Scan(frame, &raw); (err == nil) != (rawErr == nil) || raw != e {
		t.Fatalf("%q: Scan says %+v, %v, Unwrap %+v, %v", frame, raw, rawErr, e, err)
	}
	if !json.Valid(frame) || !utf8.Valid(frame) {
		if err == nil {
			t.Fatalf("%q is an event", frame)
		}
		return
	}
	if err == nil {
		var again messages.Event
		if err := jetstream.Scan(got, &again); err != nil || again != e {
			t.Fatalf("%q is %+v, unwrapped %+v (%v):\n%q", frame, e, again, err, got)
		}
		if !jetstream.SameIdentity(frame, got) {
			t.Fatalf("unwrapping %q changes its identity:\n%q", frame, got)
		}
	}
	want, event := referenceV2(frame)
	if !event {
		return
	}
	if _, _, _, event := reference(want); event != (err == nil) {
		if err == nil || event && !errors.Is(err, jetstream.ErrBadEvent) && depth(frame) <= 500 || event && plain(want) {
			t.Fatalf("%q: %v, want %q", frame, err, want)
		}
		return
	}
	if err == nil && !sameJSON(got, want) {
		t.Fatalf("%q becomes\n%q, want\n%q", frame, got, want)
	}
}

// plain says whether the kind of a frame is one of the usual names.
func plain(v1 []byte) bool {
	var top struct{ Kind string }
	_ = json.Unmarshal(v1, &top)
	return slices.Contains([]string{"commit", "identity", "account", "sync", "label"}, top.Kind)
}

func sameJSON(a, b []byte) bool {
	canonical := func(x []byte) string {
		var v any
		d := json.NewDecoder(bytes.NewReader(x))
		d.UseNumber()
		if err := d.Decode(&v); err != nil {
			return err.Error()
		}
		return fmt.Sprint(v)
	}
	return canonical(a) == canonical(b)
}

func FuzzScanV2(f *testing.F) {
	for _, pair := range pairs {
		f.Add([]byte(pair[1]))
	}
	for _, s := range []string{`{"$type":"message","payload":{"$type":"x#info","name":"OutdatedCursor","message":"m"}}`, `{"$type":"error","error":"E"}`,
		`{"did":"a","time_us":1,"kind":"x","payload":{"did":"b"}}`, `{"payload":{"$type":"#sync","did":"a","time":"2026-11-22T06:05:51.918217Z"},"$type":"m\u0065ssage","payload":1}`,
		`{"$type":"message","payload":{"$type":"\u0023\u0063ommit","did":"\u0061","time":"2026-11-22T06:05:51.918217\u005a","rev":"r","operation":"o","collection":"c","rkey":"\n","x":1,"x":2}}`,
		`{"$type":"message","payload":{"$type":"#label","l\u0061bel":5,"did":"a","time":"2026-11-22T06:05:51,9Z"}}`,
		`{"$type":"message","payload":{"$type":"#label","did":"a","time":"2026-11-22\u005C"}}`,
		`{"$type":"message","payload":{"$type":"#label","did":"a","time":"2026-11-22T06:05:51.918217Z","witnessedAt":"2026-11-22T06:05:52.918217Z"}}`,
		`{"$type":"message","payload":{"$type":"#sync","did":"a","time":"2026-11-22T06:05:51.918217Z","witnessedAt":5,"wit\u006eessedAt":"2026-11-22T06:05:5\u0032Z"}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, frame []byte) { compareV2(t, frame) })
}

// The payloads are built from few names and values, so that known keys, duplicates and wrong types
// often occur together.
func TestUnwrapAgreesWithEncodingJSON(t *testing.T) {
	words := []string{`"$type"`, `"did"`, `"seq"`, `"time"`, `"witnessedAt"`, `"rev"`, `"operation"`, `"collection"`, `"rkey"`, `"record"`, `"cid"`, `"identity"`, `"account"`, `"sync"`, `"label"`,
		`"#commit"`, `"x#identity"`, `"#account"`, `"#sync"`, `"#label"`, `"2026-11-22T06:05:51.918217Z"`, `"s\u0065q"`, `"é🌩"`, `"a\"b"`}
	others := []string{`1`, `0`, `17`, `1.5`, `999999999999999999`, `1000000000000000000`, `true`, `null`}
	rapid.Check(t, func(t *rapid.T) {
		var members []string
		for _, fixed := range []string{`"$type":"#commit"`, `"$type":"#sync"`, `"$type":"#label"`, `"did":"did:plc:a"`, `"time":"2026-11-22T06:05:51.918217Z"`, `"rev":"r"`,
			`"operation":"create"`, `"collection":"c.d.e"`, `"rkey":"k"`, `"seq":5`} {
			if rapid.IntRange(0, 4).Draw(t, "with "+fixed) > 0 {
				members = append(members, fixed)
			}
		}
		for range rapid.IntRange(0, 4).Draw(t, "more") {
			members = append(members, rapid.SampledFrom(words).Draw(t, "key")+":"+anyValue(words, others, 2).Draw(t, "value"))
		}
		members = rapid.Permutation(members).Draw(t, "members")
		compareV2(t, []byte(`{"$type":"message","payload":{`+strings.Join(members, ",")+`}}`))
	})
}

func TestUnwrapReadsTheCorpus(t *testing.T) {
	for _, files := range [][2]string{{"captured_v1.jsonl", "captured_v2.jsonl"}} {
		v1 := map[int64][]byte{}
		for _, frame := range corpus(t, files[0]) {
			v1[scan(t, string(frame)).Seq] = frame
		}
		for _, frame := range corpus(t, files[1]) {
			got, e := unwrap(t, string(frame))
			if want := v1[e.Seq]; got != string(want) {
				t.Fatalf("%s\nbecomes %s\nwant    %s", frame, got, want)
			}
			if !jetstream.SameIdentity(frame, v1[e.Seq]) || scan(t, string(frame)) != scan(t, got) {
				t.Fatalf("%s is another event in v1", frame)
			}
		}
	}
}

func cutLast(s string) (before, after string, found bool) {
	i := strings.LastIndexByte(s, '#')
	return s[:max(i, 0)], s[i+1:], i >= 0
}

package jetstream_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// One frame of each shape that the network has, with invented names and texts.
var shapes = []string{
	eventJSON(1),
	`{"did":"did:plc:aaaaaaaaaaaaaaaaaaaaaaaa","time_us":1779719009157119,"kind":"commit","commit":{"rev":"3mmoojpaqkn2z","operation":"create","collection":"app.bsky.feed.post","rkey":"3mmoojp4cd223","record":{"$type":"app.bsky.feed.post","createdAt":"2026-05-25T14:23:28.757Z","langs":["en"],"reply":{"parent":{"cid":"bafyreia","uri":"at://did:plc:b/app.bsky.feed.post/1"},"root":{"cid":"bafyreia","uri":"at://did:plc:b/app.bsky.feed.post/1"}},"text":"a \"quoted\" line\nand 🌩️ ünïcode \u00e9 \ud83d\ude00"},"cid":"bafyreic"}}`,
	`{"did":"did:plc:cccccccccccccccccccccccc","time_us":1779719010689411,"kind":"commit","commit":{"rev":"3mmoojqsbjf2d","operation":"update","collection":"app.bsky.actor.profile","rkey":"self","record":{"$type":"app.bsky.actor.profile","avatar":{"$type":"blob","ref":{"$link":"bafkreiea"},"mimeType":"image/jpeg","size":720303},"nothing":null,"yes":true,"no":false,"list":[],"object":{},"n":-1.5e+3},"cid":"bafyreib"}}`,
	`{"did":"did:plc:dddddddddddddddddddddddd","time_us":1795327551918178,"cursor":12,"kind":"commit","commit":{"rev":"3ke6kg3wkzr22","operation":"delete","collection":"app.bsky.feed.post","rkey":"22amlwi2zrowy"}}`,
	`{"did":"did:plc:eeeeeeeeeeeeeeeeeeeeeeee","time_us":1779719010267528,"kind":"identity","identity":{"did":"did:plc:eeeeeeeeeeeeeeeeeeeeeeee","seq":30340180350,"time":"2026-05-25T14:23:29.950Z"}}`,
	`{"did":"did:plc:eeeeeeeeeeeeeeeeeeeeeeee","time_us":1779719010272410,"kind":"account","account":{"active":true,"did":"did:plc:eeeeeeeeeeeeeeeeeeeeeeee","seq":30340180351,"time":"2026-05-25T14:23:29.950Z"}}`,
	`{"did":"did:plc:ffffffffffffffffffffffff","time_us":1779719010272411,"kind":"sync","sync":{"did":"did:plc:ffffffffffffffffffffffff","rev":"3ke6kg3wkzr22"}}`,
	`{"did":"did:web:example.com","time_us":1,"kind":"something_new","something_new":[1,2,3]}`,
}

func scan(t testing.TB, frame string) messages.Event {
	t.Helper()
	var e messages.Event
	if err := jetstream.Scan([]byte(frame), &e); err != nil {
		t.Fatalf("%s: %v", frame, err)
	}
	return e
}

func TestScanFindsTheFields(t *testing.T) {
	for i, want := range []messages.Event{
		{Kind: messages.KindCommit, TimeUS: 1795327636563031, Seq: 1},
		{Kind: messages.KindCommit, TimeUS: 1779719009157119},
		{Kind: messages.KindCommit, TimeUS: 1779719010689411},
		{Kind: messages.KindCommit, TimeUS: 1795327551918178, Seq: 12},
		{Kind: messages.KindIdentity, TimeUS: 1779719010267528},
		{Kind: messages.KindAccount, TimeUS: 1779719010272410},
		{Kind: messages.KindSync, TimeUS: 1779719010272411},
		{Kind: messages.KindUnknown, TimeUS: 1},
	} {
		got := scan(t, shapes[i])
		if got.Fingerprint == 0 {
			t.Errorf("shape %d has no fingerprint", i)
		}
		if got.Fingerprint = 0; got != want {
			t.Errorf("shape %d is %+v, want %+v", i, got, want)
		}
	}
}

func TestScanLeavesTheRestOfTheEventAlone(t *testing.T) {
	e := messages.Event{Off: 7, Len: 8, Drop: true}
	if err := jetstream.Scan([]byte(shapes[0]), &e); err != nil {
		t.Fatal(err)
	}
	if e.Off != 7 || e.Len != 8 || !e.Drop {
		t.Errorf("changed to %+v", e)
	}
	before := e
	if err := jetstream.Scan([]byte(`{"did":"a","time_us":5,"kind":"commit"}`), &e); err == nil || e != before {
		t.Errorf("a frame that fails (%v) changed the event to %+v", err, e)
	}
}

// The fingerprint is stored beside the entries. If it changed, no stored entry would be recognised
// any more.
func TestI2_FingerprintsNeverChange(t *testing.T) {
	for i, want := range []uint64{0x27142c27e1159e72, 0x14dd4e49c215820e, 0xeef8efb725cddfda, 0x3ed045a4b4649f5a, 0x710ffd2b7bbb419b, 0x76bc6b2aea8f4133, 0x42ab9b8f3d48e844, 0x43da2f308edda230} {
		if got := scan(t, shapes[i]).Fingerprint; got != want {
			t.Errorf("shape %d has the fingerprint %#x, want %#x", i, got, want)
		}
	}
}

func TestI2_SpellingDoesNotChangeAnIdentity(t *testing.T) {
	plain := `{"did":"did:plc:a","time_us":5,"cursor":6,"kind":"commit","commit":{"rev":"r1","operation":"create","collection":"c.d/é","rkey":"k"}}`
	for name, other := range map[string]string{
		"another time and sequence number": `{"did":"did:plc:a","time_us":99,"cursor":1,"kind":"commit","commit":{"rev":"r1","operation":"create","collection":"c.d/é","rkey":"k"}}`,
		"no sequence number":               `{"did":"did:plc:a","time_us":5,"kind":"commit","commit":{"rev":"r1","operation":"create","collection":"c.d/é","rkey":"k"}}`,
		"another order":                    `{"commit":{"rkey":"k","collection":"c.d/é","operation":"create","rev":"r1"},"kind":"commit","time_us":5,"did":"did:plc:a"}`,
		"white space":                      " {\n\t\"did\" : \"did:plc:a\" ,\r\n\"time_us\": 5 , \"kind\" :\"commit\",\"commit\": { \"rev\":\"r1\" , \"operation\":\"create\",\"collection\":\"c.d/é\",\"rkey\":\"k\" } } \n",
		"escapes in values":                `{"did":"did\u003aplc:\u0061","time_us":5,"kind":"\u0063ommit","commit":{"rev":"r\u0031","operation":"create","collection":"c.d\/\u00e9","rkey":"k"}}`,
		"escapes in keys":                  `{"d\u0069d":"did:plc:a","time\u005Fus":5,"\u006bind":"commit","\u0063\u006f\u006d\u006d\u0069\u0074":{"r\u0065v":"r1","operation":"create","\u0063\u006f\u006c\u006c\u0065\u0063\u0074\u0069\u006f\u006e":"c.d/é","rkey":"k"}}`,
		"duplicate keys, the last counts":  `{"did":"x","did":"did:plc:a","time_us":4,"time_us":5,"kind":"sync","kind":"commit","commit":{"rev":"zz"},"commit":{"rev":"r0","rev":"r1","operation":"create","collection":"c.d/é","rkey":"k"}}`,
		"a record and other members":       `{"did":"did:plc:a","time_us":5,"kind":"commit","extra":{"did":"no","commit":{"rev":"no"}},"commit":{"rev":"r1","operation":"create","collection":"c.d/é","rkey":"k","record":{"rev":"no","did":"no"},"did":"no"},"identity":{"seq":4}}`,
	} {
		if a, b := scan(t, plain), scan(t, other); a.Fingerprint != b.Fingerprint {
			t.Errorf("%s: the fingerprints differ", name)
		}
		if !jetstream.SameIdentity([]byte(plain), []byte(other)) {
			t.Errorf("%s: the identities differ", name)
		}
	}
}

func TestI2_DifferentEventsHaveDifferentIdentities(t *testing.T) {
	frames := append([]string{
		`{"did":"did:plc:a","time_us":5,"kind":"commit","commit":{"rev":"r","operation":"create","collection":"c","rkey":"k"}}`,
		`{"did":"did:plc:b","time_us":5,"kind":"commit","commit":{"rev":"r","operation":"create","collection":"c","rkey":"k"}}`,
		`{"did":"did:plc:a","time_us":5,"kind":"commit","commit":{"rev":"s","operation":"create","collection":"c","rkey":"k"}}`,
		`{"did":"did:plc:a","time_us":5,"kind":"commit","commit":{"rev":"r","operation":"delete","collection":"c","rkey":"k"}}`,
		`{"did":"did:plc:a","time_us":5,"kind":"commit","commit":{"rev":"r","operation":"create","collection":"d","rkey":"k"}}`,
		`{"did":"did:plc:a","time_us":5,"kind":"commit","commit":{"rev":"r","operation":"create","collection":"c","rkey":"l"}}`,
		`{"did":"did:plc:a","time_us":5,"kind":"commit","commit":{"rev":"r","operation":"create","collection":"k","rkey":"c"}}`,
		`{"did":"did:plc:a","time_us":5,"kind":"commit","commit":{"rev":"r","operation":"create","collection":"ck","rkey":"\u0000"}}`,
		`{"did":"did:plc:a","time_us":5,"kind":"commit","commit":{"rev":"r","operation":"create","collection":"c","rkey":"k\u0000"}}`,
		`{"did":"did:plc:a","time_us":5,"kind":"identity","identity":{"seq":1}}`,
		`{"did":"did:plc:a","time_us":5,"kind":"identity","identity":{"seq":2}}`,
		`{"did":"did:plc:b","time_us":5,"kind":"identity","identity":{"seq":1}}`,
		`{"did":"did:plc:a","time_us":5,"kind":"account","account":{"seq":1}}`,
		`{"did":"did:plc:a","time_us":5,"kind":"sync","sync":{"rev":"r"}}`,
		`{"did":"did:plc:a","time_us":5,"kind":"sync","sync":{"rev":"s"}}`,
		`{"did":"did:plc:a","time_us":5,"kind":"identity"}`,
		`{"did":"did:plc:a","time_us":5,"kind":"odd"}`,
		`{"did":"did:plc:b","time_us":5,"kind":"odd"}`,
		`{"did":"did:plc:a","time_us":5,"kind":"odd","odd":{}}`,
		`{"did":"did:plc:a","time_us":5,"kind":"other","odd":{}}`,
		`{"did":"did:plc:a","time_us":5,"kind":"odd","odd":{"a":1}}`,
		`{"did":"did:plc:a","time_us":5,"kind":"sync","sync":{"rev":"r","blocks":{"$bytes":"3q2+7w=="}}}`,
		`{"did":"did:plc:a","time_us":5,"kind":"sync","sync":{"rev":"r","blocks":{"$bytes":"3q2+8w=="}}}`,
	}, shapes...)
	for i, a := range frames {
		for j, b := range frames {
			same := jetstream.SameIdentity([]byte(a), []byte(b))
			if hash := scan(t, a).Fingerprint == scan(t, b).Fingerprint; same != hash || same != (i == j) {
				t.Errorf("same = %v, same fingerprint = %v:\n%s\n%s", same, hash, a, b)
			}
		}
	}
}

func TestScanRefuses(t *testing.T) {
	for _, c := range []struct {
		frame string
		kind  error
		want  string
	}{
		{``, jetstream.ErrBadJSON, "unexpected end at byte 0"},
		{`[]`, jetstream.ErrBadJSON, "byte 0"},
		{`"did"`, jetstream.ErrBadJSON, "byte 0"},
		{`{"did":"a"} x`, jetstream.ErrBadJSON, "byte 12"},
		{`{"did":"a"}{}`, jetstream.ErrBadJSON, "byte 11"},
		{`{"did":"a",}`, jetstream.ErrBadJSON, "byte 11"},
		{`{"did" "a"}`, jetstream.ErrBadJSON, "byte 7"},
		{`{"did":"a"`, jetstream.ErrBadJSON, "unexpected end at byte 10"},
		{`{"a":01}`, jetstream.ErrBadJSON, "byte 6"},
		{`{"a":1.}`, jetstream.ErrBadJSON, "byte 7"},
		{`{"a":+1}`, jetstream.ErrBadJSON, "byte 5"},
		{`{"a":tru}`, jetstream.ErrBadJSON, "byte 5"},
		{`{"a":[1,]}`, jetstream.ErrBadJSON, "byte 8"},
		{`{"a":[1}}`, jetstream.ErrBadJSON, "byte 7"},
		{`{"a":{"b":1]}`, jetstream.ErrBadJSON, "byte 11"},
		{"{\"a\":\"\n\"}", jetstream.ErrBadJSON, "control character at byte 6"},
		{`{"a":"\x"}`, jetstream.ErrBadJSON, "byte 7"},
		{`{"a":"\u00g0"}`, jetstream.ErrBadJSON, "byte 10"},
		{"{\"a\":\"\xff\"}", jetstream.ErrBadJSON, "UTF-8, at byte 6"},
		{"{\"a\":\"\xed\xa0\x80\"}", jetstream.ErrBadJSON, "UTF-8, at byte 6"},
		{"\xef\xbb\xbf{}", jetstream.ErrBadJSON, "byte 0"},
		{`{}`, jetstream.ErrBadEvent, `"did"`},
		{`{"did":"","time_us":1,"kind":"x"}`, jetstream.ErrBadEvent, `"did"`},
		{`{"did":5,"time_us":1,"kind":"x"}`, jetstream.ErrBadEvent, `"did"`},
		{`{"did":"a","did":null,"time_us":1,"kind":"x"}`, jetstream.ErrBadEvent, `"did"`},
		{`{"did":"a","kind":"x"}`, jetstream.ErrBadEvent, `"time_us"`},
		{`{"did":"a","time_us":0,"kind":"x"}`, jetstream.ErrBadEvent, `"time_us"`},
		{`{"did":"a","time_us":-1,"kind":"x"}`, jetstream.ErrBadEvent, `"time_us"`},
		{`{"did":"a","time_us":1.0,"kind":"x"}`, jetstream.ErrBadEvent, `"time_us"`},
		{`{"did":"a","time_us":1e9,"kind":"x"}`, jetstream.ErrBadEvent, `"time_us"`},
		{`{"did":"a","time_us":"1","kind":"x"}`, jetstream.ErrBadEvent, `"time_us"`},
		{`{"did":"a","time_us":1000000000000000000,"kind":"x"}`, jetstream.ErrBadEvent, `"time_us"`},
		{`{"did":"a","time_us":1}`, jetstream.ErrBadEvent, `"kind"`},
		{`{"did":"a","time_us":1,"kind":"commit"}`, jetstream.ErrBadEvent, `"commit"`},
		{`{"did":"a","time_us":1,"kind":"commit","commit":[]}`, jetstream.ErrBadEvent, `"commit"`},
		{`{"did":"a","time_us":1,"kind":"commit","commit":{"rev":"r","operation":"create","collection":"c"}}`, jetstream.ErrBadEvent, `"rkey"`},
		{`{"did":"a","time_us":1,"kind":"gap"}`, jetstream.ErrBadEvent, `"gap"`},
	} {
		var e messages.Event
		err := jetstream.Scan([]byte(c.frame), &e)
		var frame *jetstream.FrameError
		if !errors.Is(err, c.kind) || !errors.As(err, &frame) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q gives %v, want %v with %q", c.frame, err, c.kind, c.want)
		}
	}
}

func TestI7_NestingIsBounded(t *testing.T) {
	nested := func(depth int) string {
		return `{"did":"a","time_us":1,"kind":"x","v":` + strings.Repeat(`[`, depth-1) + strings.Repeat(`]`, depth-1) + `}`
	}
	scan(t, nested(512))
	var e messages.Event
	for _, depth := range []int{513, 100_000} {
		if err := jetstream.Scan([]byte(nested(depth)), &e); !errors.Is(err, jetstream.ErrBadJSON) {
			t.Errorf("depth %d gives %v", depth, err)
		}
	}
	mixed := `{"did":"a","time_us":1,"kind":"x","v":` + strings.Repeat(`[{"a":`, 200) + `1` + strings.Repeat(`}]`, 200) + `}`
	scan(t, mixed)
}

func TestI7_ErrorsAreBoundedAndRepeatNothing(t *testing.T) {
	secret := strings.Repeat("hunter2 ", 1000)
	for _, frame := range []string{secret, `{"` + secret, `{"did":"` + secret + `"}`, `{"did":"a","time_us":1,"kind":"commit","commit":{"rev":"` + secret + `"}}`} {
		var e messages.Event
		err := jetstream.Scan([]byte(frame), &e)
		if err == nil || len(err.Error()) > 200 || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error is %v", err)
		}
	}
}

func TestScanDoesNotAllocate(t *testing.T) {
	for i, shape := range shapes[:7] { // the last one has no identity of its own
		frame := []byte(shape)
		var e messages.Event
		if n := testing.AllocsPerRun(100, func() {
			if err := jetstream.Scan(frame, &e); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("shape %d costs %v allocations", i, n)
		}
	}
}

// The padding puts every byte of a frame at every position within a machine word.
func TestScanIsTheSameAtEveryAlignment(t *testing.T) {
	for _, shape := range shapes[:7] {
		want := scan(t, shape)
		for pad := range 17 {
			arena := append(bytes.Repeat([]byte("x"), pad), shape...)
			arena = append(arena, strings.Repeat(`"\`, 8)...)
			var got messages.Event
			if err := jetstream.Scan(arena[pad:pad+len(shape)], &got); err != nil || got != want {
				t.Fatalf("at %d: %+v, %v", pad, got, err)
			}
		}
		for cut := range len(shape) {
			var e messages.Event
			if err := jetstream.Scan([]byte(shape)[:cut], &e); !errors.Is(err, jetstream.ErrBadJSON) {
				t.Fatalf("the first %d bytes give %v", cut, err)
			}
		}
	}
}

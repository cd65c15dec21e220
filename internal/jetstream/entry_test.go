package jetstream_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// wrapped returns the v2 frame of an entry.
func wrapped(t testing.TB, entry string) string {
	t.Helper()
	var e jetstream.Entry
	if !e.Read([]byte(entry)) {
		t.Fatalf("no entry: %s", entry)
	}
	frame, _ := e.V2(nil)
	return string(frame)
}

func TestAnEntryBecomesTheV2FrameOfTheSameEvent(t *testing.T) {
	for _, pair := range pairs[:5] { // the events that servers send
		if got := wrapped(t, pair[0]); got != pair[1] {
			t.Errorf("it is\n%s, want\n%s", got, pair[1])
		}
		if got := wrapped(t, pair[1]); got != pair[1] {
			t.Errorf("a v2 frame becomes\n%s", got)
		}
	}
	for _, pair := range pairs[5:] {
		var frame struct {
			Type    string                     `json:"$type"`
			Payload map[string]json.RawMessage `json:"payload"`
		}
		got := wrapped(t, pair[0])
		if err := json.Unmarshal([]byte(got), &frame); err != nil {
			t.Errorf("%v: %s", err, got)
		}
		if sorted, _ := json.Marshal(frame); string(sorted) != got {
			t.Errorf("its keys are not sorted: %s", got)
		}
		if again, _ := unwrap(t, got); again != pair[0] && !strings.Contains(pair[0], `"cid":5`) {
			t.Errorf("unwrapped again it is\n%s, want\n%s", again, pair[0])
		}
	}
}

func TestRecordedFramesAreWrappedAsTheyCame(t *testing.T) {
	frames := allAsV2(realistic(500))
	for _, file := range []string{"captured_v2.jsonl", "captured_v2.zst.expect.jsonl"} {
		frames = append(frames, corpus(t, file)...)
	}
	for _, frame := range frames {
		v1, _ := unwrap(t, string(frame))
		if got := wrapped(t, v1); got != string(frame) {
			t.Fatalf("it is\n%s, want\n%s", got, frame)
		}
	}
	t.Logf("%d frames", len(frames))
}

// A frame that was unwrapped and wrapped again has its original bytes, whatever members an upstream
// adds to a commit.
func TestUnwrappedAndWrappedAgainAFrameIsItself(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		payload := map[string]any{
			"$type": "network.bsky.jetstream.subscribeEvents#commit", "did": "did:plc:" + rapid.StringMatching(`[a-z2-7]{1,24}`).Draw(r, "did"),
			"rev": "r", "rkey": rapid.String().Draw(r, "rkey") + "k", "operation": "create", "collection": "a.b.c",
			"seq":  rapid.Int64Range(1, 1e15-1).Draw(r, "seq"),
			"time": time.UnixMicro(rapid.Int64Range(1, 4e15).Draw(r, "time")).UTC().Format("2006-01-02T15:04:05.000000Z"),
		}
		if rapid.Bool().Draw(r, "record") {
			payload["record"] = rapid.MapOf(rapid.String(), rapid.SliceOf(rapid.Int())).Draw(r, "value")
			payload["cid"] = "bafy"
		}
		for name, v := range rapid.MapOfN(rapid.StringMatching(`[a-zA-Z][a-zA-Z0-9_$-]{0,8}`), rapid.Bool(), 0, 4).Draw(r, "more") {
			if _, taken := payload[name]; !taken && name != "identity" && name != "account" && name != "sync" {
				payload[name] = v
			}
		}
		frame, err := json.Marshal(map[string]any{"$type": "message", "payload": payload})
		if err != nil {
			r.Fatal(err)
		}
		v1, _ := unwrap(t, string(frame))
		if got := wrapped(t, v1); got != string(frame) {
			r.Fatalf("it is\n%s, want\n%s", got, frame)
		}
	})
}

// An event from a server without sequence numbers has its time as its number. Another daemon that
// reads it stores the same bytes as the first.
func TestAnEventWithoutASequenceNumberGetsItsTime(t *testing.T) {
	const event = `{"did":"did:plc:a","time_us":1795327636563030,"kind":"identity","identity":{"did":"did:plc:a","seq":43}}`
	frame := wrapped(t, event)
	if !strings.Contains(frame, `"seq":1795327636563030,"time":"2026-11-22T06:07:16.563030Z"`) {
		t.Error(frame)
	}
	if again, e := unwrap(t, frame); again != event || e.Seq != 0 {
		t.Errorf("stored again it is %s with seq %d", again, e.Seq)
	}
}

func TestTimesAreWrittenAsServersDo(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		us := rapid.Int64Range(1, 999_999_999_999_999_999).Draw(r, "us")
		frame := wrapped(t, fmt.Sprintf(`{"did":"d","time_us":%d,"kind":"identity","identity":{}}`, us))
		want := min(us, time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC).UnixMicro())
		if text := time.UnixMicro(want).UTC().Format("2006-01-02T15:04:05.000000Z"); !strings.HasSuffix(frame, `,"time":"`+text+`"}}`) {
			r.Fatalf("%s, want %s", frame, text)
		}
	})
}

func TestAnEntryTellsWhatAFilterAsks(t *testing.T) {
	const escaped = `{"d\u0069d":"did:plc:\u0061","time_us":7,"cursor":5,"kind":"comm\u0069t","commit":{"rev":"r","operation":"create","collection":"a.b.\u0063","rkey":"k"}}`
	var e jetstream.Entry
	if !e.Read([]byte(escaped)) || e.Kind() != messages.KindCommit || string(e.DID()) != "did:plc:a" || string(e.Collection()) != "a.b.c" || e.TimeUS() != 7 || e.Seq() != 5 {
		t.Errorf("%v %s %s %d %d", e.Kind(), e.DID(), e.Collection(), e.TimeUS(), e.Seq())
	}
	if frame, _ := e.V2(nil); !json.Valid(frame) {
		t.Errorf("%s", frame)
	}
	if !e.Read([]byte(gapEntryOf)) || e.Kind() != messages.KindGap || e.TimeUS() != 1795370836563030 || e.DID() != nil {
		t.Errorf("a gap entry is a %v of %d", e.Kind(), e.TimeUS())
	}
	for _, bad := range []string{``, `{}`, `[]`, `{"did":"d","time_us":1,"kind":"commit"}`, `{"kind":`} {
		if e.Read([]byte(bad)) {
			t.Errorf("%q is an entry", bad)
		}
	}
}

func TestARenumberedEntryIsTheSameButForItsNumber(t *testing.T) {
	const v1, v2 = `{"did":"d","time_us":7,"cursor":9,"kind":"identity","identity":{"seq":43}}`, `{"$type":"message","payload":{"$type":"x#identity","did":"d","identity":{"seq":43},"seq":9,"time":"2026-11-22T06:07:16.563030Z"}}`
	for entry, want := range map[string][2]string{
		v1: {strings.Replace(v1, "9", "12345", 1), ""},
		strings.Replace(v1, `"cursor":9,`, ``, 1): {strings.Replace(v1, "9", "12345", 1), ""},
		v2:                                     {"", strings.Replace(v2, `"seq":9`, `"seq":12345`, 1)},
		strings.Replace(v2, `,"seq":9`, ``, 1): {"", strings.NewReplacer(`,"seq":9`, ``, `{"$type":"x#`, `{"seq":12345,"$type":"x#`).Replace(v2)},
		`{ "time_us" : 7 , "kind":"x","did":"d","cursor" : "no" }`: {`{ "time_us" : 7 , "kind":"x","did":"d","cursor" : 12345 }`, ""},
	} {
		gotV1, gotV2 := renumbered(t, []byte(entry))
		if want[0] != "" && gotV1 != want[0] {
			t.Errorf("in v1 it is\n%s, want\n%s", gotV1, want[0])
		}
		if want[1] != "" && gotV2 != want[1] {
			t.Errorf("in v2 it is\n%s, want\n%s", gotV2, want[1])
		}
	}
}

// renumbered returns an entry in both shapes with the number 12345. Both must have this number and
// must otherwise be unchanged.
func renumbered(t testing.TB, event []byte) (v1, v2 string) {
	t.Helper()
	const number = 12345
	var e jetstream.Entry
	if !e.Read(event) {
		t.Fatalf("%q is no entry", event)
	}
	e.Renumber(number)
	one, _ := e.V1(nil)
	two, _ := e.V2(nil)
	for _, text := range [][]byte{one, two} {
		var again jetstream.Entry
		if text == nil {
			continue
		}
		if !json.Valid(text) || !again.Read(text) || again.Seq() != number || again.TimeUS() != min(e.TimeUS(), again.TimeUS()) ||
			again.Kind() != e.Kind() || !bytes.Equal(again.DID(), e.DID()) || !bytes.Equal(again.Collection(), e.Collection()) {
			t.Fatalf("%q becomes %q", event, text)
		}
	}
	return string(one), string(two)
}

const gapEntryOf = `{"kind":"gap","time_us":1795370836563030,"gap":{"host":"jetstream2.us-east.bsky.network:443","from_us":1,"to_us":2,"cause":"replay_window"}}`

func FuzzEntry(f *testing.F) {
	for _, pair := range pairs {
		f.Add([]byte(pair[0]))
		f.Add([]byte(pair[1]))
	}
	f.Add([]byte(gapEntryOf))
	f.Fuzz(func(t *testing.T, event []byte) {
		var e jetstream.Entry
		if !e.Read(event) || e.Kind() == messages.KindGap {
			return
		}
		v1, _ := e.V1(nil)
		v2, _ := e.V2(nil)
		if v2 == nil && e.Kind() == messages.KindUnknown {
			v2 = event
		}
		if !json.Valid(v1) || !json.Valid(v2) {
			t.Fatalf("%q becomes %q and %q", event, v1, v2)
		}
		renumbered(t, event)
		var again jetstream.Entry
		if !again.Read(v2) || again.Kind() != e.Kind() || !bytes.Equal(again.DID(), e.DID()) || !bytes.Equal(again.Collection(), e.Collection()) {
			t.Fatalf("%q becomes %q, which is another event", event, v2)
		}
	})
}

func BenchmarkEntry(b *testing.B) {
	frames := realistic(1000)
	for name, of := range map[string]func(*jetstream.Entry, []byte) []byte{
		"v1": func(e *jetstream.Entry, buf []byte) []byte { _, buf = e.V1(buf); return buf },
		"v2": func(e *jetstream.Entry, buf []byte) []byte { _, buf = e.V2(buf); return buf },
	} {
		b.Run(name, func(b *testing.B) {
			var e jetstream.Entry
			var buf []byte
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if !e.Read(frames[i%len(frames)]) {
					b.Fatal("no entry")
				}
				buf = of(&e, buf[:0])
			}
		})
	}
}

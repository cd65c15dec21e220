package dedupe_test

import (
	"fmt"
	"testing"
	"time"

	"tempestd/internal/dedupe"
	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// told returns n events of each kind, as the two protocols send them.
func told(n int, at func(i int) int64) (v1, v2 []string) {
	const name = "network.bsky.jetstream.subscribeEvents#"
	for i := range n {
		us := at(i)
		when := time.UnixMicro(us).UTC().Format("2006-01-02T15:04:05.000000Z")
		v1 = append(v1, fmt.Sprintf(`{"did":"did:plc:a","time_us":%d,"cursor":%d,"kind":"commit","commit":{"rev":"r%d","operation":"create","collection":"c.d.e","rkey":"k","record":{},"cid":"b"}}`, us, i+1, i))
		v2 = append(v2, fmt.Sprintf(`{"$type":"message","payload":{"$type":"%scommit","cid":"b","collection":"c.d.e","did":"did:plc:a","operation":"create","record":{},"rev":"r%d","rkey":"k","seq":%d,"time":"%s"}}`, name, i, i+1, when))
		for _, kind := range []string{"identity", "account", "sync"} {
			v1 = append(v1, fmt.Sprintf(`{"did":"did:plc:a","time_us":%d,"cursor":%d,"kind":"%s","%s":{"did":"did:plc:a","rev":"r%d","seq":%d}}`, us, i+1, kind, kind, i, i+1))
			v2 = append(v2, fmt.Sprintf(`{"$type":"message","payload":{"$type":"%s%s","did":"did:plc:a","%s":{"did":"did:plc:a","rev":"r%d","seq":%d},"seq":%d,"time":"%s"}}`, name, kind, kind, i, i+1, i+1, when))
		}
	}
	return v1, v2
}

// kept puts frames into a batch, as they are (raw) or in v1's shape.
func kept(t fataler, frames []string, raw bool) *messages.Batch {
	t.Helper()
	b := &messages.Batch{}
	for _, f := range frames {
		e := messages.Event{Off: uint32(len(b.Buf))}
		var err error
		if raw {
			b.Buf, err = append(b.Buf, f...), jetstream.Scan([]byte(f), &e)
		} else {
			b.Buf, err = jetstream.Unwrap(b.Buf, []byte(f), &e)
		}
		if err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		e.Len = uint32(len(b.Buf)) - e.Off
		b.Events = append(b.Events, e)
	}
	return b
}

// An event is stored once, in whichever protocol, with whichever times and in whichever shape it
// comes.
func TestI2_AnEventIsTheSameOverEitherWire(t *testing.T) {
	const n = 20
	v1, v2 := told(n, func(i int) int64 { return epoch + int64(i) })
	lateV1, lateV2 := told(n, func(i int) int64 { return epoch + int64(i) + time.Hour.Microseconds() })
	for name, c := range map[string]struct {
		first, second []string
		raw           [2]bool
	}{
		"v1, then v2":                    {v1, lateV2, [2]bool{}},
		"v2, then v1":                    {v2, lateV1, [2]bool{}},
		"v1, then v2 raw":                {v1, lateV2, [2]bool{false, true}},
		"v2 raw, then v1":                {v2, lateV1, [2]bool{true, false}},
		"v2 raw, then v2":                {v2, lateV2, [2]bool{true, false}},
		"v2, then v2 raw, not restamped": {v2, v2, [2]bool{false, true}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFeed(&memory{}, dedupe.Options{})
			f.begin(t)
			if got := f.write(t, kept(t, c.first, c.raw[0])); got != (dedupe.Marked{Misses: 4 * n}) {
				t.Errorf("marked %+v at first", got)
			}
			f.begin(t)
			if got := f.write(t, kept(t, c.second, c.raw[1])); got.Duplicates != 4*n || got.Misses != 0 {
				t.Errorf("marked %+v", got)
			}
		})
	}
}

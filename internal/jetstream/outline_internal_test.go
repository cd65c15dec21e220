package jetstream

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
)

// FuzzOutline checks that the outline of an event is bounded and gives the same identity and place,
// however the message is cut into pieces, if the event's own members are short enough to be kept.
func FuzzOutline(f *testing.F) {
	for _, s := range []string{
		`{"did":"did:plc:a","time_us":5,"cursor":6,"kind":"commit","commit":{"rev":"r","operation":"create","collection":"c","rkey":"k","record":{"a":["}",{"b":"\\\""}]},"cid":"x"}}`,
		`{"$type":"message","payload":{"$type":"x#commit","did":"did:plc:a","rev":"r","operation":"o","collection":"c","rkey":"\u006b","record":{"did":[["b"]]},"seq":6,"time":"2026-11-22T06:07:16.582807Z","witnessedAt":"2026-11-22T06:07:16.582808Z"}}`,
		` { "did" : "a" , "time_us" : 1 , "kind" : "x", "x":[1,[2,{"y":"z"}],"\\"]}`, `{"a":"` + strings.Repeat("é", 3000) + `"}`, `[`, `}`, `"\`, ``,
	} {
		f.Add([]byte(s), uint64(1))
	}
	f.Fuzz(func(t *testing.T, frame []byte, seed uint64) {
		var o outline
		rnd := rand.New(rand.NewPCG(seed, 0))
		for rest := frame; len(rest) > 0; {
			n := 1 + rnd.IntN(len(rest))
			o.Write(rest[:n])
			rest = rest[n:]
		}
		got, known := o.bytes()
		if len(got) > maxOutline || cap(o.json) > 2*maxOutline {
			t.Fatalf("an outline of %d bytes in %d", len(got), cap(o.json))
		}
		var whole, part fields
		if whole.parse(frame) < 0 || !known {
			return
		}
		if !json.Valid(got) || part.parse(got) < 0 {
			t.Fatalf("the outline of %q is %q", frame, got)
		}
		id, lack := whole.identify()
		if lack != "" || id.kind != 1 || longest(id.did, id.rev, id.path[0], id.path[1], id.path[2]) > outlineText/8 {
			return // an escaped byte takes six
		}
		again, lack := part.identify()
		if lack != "" || !again.equal(&id) || part.positionUS() != whole.positionUS() || part.seq != whole.seq {
			t.Fatalf("the outline of %q is %q, which is %+v (%s), want %+v", frame, got, again, lack, id)
		}
	})
}

func longest(parts ...[]byte) (n int) {
	for _, p := range parts {
		n = max(n, len(p))
	}
	return n
}

// FuzzFraming checks that the headers of frames are found however the stream is cut.
func FuzzFraming(f *testing.F) {
	for _, s := range []string{"\x81\x02{}\x81\x00\x89\x04ping\x81\x7e\x00\x80" + strings.Repeat("x", 128), "\x81\x7f\x00\x00\x00\x00\x00\x00\x00\x01x\x81\x7f\x7f\xff\xff\xff\xff\xff\xff\xff", "\x81\x84\x01\x02\x03\x04abcd\x82\xfe\x01\x00",
		"\x81\xff\xff\x00\x00\x00\x00\x00\x00\x00\x01\x02\x03\x04"} {
		f.Add([]byte(s), uint64(1))
	}
	f.Fuzz(func(t *testing.T, stream []byte, seed uint64) {
		const most = 200
		rnd := rand.New(rand.NewPCG(seed, 0))
		cut := framing{most: most}
		passed := 0
		var announced uint64
		for rest := stream; len(rest) > 0; {
			n := 1 + rnd.IntN(min(len(rest), 40))
			pass, said := cut.walk(rest[:n])
			passed += pass
			if announced = said; said > 0 {
				break
			}
			if pass != n {
				t.Fatalf("%d bytes of %d pass, and nothing is said", pass, n)
			}
			rest = rest[n:]
		}
		want, tooMuch := referenceFraming(stream, most)
		if announced != tooMuch || announced == 0 && passed != len(stream) || announced > 0 && (passed < want || passed > want+13) {
			t.Fatalf("%q: %d pass, then %d; want %d, then %d", stream, passed, announced, want, tooMuch)
		}
	})
}

// referenceFraming returns where the first header begins that announces too much, and what it
// announces.
func referenceFraming(b []byte, most uint64) (at int, announced uint64) {
	r := bytes.NewReader(b)
	for {
		at = len(b) - r.Len()
		var h [2]byte
		if n, _ := r.Read(h[:]); n < 2 {
			return at, 0
		}
		payload := uint64(h[1] & 0x7f)
		if extra := map[uint64]int{126: 2, 127: 8}[payload]; extra > 0 {
			payload = 0
			for range extra {
				c, err := r.ReadByte()
				if err != nil {
					return at, 0
				}
				payload = payload<<8 | uint64(c)
			}
		}
		mask := 0
		if h[1]&0x80 != 0 {
			mask = 4
		}
		switch {
		case payload>>63 != 0 || r.Len() < mask:
			return at, 0
		case payload > most:
			return at, payload
		}
		r.Seek(int64(mask)+int64(payload), 1)
	}
}

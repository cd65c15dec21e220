package jetstream_test

import (
	"strings"
	"testing"

	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// witnessed returns the v2 frame of a server that also says when it witnessed the event: as the
// last member of the payload.
func witnessed(v2, at string) string {
	return strings.TrimSuffix(v2, "}}") + `,"witnessedAt":"` + at + `"}}`
}

// Newer servers say only in v2 when they witnessed an event. The v1 and the v2 frame still give the
// same event, and their entries differ in that member only.
func TestAnEventStandsWhereItsServerWitnessedIt(t *testing.T) {
	const at, us = "2026-11-22T06:07:20.000001Z", 1795327640000001
	for _, pair := range pairs[:5] {
		frame := witnessed(pair[1], at)
		entry, e := unwrap(t, frame)
		if want := strings.TrimSuffix(pair[0], "}") + `,"witnessedAt":"` + at + `"}`; entry != want {
			t.Errorf("unwrapped it is\n%s, want\n%s", entry, want)
		}
		want := scan(t, pair[1])
		want.TimeUS = us
		if e != want || scan(t, frame) != want || scan(t, entry) != want {
			t.Errorf("the event is %+v, its frame's %+v, its entry's %+v, want %+v", e, scan(t, frame), scan(t, entry), want)
		}
		for _, other := range []string{pair[0], pair[1], entry} {
			if !jetstream.SameIdentity([]byte(frame), []byte(other)) {
				t.Errorf("it is another event than %s", other)
			}
		}
		if got := wrapped(t, entry); got != frame {
			t.Errorf("wrapped again it is\n%s, want\n%s", got, frame)
		}
		for _, stored := range []string{entry, frame} { // in v1's shape, or stored raw
			var read jetstream.Entry
			if !read.Read([]byte(stored)) || read.TimeUS() != us {
				t.Fatalf("read as an entry it stands at %d", read.TimeUS())
			}
			if v1, _ := read.V1(nil); string(v1) != pair[0] {
				t.Errorf("to v1 subscribers it is\n%s, want\n%s", v1, pair[0])
			}
		}
	}
}

func TestWhatIsNoTimeWasNotWitnessed(t *testing.T) {
	for _, value := range []string{`5`, `null`, `"soon"`, `"1969-12-31T23:59:59.999999Z"`, `{}`} {
		for _, pair := range pairs[:5] {
			frame := strings.TrimSuffix(pair[1], "}}") + `,"witnessedAt":` + value + `}}`
			if entry, e := unwrap(t, frame); entry != pair[0] || e != scan(t, pair[0]) {
				t.Errorf("with %s it is\n%s, want\n%s", value, entry, pair[0])
			}
		}
	}
}

func TestWitnessedAtIsKeptAsItIsSpelled(t *testing.T) {
	for _, at := range []string{"2026-11-22T06:07:20Z", "2026-11-22T07:07:20+01:00", `2026-11-22T06:07:2\u0030Z`} {
		frame := witnessed(pairs[1][1], at)
		entry, e := unwrap(t, frame)
		if e.TimeUS != 1795327640000000 || !strings.HasSuffix(entry, `,"witnessedAt":"`+at+`"}`) || wrapped(t, entry) != frame {
			t.Errorf("%d: %s\n%s", e.TimeUS, entry, wrapped(t, entry))
		}
	}
}

// A kind for which v2 has no shape, and a commit with unknown members, keep the time beside their
// object and not within it.
func TestWitnessedAtIsTheEventsOwn(t *testing.T) {
	const at = "2026-11-22T06:07:20.000001Z"
	commit := [2]string{
		`{"did":"did:plc:b","time_us":1795327551918217,"cursor":5,"kind":"commit","commit":{"rev":"r","operation":"delete","collection":"c","rkey":"k","blobs":[]}}`,
		`{"$type":"message","payload":{"$type":"#commit","blobs":[],"collection":"c","did":"did:plc:b","operation":"delete","rev":"r","rkey":"k","seq":5,"time":"2026-11-22T06:05:51.918217Z"}}`,
	}
	for _, pair := range append(pairs[6:8:8], commit) {
		entry, _ := unwrap(t, witnessed(pair[1], at))
		if want := strings.TrimSuffix(pair[0], "}") + `,"witnessedAt":"` + at + `"}`; entry != want {
			t.Errorf("it is\n%s, want\n%s", entry, want)
		}
		if again, _ := unwrap(t, wrapped(t, entry)); again != entry {
			t.Errorf("wrapped and unwrapped it is\n%s, want\n%s", again, entry)
		}
	}
}

// The times and numbers of an event belong to its instance. An event without an identity of its own
// is recognised by everything else, in both protocols.
func TestI2_FailoverDoesNotDoubleWhatHasNoIdentity(t *testing.T) {
	for _, members := range []string{`"label":{"val":1}`, `"label":{}`} {
		one := `{"did":"did:plc:b","time_us":1795327551918217,"cursor":7,"kind":"label",` + members + `}`
		v2 := `{"$type":"message","payload":{"$type":"x#label","did":"did:plc:b",` + members + `,"seq":99,"time":"2026-11-22T07:00:00.000000Z"}}`
		for _, other := range []string{
			`{"did":"did:plc:b","time_us":1795327999999999,"kind":"label",` + members + `}`,
			`{"did":"did:plc:b","time_us":1795327999999999,"cursor":8,"kind":"label",` + members + `,"witnessedAt":"2026-11-22T07:00:00Z"}`,
			v2, witnessed(v2, "2026-11-22T07:00:01.000000Z"),
		} {
			if !jetstream.SameIdentity([]byte(one), []byte(other)) || scan(t, one).Fingerprint != scan(t, other).Fingerprint {
				t.Errorf("it is another event:\n%s\n%s", one, other)
			}
		}
		changed := strings.Replace(one, members, members+`,"more":1`, 1)
		if jetstream.SameIdentity([]byte(one), []byte(changed)) || scan(t, one).Fingerprint == scan(t, changed).Fingerprint {
			t.Errorf("one event:\n%s\n%s", one, changed)
		}
	}
}

// A repository may be declared again at the same rev.
func TestI2_SyncsOfOneRevAreToldApartByTheirBlocks(t *testing.T) {
	again := func(s string) string { return strings.ReplaceAll(s, "3q2+7w==", "3q2+8w==") }
	for i, frame := range pairs[4] {
		if strings.Contains(frame, "8w==") || jetstream.SameIdentity([]byte(frame), []byte(again(frame))) || scan(t, frame).Fingerprint == scan(t, again(frame)).Fingerprint {
			t.Errorf("two syncs are one: %s", frame)
		}
		if other := pairs[4][1-i]; !jetstream.SameIdentity([]byte(again(frame)), []byte(again(other))) || scan(t, again(frame)).Fingerprint != scan(t, again(other)).Fingerprint {
			t.Errorf("one sync is two: %s", other)
		}
	}
}

func TestI7_WhatNestsAsDeepAsItMayIsWrapped(t *testing.T) {
	for _, deep := range []int{100, 511} {
		entry := `{"did":"a","time_us":1,"kind":"x","x":` + strings.Repeat("[", deep) + strings.Repeat("]", deep) + `}`
		if frame := wrapped(t, entry); !strings.Contains(frame, `#x","did":"a"`) {
			t.Errorf("it becomes %.100s", frame)
		}
	}
}

func TestUnwrappingWitnessedFramesDoesNotAllocate(t *testing.T) {
	room := make([]byte, 0, 4096)
	for _, pair := range pairs[:5] {
		frame := []byte(witnessed(pair[1], "2026-11-22T06:07:20.000001Z"))
		var e messages.Event
		var entry jetstream.Entry
		stored, _ := unwrap(t, string(frame))
		kept := []byte(stored)
		if n := testing.AllocsPerRun(100, func() {
			if _, err := jetstream.Unwrap(room, frame, &e); err != nil {
				t.Fatal(err)
			}
			entry.Read(kept)
			entry.V1(room)
			entry.V2(room)
		}); n != 0 {
			t.Errorf("%v allocations for %s", n, frame)
		}
	}
}

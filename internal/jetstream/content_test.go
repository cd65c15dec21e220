package jetstream_test

import (
	"bytes"
	"strings"
	"testing"

	"tempestd/internal/jetstream"
	"tempestd/messages"
)

const (
	bareCreate = `{"did":"did:plc:a","time_us":7000000,"kind":"commit","commit":{"operation":"create","collection":"app.bsky.feed.post","rkey":"k","record":{"a":1},"cid":"bafy1"}`
	bareDelete = `{"did":"did:plc:a","time_us":7000000,"kind":"commit","commit":{"operation":"delete","collection":"app.bsky.feed.post","rkey":"k"}`
	repair     = `,"repair":{"gap":"00","source":"accounts"}}`
)

func TestBareCommitsAreIdentifiedByTheirRecord(t *testing.T) {
	scan := func(event string) (e messages.Event) {
		t.Helper()
		if err := jetstream.Scan([]byte(event), &e); err != nil {
			t.Fatalf("%s: %v", event, err)
		}
		return e
	}
	one := scan(bareCreate + repair)
	for name, row := range map[string]struct {
		event string
		same  bool
	}{
		"another time":   {strings.Replace(bareCreate, "7000000", "9", 1) + repair, true},
		"another source": {bareCreate + `,"repair":{"gap":"11","source":"timeline"}}`, true},
		"an update":      {strings.Replace(bareCreate, "create", "update", 1) + repair, true},
		"another cid":    {strings.Replace(bareCreate, "bafy1", "bafy2", 1) + repair, false},
		"another key":    {strings.Replace(bareCreate, `"k"`, `"l"`, 1) + repair, false},
		"a delete":       {bareDelete + repair, false},
		"a rev":          {strings.Replace(bareCreate, `{"operation"`, `{"rev":"bafy1","operation"`, 1) + repair, false},
	} {
		if e := scan(row.event); (e.Fingerprint == one.Fingerprint) != row.same || jetstream.SameIdentity([]byte(row.event), []byte(bareCreate+repair)) != row.same {
			t.Errorf("%s: the same: %v, want %v", name, !row.same, row.same)
		}
	}
	if a, b := scan(bareDelete+repair), scan(strings.Replace(bareDelete, "7000000", "9", 1)+repair); a.Fingerprint == b.Fingerprint {
		t.Error("two deletes of one place at two times are the same")
	}
	for name, event := range map[string]string{
		"no repair":       bareCreate + "}",
		"a repair of 1":   bareCreate + `,"repair":1}`,
		"no cid":          strings.Replace(bareCreate, `,"cid":"bafy1"`, "", 1) + repair,
		"an empty cid":    strings.Replace(bareCreate, `bafy1`, "", 1) + repair,
		"no key":          strings.Replace(bareCreate, `"rkey"`, `"other"`, 1) + repair,
		"a taken-up kind": strings.Replace(bareCreate, `"commit","commit"`, `"gap","commit"`, 1) + repair,
	} {
		if err := jetstream.Scan([]byte(event), &messages.Event{}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	var e messages.Event
	if err := jetstream.ScanRecord([]byte(bareCreate+"}"), &e); err != nil || e.Fingerprint != one.Fingerprint {
		t.Error(err, e)
	}
	if err := jetstream.ScanRecord([]byte(strings.Replace(bareCreate, `{"operation"`, `{"rev":"1","operation"`, 1)+"}"), &e); err == nil {
		t.Error("an event with a rev was taken for a bare one")
	}
}

func TestRepairedEventsAreTheSameEvents(t *testing.T) {
	for _, event := range []string{
		`{"did":"did:plc:a","time_us":7000000,"kind":"commit","commit":{"rev":"r","operation":"create","collection":"a.b.c","rkey":"k"}}`,
		`{"did":"did:plc:a","time_us":7000000,"kind":"odd","odd":{"x":1}}`,
		`{"did":"did:plc:a","time_us":7000000,"kind":"account","account":{"seq":4}}`,
	} {
		var a, b messages.Event
		repaired := strings.TrimSuffix(event, "}") + repair
		if err := jetstream.Scan([]byte(event), &a); err != nil {
			t.Fatal(err)
		}
		if err := jetstream.Scan([]byte(repaired), &b); err != nil || a != b || !jetstream.SameIdentity([]byte(event), []byte(repaired)) {
			t.Errorf("%s: %v %v %v", event, a, b, err)
		}
	}
}

// A mirror gives the mark on in both protocols, and a daemon that reads it stores the same entry.
func TestRepairsPassMirrors(t *testing.T) {
	witnessed := `{"did":"did:plc:a","time_us":7000000,"cursor":5,"kind":"commit","commit":{"rev":"r","operation":"create","collection":"a.b.c","rkey":"k","record":{"a":1},"cid":"bafy1"},"witnessedAt":"2026-11-22T06:07:16.582807Z"` + repair
	for _, entry := range []string{bareCreate + repair, bareDelete + repair, witnessed} {
		var e jetstream.Entry
		if !e.Read([]byte(entry)) {
			t.Fatal(entry)
		}
		frame, _ := e.V2(nil)
		var event messages.Event
		back, err := jetstream.Unwrap(nil, frame, &event)
		if err != nil || !jetstream.SameIdentity(back, []byte(entry)) || !bytes.HasSuffix(back, []byte(repair)) {
			t.Errorf("%s: v2 is %s, and back %s: %v", entry, frame, back, err)
		}
		v1, _ := e.V1(nil)
		if want := strings.Replace(entry, `,"witnessedAt":"2026-11-22T06:07:16.582807Z"`, "", 1); string(v1) != want {
			t.Errorf("v1 is %s, want %s", v1, want)
		}
		e.Renumber(77)
		v1, _ = e.V1(nil)
		if !bytes.Contains(v1, []byte(`"cursor":77`)) || !bytes.HasSuffix(v1, []byte(repair)) || bytes.Contains(v1, []byte("witnessed")) {
			t.Errorf("renumbered, v1 is %s", v1)
		}
	}
}

func TestContent(t *testing.T) {
	read := func(event string) jetstream.Content {
		t.Helper()
		c, ok := jetstream.ReadContent([]byte(event))
		if !ok {
			t.Fatalf("no content: %s", event)
		}
		return c
	}
	v1 := read(`{"did":"did:plc:a","time_us":1,"kind":"commit","commit":{"rev":"r","operation":"update","collection":"app.bsky.feed.post","rkey":"k","record":{},"cid":"bafy\u0031"}}`)
	v2 := read(`{"$type":"message","payload":{"$type":"network.bsky.jetstream.subscribe#commit","did":"did:plc:a","time":"2026-11-22T06:07:16.582807Z","seq":4,"rev":"r","operation":"create","collection":"app.bsky.feed.post","rkey":"k","cid":"bafy1"}}`)
	bare, gone := read(bareCreate+repair), read(bareDelete+repair)
	if !v1.Same(&v2) || !v1.Same(&bare) || v1.Path() != bare.Path() || string(v1.Rev) != "r" || bare.Rev != nil {
		t.Error(v1, v2, bare)
	}
	if !gone.Delete || gone.Same(&bare) || gone.Same(&gone) || !gone.SamePath(&v1) {
		t.Error(gone)
	}
	for _, event := range []string{`{"did":"did:plc:a","time_us":1,"kind":"account","account":{"seq":4}}`, `{"kind":"gap","time_us":1,"gap":{}}`, `{`, `{"kind":"commit"}`} {
		if c, ok := jetstream.ReadContent([]byte(event)); ok {
			t.Errorf("%s has the content %v", event, c)
		}
	}
}

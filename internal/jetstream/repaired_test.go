package jetstream_test

import (
	"strings"
	"testing"

	"tempestd/internal/jetstream"
)

const (
	asSent   = `{"did":"did:plc:a","time_us":5,"kind":"commit","commit":{"rev":"r","operation":"create","collection":"a.b.c","rkey":"k","record":{"text":"x"},"cid":"c"}`
	byRepair = `,"repair":{"gap":"00ff","source":"archive"}}`
)

func TestRepairedLooksAtTheLastMember(t *testing.T) {
	t.Parallel()
	long := `,"repair":{"gap":"` + strings.Repeat("f", 600) + `","source":"archive"}}`
	for name, c := range map[string]struct {
		event string
		want  bool
	}{
		"as sent":               {asSent + `}`, false},
		"repaired":              {asSent + byRepair, true},
		"of a time unknown":     {asSent + `,"repair":{"gap":"00ff","source":"accounts","time":"unknown"}}`, true},
		"a raw frame":           {`{"$type":"message","payload":{"seq":1}` + byRepair, true},
		"not the last member":   {`{"repair":{"gap":"00ff","source":"archive"},"kind":"commit"}`, false},
		"inside the commit":     {`{"kind":"commit","commit":{"rev":"r"` + byRepair + `}`, false},
		"inside the record":     {`{"kind":"commit","commit":{"record":{"a":1` + byRepair + `}}`, false},
		"in a text":             {`{"kind":"commit","text":",\"repair\":{\"gap\":\"00ff\"}}"}`, false},
		"a text that ends so":   {`{"kind":"commit","repair":"x,\"repair\":{"}`, false},
		"not an object":         {`{"kind":"commit","repair":1}`, false},
		"an object with others": {`{"kind":"commit","repair":{"gap":{"a":1}}}`, false},
		"longer than it may be": {asSent + long, false},
		"two":                   {asSent + `,"repair":{}` + byRepair, true},
		"no JSON":               {`repair`, false},
		"nothing":               {``, false},
	} {
		if got := jetstream.Repaired([]byte(c.event)); got != c.want {
			t.Errorf("%s: %t, want %t: %s", name, got, c.want, c.event)
		}
	}
}

func TestMatcherWithoutRepaired(t *testing.T) {
	t.Parallel()
	sent, repaired, other := []byte(asSent+`}`), []byte(asSent+byRepair), []byte(`{"did":"did:plc:b","kind":"identity"}`)
	var all *jetstream.Matcher
	some := jetstream.NewMatcher(jetstream.Filter{DIDs: []string{"did:plc:a"}})
	for name, c := range map[string]struct {
		matcher *jetstream.Matcher
		want    [3]bool
	}{
		"all":             {all, [3]bool{true, true, true}},
		"all as sent":     {all.WithoutRepaired(), [3]bool{true, false, true}},
		"account":         {some, [3]bool{true, true, false}},
		"account as sent": {some.WithoutRepaired(), [3]bool{true, false, false}},
	} {
		if got := [3]bool{c.matcher.WantsEvent(sent), c.matcher.WantsEvent(repaired), c.matcher.WantsEvent(other)}; got != c.want {
			t.Errorf("%s wants %v, want %v", name, got, c.want)
		}
	}
	if !all.WithoutRepaired().WantsEvent([]byte("no JSON")) {
		t.Error("a matcher of everything as sent leaves out what is no event")
	}
}

func BenchmarkRepaired(b *testing.B) {
	event := []byte(asSent + strings.Repeat(" ", 400) + byRepair)
	for b.Loop() {
		jetstream.Repaired(event)
	}
}

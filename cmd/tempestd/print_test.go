package main

import (
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"
	"unicode"

	"tempestd/messages"
	"tempestd/persistence"
)

func TestTableAligns(t *testing.T) {
	var b strings.Builder
	table(&b, newPalette(io.Discard), []string{"NAME", "COUNT>", "NOTE"}, [][]string{{"a", "1,000", ""}, {"日本", "7", "x"}})
	want := "NAME  COUNT  NOTE\na     1,000\n日本      7  x\n"
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &b, want)
	}
}

func TestShowAge(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"0ms": -time.Second, "12ms": 12 * time.Millisecond, "9.9s": 9999 * time.Millisecond, "59.9s": 59999 * time.Millisecond,
		"1m0s": time.Minute, "2h5m": 2*time.Hour + 5*time.Minute + 59*time.Second, "3d1h": 73 * time.Hour,
	} {
		if got := showAge(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

func TestReadableLines(t *testing.T) {
	at := messages.EntryID{MS: uint64(time.Date(2026, 11, 22, 6, 7, 16, 563e6, time.Local).UnixMilli())}
	tests := []struct{ event, want string }{
		{`{"did":"did:plc:a","kind":"commit","commit":{"operation":"create","collection":"app.bsky.feed.post","rkey":"k","record":{"text":"hi\nthere \u001b[31m\u202e!"}}}`,
			`06:07:16.563 create   app.bsky.feed.post did:plc:a/k "hi there [31m!"`},
		{`{"did":"did:plc:a","kind":"commit","commit":{"operation":"create","collection":"app.bsky.feed.like","rkey":"k","record":{"subject":{"uri":"at://did:plc:b/x/y"}}}}`,
			`06:07:16.563 create   app.bsky.feed.like did:plc:a/k → at://did:plc:b/x/y`},
		{`{"did":"did:plc:a","kind":"commit","commit":{"operation":"create","collection":"app.bsky.graph.follow","rkey":"k","record":{"subject":"did:plc:b"}}}`,
			`06:07:16.563 create   app.bsky.graph.follow did:plc:a/k → did:plc:b`},
		{`{"did":"did:plc:a","kind":"commit","commit":{"operation":"delete","collection":"app.bsky.feed.post","rkey":"k"}}`, `06:07:16.563 delete   app.bsky.feed.post did:plc:a/k`},
		{`{"did":"did:plc:a","kind":"identity","identity":{"handle":"a.example"}}`, `06:07:16.563 identity did:plc:a a.example`},
		{`{"did":"did:plc:a","kind":"account","account":{"active":false,"status":"deleted"}}`, `06:07:16.563 account  did:plc:a inactive deleted`},
		{`{"kind":"gap","gap":{"id":"a","state":"partly","recovered":1234,"from_us":1795327636563030,"to_us":1795327636563030,"cause":"skipped"}}`, `06:07:16.563 gap      partly: 1,234 events recovered from 2026-11-22 06:07:16Z to 2026-11-22 06:07:16Z (skipped)`},
		{`{"kind":"gap","gap":{"id":"a","state":"unrepairable","from_us":1795327636563030,"cause":"skipped"}}`, `06:07:16.563 gap      events are missing for good from 2026-11-22 06:07:16Z to now (skipped)`},
		{`{"kind":"gap","gap":{"from_us":1795327636563030,"cause":"replay_window"}}`, `06:07:16.563 gap      events are missing from 2026-11-22 06:07:16Z to now (replay_window)`},
		{`{"did":7,"kind":"weather"}`, `06:07:16.563 weather`},
		{`[1]`, `06:07:16.563`},
	}
	r := newReader(io.Discard, io.Discard)
	for _, tt := range tests {
		if got := strings.TrimRight(r.line(persistence.Entry{ID: at, Event: json.RawMessage(tt.event)}), " "); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
}

// FuzzReadableLine checks that no event breaks the line or sends a control character to the
// terminal.
func FuzzReadableLine(f *testing.F) {
	f.Add([]byte(`{"did":"d","kind":"commit","commit":{"collection":"\u001b]0;x\u0007","record":{"text":"a\r\nb","subject":{"uri":"\u0000"}}}}`))
	f.Add([]byte(`{"kind":"gap","gap":{"from_us":-9223372036854775808,"to_us":9223372036854775807,"cause":"\u2028"}}`))
	r := newReader(io.Discard, io.Discard)
	f.Fuzz(func(t *testing.T, event []byte) {
		if line := r.line(persistence.Entry{Event: event}); strings.ContainsFunc(line, unicode.IsControl) {
			t.Errorf("%q", line)
		}
	})
}

func TestStatusShowsHowAnAccountStands(t *testing.T) {
	now := time.Now()
	for want, f := range map[string]messages.FollowStatus{
		"sky: account you.example follows 132 accounts, read 5m0s ago\n": {Account: "you.example", Follows: 132, RefreshedAt: now.Add(-5 * time.Minute)},
		"sky: account you.example; they cannot be read since 2m0s: no route; no session since 1m0s: refused; next login in ": {Account: "you.example",
			Trouble: "no\nroute", Since: now.Add(-2 * time.Minute), SessionTrouble: "refused", SessionSince: now.Add(-time.Minute), NextLoginAt: now.Add(time.Hour)},
	} {
		var b strings.Builder
		if err := (&app{out: io.Discard}).printStatus(&b, status{Feeds: []messages.FeedStatus{{Feed: "sky", State: messages.StateLive, Follows: &f}}}, false); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(b.String(), want) {
			t.Errorf("got\n%s\nwant in it\n%s", &b, want)
		}
	}
}

func TestStatusShowsOwnersOnlyWhereFeedsAreShared(t *testing.T) {
	a := &app{out: io.Discard}
	alone := messages.FeedStatus{Feed: "sky", State: messages.StateLive}
	shared := messages.FeedStatus{Feed: "sea", State: messages.StateLive, Owner: "one", Fence: 7, Standbys: []string{"three", "two"}}
	orphan := messages.FeedStatus{Feed: "lake", State: messages.StateStandby, Fence: 3}
	var b strings.Builder
	if err := a.printStatus(&b, status{Feeds: []messages.FeedStatus{alone}}, false); err != nil || strings.Contains(b.String(), "OWNER") {
		t.Errorf("%v\n%s", err, &b)
	}
	b.Reset()
	if err := a.printStatus(&b, status{Feeds: []messages.FeedStatus{alone, shared, orphan}}, false); err != nil {
		t.Fatal(err)
	}
	want := "FEED  OWNER  EPOCH  STANDBYS\nsea   one        7  three, two\nlake  -          3\n"
	if !strings.Contains(b.String(), want) {
		t.Errorf("got\n%s\nwant in it\n%s", &b, want)
	}
}

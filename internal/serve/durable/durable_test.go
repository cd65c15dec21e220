package durable

import (
	"cmp"
	"math"
	"math/rand/v2"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"tempestd/internal/serve/api"
	"tempestd/messages"
)

// Section 7: offsets sort as their positions do, need no escaping in a URL, and are never a
// sentinel. Each position has exactly one offset.
func TestOffsetsSortAsPositionsDo(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	pick := func() uint64 { return r.Uint64() >> r.IntN(64) }
	edges := []uint64{0, 1, 9, 10, 99, 100, 1<<32 - 1, 1 << 53, math.MaxUint64 - 1, math.MaxUint64}
	ids := []messages.EntryID{{}, messages.MaxEntryID}
	for _, ms := range edges {
		for _, seq := range edges {
			ids = append(ids, messages.EntryID{MS: ms, Seq: seq})
		}
	}
	for range 2000 {
		id := messages.EntryID{MS: pick(), Seq: pick()}
		ids = append(ids, id, id.Next(), id.Prev())
	}
	for _, a := range ids {
		text := formatOffset(a)
		if len(text) != offsetLength || url.QueryEscape(text) != text {
			t.Fatalf("offset %q of %v: want %d characters that need no escaping", text, a, offsetLength)
		}
		if back, err := parsePosition(text); err != nil || back != (position{after: a}) {
			t.Fatalf("offset %q of %v is read as %+v, %v", text, a, back, err)
		}
		// An offset is also a cursor of /tail.
		if id, err := messages.ParseEntryID(text); err != nil || id != a {
			t.Fatalf("offset %q of %v is the entry ID %v, %v", text, a, id, err)
		}
		b := ids[r.IntN(len(ids))]
		if cmp.Compare(text, formatOffset(b)) != a.Compare(b) {
			t.Fatalf("%q and %q sort another way than %v and %v", text, formatOffset(b), a, b)
		}
	}
}

var malformedOffsets = []string{"", "0", "-2", "+1", "NOW", "now ", " -1", "0,1", "0 1", "start", "end", "$", "0-0", "1795327636563-0",
	"00000001795327636563_00000000000000030000", "00000001795327636563-0000000000000003000", "00000001795327636563-000000000000000300000",
	"+0000001795327636563-00000000000000030000", "00000001795327636563-+0000000000000030000", "99999999999999999999-00000000000000000000",
	"0000000179532763656３-0000000000000030000", strings.Repeat("9", 4096)}

func FuzzOffset(f *testing.F) {
	for _, s := range malformedOffsets {
		f.Add(s)
	}
	f.Add(offsetStart)
	f.Add(offsetNow)
	f.Add(formatOffset(messages.EntryID{MS: 1_795_327_636_563, Seq: 30_000}))
	f.Fuzz(func(t *testing.T, text string) {
		from, err := parsePosition(text)
		switch {
		case err != nil:
			if from != (position{}) {
				t.Errorf("%q is refused and read as %+v", text, from)
			}
		case from.start != (text == offsetStart), from.now != (text == offsetNow), !from.start && !from.now && formatOffset(from.after) != text:
			t.Errorf("%q is read as %+v", text, from)
		}
	})
}

// Every query is refused, or has exactly one meaning.
func FuzzDurableQuery(f *testing.F) {
	for _, s := range []string{"", "offset=-1", "offset=now&live=sse&cursor=123", "offset=" + formatOffset(messages.MaxEntryID) + "&live=long-poll", "foo=bar&baz",
		"offset=-1&offset=-1", "live=", "offset=%zz", "offset=-1;live=sse", "cursor=-1", "cursor=99999999999999999999", "kinds=gap&kinds=commit,sync", "dids=,"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, query string) {
		r := httptest.NewRequest("GET", "/streams/s", nil)
		r.URL.RawQuery = query
		p := api.ParseKnown(r, params...)
		live := liveOf(p)
		from, cursor := offsetOf(p, live != ""), collapse(p)
		p.Filter()
		if p.Err != nil {
			if refusal, _ := api.ErrorOf(p.Err); refusal.Status != 400 || len(refusal.Message) > 1000 {
				t.Errorf("%q is refused with %d and %q", query, refusal.Status, refusal.Message)
			}
			return
		}
		values, err := url.ParseQuery(query)
		if err != nil || len(values["offset"]) > 1 || len(values["cursor"]) > 1 || live != "" && values.Get("offset") == "" {
			t.Errorf("%q is accepted", query)
		}
		if cursor > 0 && strconv.FormatUint(cursor, 10) != strings.TrimLeft(values.Get("cursor"), "0") {
			t.Errorf("%q has the cursor %d", query, cursor)
		}
		if !from.start && !from.now && formatOffset(from.after) != values.Get("offset") {
			t.Errorf("%q is read as %+v", query, from)
		}
	})
}

// Section 9.1, Server-Generated Cursors.
func TestCollapsingCursors(t *testing.T) {
	at := func(interval int64, more time.Duration) time.Time {
		return time.Date(2024, 10, 9, 0, 0, 0, 0, time.UTC).Add(time.Duration(interval)*20*time.Second + more)
	}
	now := at(1000, 19*time.Second)
	for given, want := range map[uint64]string{0: "1000", 1: "1000", 999: "1000"} {
		if c := newCollapser(given, now); c.next(now) != want {
			t.Errorf("after %d comes %d, want the interval's number, %s", given, c, want)
		}
	}
	seen := map[collapser]bool{}
	for range 2000 {
		for _, given := range []uint64{1000, 1001, 5000, 999_999_999_999_999} {
			c := newCollapser(given, now)
			if uint64(c) <= given || uint64(c) > given+180 {
				t.Fatalf("after %d comes %d: want a greater one, by at most an hour", given, c)
			}
			seen[c-collapser(given)] = true
		}
	}
	if len(seen) < 100 {
		t.Errorf("only %d steps were seen: readers march in step", len(seen))
	}

	c := newCollapser(1000, now) // the given cursor is ahead of the current interval
	for last := uint64(c); last < 1300; {
		now = now.Add(7 * time.Second)
		n, err := strconv.ParseUint(c.next(now), 10, 64)
		if err != nil || n < last || n > last+1 || n < intervalAt(now) {
			t.Fatalf("after %d comes %d at interval %d, %v", last, n, intervalAt(now), err)
		}
		last = n
	}
	if c := newCollapser(0, time.Unix(0, 0)); c != 1 {
		t.Errorf("a clock that is wrong by decades gives %d", c)
	}
}

// RFC 9110, 13.1.2.
func TestEntityTagsAreCompared(t *testing.T) {
	const tag = `"a:b"`
	for _, c := range []struct {
		fields []string
		has    bool
	}{
		{nil, false},
		{[]string{""}, false},
		{[]string{tag}, true},
		{[]string{"W/" + tag}, true},
		{[]string{`"x", ` + tag + ` ,"y"`}, true},
		{[]string{`"x"`, tag}, true},
		{[]string{"*"}, true},
		{[]string{`a:b`}, false},
		{[]string{`"a:b:c"`}, false},
		{[]string{`"a`, `b"`}, false},
	} {
		if hasTag(c.fields, tag) != c.has {
			t.Errorf("%q has the tag: %v, want %v", c.fields, !c.has, c.has)
		}
	}
}

package serve_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"tempestd/internal/serve"
	"tempestd/persistence"
)

// oddEvents are valid JSON in forms that the daemon's own encoder would not write.
var oddEvents = []string{
	`{"did":"did:plc:a","time_us":1,"kind":"commit"}`,
	`{ "spaced" :  [ 1.0e+05 , -0 ] }`,
	`{"html":"<script>&amp;</script>","escaped":"\u003c\u00e9\/"}`,
	`{"ünïcödé":"日本語 🌪","line":"\u2028` + "\u2028" + `"}`,
	`{"twice":1,"twice":2}`,
	`{"bad utf-8":"` + "\xff\xfe" + `"}`,
	`{"big":12345678901234567890123456789012345678901234567890}`,
}

func TestFramesAreTheUpstreamsBytes(t *testing.T) {
	events := slices.Clone(oddEvents)
	// Larger than the response's buffer.
	events = append(events, `{"text":"`+strings.Repeat("x", 200<<10)+`"}`)
	for i := range 300 {
		events = append(events, fmt.Sprintf(`{"n":%d,"text":%q}`, i, strings.Repeat("y", i*7)))
	}
	if corpus := os.Getenv("TEMPEST_CORPUS"); corpus != "" {
		raw, err := os.ReadFile(filepath.Join(corpus, "real_v1.jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(raw) {
			events = append(events, string(bytes.TrimSpace(line)))
		}
	}
	store := openStore(t)
	openStream(t, store, "bluesky", events...)
	d := start(t, store)

	for _, path := range []string{"/v1/streams/bluesky/frames?limit=1000", "/v1/streams/bluesky/tail?after=0-0&limit=1000"} {
		var want strings.Builder
		want.WriteString(`{"frames":[`)
		for i, e := range events {
			if i > 0 {
				want.WriteString(",")
			}
			fmt.Fprintf(&want, `{"id":"%d-0","event":%s}`, firstUS/1000+i, e)
		}
		const ms = firstUS / 1000
		newest := ms + len(events) - 1
		fmt.Fprintf(&want, `],"count":%d,"cursor":"%d-0","oldest":"%d-0","newest":"%d-0","lag_entries":0,"lag_ms":0,"up_to_date":true}`+"\n",
			len(events), newest, ms, newest)

		r := d.get(path)
		if r.status != http.StatusOK || r.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: status %d, type %q", path, r.status, r.header.Get("Content-Type"))
		}
		if r.body != want.String() {
			at := 0
			for at < min(len(r.body), want.Len()) && r.body[at] == want.String()[at] {
				at++
			}
			t.Errorf("%s: body (%d bytes, want %d) differs at %d: %.100q, want %.100q", path, len(r.body), want.Len(), at, r.body[at:], want.String()[at:])
		}
	}
}

func numbered(from, to int) []string {
	var events []string
	for i := from; i < to; i++ {
		events = append(events, fmt.Sprintf(`{"n":%d}`, i))
	}
	return events
}

func TestFramesOfARange(t *testing.T) {
	store := openStore(t)
	openStream(t, store, "bluesky", numbered(0, 250)...)
	d := start(t, store)
	const ms = firstUS / 1000
	for _, c := range []struct {
		query       string
		first, last int
	}{
		{"", 0, 99},
		{"?limit=7", 0, 6},
		{"?from=start&to=end&limit=1000", 0, 249},
		{fmt.Sprintf("?from=%d", ms+240), 240, 249},
		{fmt.Sprintf("?from=%d-0&to=%d", ms+10, ms+12), 10, 12},
		{fmt.Sprintf("?from=%d-1&to=%d-0", ms+10, ms+12), 11, 12},
	} {
		f := d.frames(d.get("/v1/streams/bluesky/frames" + c.query))
		if f.Count == 0 || string(f.Frames[0].Event) != fmt.Sprintf(`{"n":%d}`, c.first) ||
			string(f.Frames[f.Count-1].Event) != fmt.Sprintf(`{"n":%d}`, c.last) || f.Count != c.last-c.first+1 {
			t.Errorf("%q: %d frames %.60q…, want %d…%d", c.query, f.Count, f.Frames, c.first, c.last)
		}
	}
	if f := d.frames(d.get(fmt.Sprintf("/v1/streams/bluesky/frames?from=%d&to=end", ms+250))); f.Count != 0 || f.Frames == nil {
		t.Errorf("a range after the end gave %v, want an empty array", f)
	}
}

func TestAResponseIsBoundedInBytes(t *testing.T) {
	store := openStore(t)
	big := func(n int) string { return `{"text":"` + strings.Repeat("z", n) + `"}` }
	stream := openStream(t, store, "bluesky", big(9<<20))
	for range 4 {
		add(t, stream, big(3<<20))
	}
	d := start(t, store, func(o *serve.Options) { o.Memory = 4 << 30 })
	after, got := "0-0", []int{}
	for {
		f := d.frames(d.get("/v1/streams/bluesky/tail?after=" + after))
		if f.Count == 0 {
			break
		}
		got = append(got, f.Count)
		after = f.Frames[f.Count-1].ID
	}
	if want := []int{1, 2, 2}; !slices.Equal(got, want) {
		t.Errorf("pages of %v frames, want %v: up to 8 MiB, one at least", got, want)
	}
}

func TestTailWaitsForWhatComesNext(t *testing.T) {
	store := openStore(t)
	stream := openStream(t, store, "bluesky", numbered(0, 3)...)
	d := start(t, store)

	last := fmt.Sprintf("%d-0", firstUS/1000+2)
	if f := d.frames(d.get("/v1/streams/bluesky/tail?after=" + last)); f.Count != 0 || f.Frames == nil || f.ClosedAt != nil {
		t.Errorf("a peek at the tip gave %v, want none and open", f)
	}

	got := make(chan response)
	go func() { got <- d.get("/v1/streams/bluesky/tail?block_ms=30000&limit=5&after=" + last) }()
	d.tailing("bluesky", 1)
	add(t, stream, numbered(3, 4)...)
	if f := d.frames(<-got); f.Count != 1 || string(f.Frames[0].Event) != `{"n":3}` {
		t.Errorf("the tail gave %v, want the entry that was appended", f)
	}
	d.tailing("bluesky", 0)
}

func TestAClosedStreamSaysSo(t *testing.T) {
	store := openStore(t)
	stream := openStream(t, store, "bluesky", numbered(0, 3)...)
	d := start(t, store)
	got := make(chan response)
	last := fmt.Sprintf("%d-0", firstUS/1000+2)
	go func() { got <- d.get("/v1/streams/bluesky/tail?block_ms=30000&after=" + last) }()
	d.tailing("bluesky", 1)
	if err := stream.Close(context.Background(), `moved to "elsewhere" <now>`); err != nil {
		t.Fatal(err)
	}
	for what, r := range map[string]response{
		"the waiting tail": <-got,
		"a later tail":     d.get("/v1/streams/bluesky/tail?block_ms=30000&after=0-0"),
		"a read":           d.get("/v1/streams/bluesky/frames"),
	} {
		if f := d.frames(r); f.ClosedAt == nil || f.ClosedAt.IsZero() || f.ClosedReason != `moved to "elsewhere" <now>` {
			t.Errorf("%s gave %s, want it closed with its reason", what, r.body)
		}
	}
}

// Tails, appends, a close and a shutdown run at the same time. Every tail sees a prefix of the
// stream, in order.
func TestI8_TailsRaceWithAppendsCloseAndShutdown(t *testing.T) {
	store := openStore(t)
	stream := openStream(t, store, "bluesky", numbered(0, 1)...)
	d := start(t, store)
	const total = 200

	var readers sync.WaitGroup
	for range 20 {
		readers.Go(func() {
			after, next := "0-0", 0
			for {
				r, err := d.try("GET", "/v1/streams/bluesky/tail?block_ms=30000&limit=7&after="+after)
				if err != nil || r.status != http.StatusOK { // the server has shut down
					return
				}
				f := d.frames(r)
				for _, e := range f.Frames {
					if want := fmt.Sprintf(`{"n":%d}`, next); string(e.Event) != want {
						t.Errorf("read %s, want %s", e.Event, want)
						return
					}
					after, next = e.ID, next+1
				}
				if f.ClosedAt != nil && f.Count == 0 {
					if next != total {
						t.Errorf("finished after %d entries, want %d", next, total)
					}
					return
				}
			}
		})
	}
	for i := 1; i < total; i += 3 {
		add(t, stream, numbered(i, min(i+3, total))...)
	}
	if err := stream.Close(context.Background(), "done"); err != nil {
		t.Fatal(err)
	}
	if err := d.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	readers.Wait()
}

func TestTooManyTails(t *testing.T) {
	store := openStore(t)
	stream := openStream(t, store, "bluesky", numbered(0, 1)...)
	d := start(t, store, func(o *serve.Options) { o.MaxTails = 2 })
	path := fmt.Sprintf("/v1/streams/bluesky/tail?block_ms=30000&after=%d-0", firstUS/1000)
	got := make(chan response)
	for range 2 {
		go func() { got <- d.get(path) }()
	}
	d.tailing("bluesky", 2)
	r := d.get(path)
	d.want(r, http.StatusTooManyRequests, "TooManyTails")
	if r.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	d.frames(d.get("/v1/streams/bluesky/frames")) // a read is not a tail

	add(t, stream, numbered(1, 2)...)
	for range 2 {
		d.frames(<-got)
	}
	d.tailing("bluesky", 0)
	d.frames(d.get("/v1/streams/bluesky/tail?after=0-0"))
}

func TestStreamsAreDescribed(t *testing.T) {
	store := openStore(t)
	d := start(t, store)
	if r := d.get("/v1/streams"); r.body != `{"streams":[]}`+"\n" {
		t.Errorf("an empty store gave %s", r.body)
	}
	openStream(t, store, "bluesky", numbered(0, 3)...)
	openStream(t, store, "a.second-one")
	r := d.get("/v1/streams")
	for _, want := range []string{`"name":"a.second-one"`, `"name":"bluesky","entries":3`, `"newest":"1795000000002-0"`} {
		if r.status != http.StatusOK || !strings.Contains(r.body, want) {
			t.Errorf("list lacks %s: %s", want, r.body)
		}
	}
	if r := d.get("/v1/streams/bluesky"); !strings.Contains(r.body, `"name":"bluesky","entries":3`) {
		t.Errorf("one stream: %s", r.body)
	}
	for _, path := range []string{"/v1/streams/other", "/v1/streams/other/frames", "/v1/streams/other/tail?after=0-0"} {
		d.want(d.get(path), http.StatusNotFound, "NoSuchStream")
	}
}

// failing is a store whose streams fail.
type failing struct {
	persistence.Store
	err error
}

func (s failing) Stream(context.Context, string) (persistence.Stream, error) { return nil, s.err }
func (s failing) Health() error                                              { return s.err }

func TestFailuresOfTheStore(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		name   string
		events int // in the log
	}{
		{persistence.ErrStoreClosed, http.StatusServiceUnavailable, "ShuttingDown", 0},
		{&persistence.NoSpaceError{Dir: "d", Free: 1 << 20, Need: 2 << 20}, http.StatusServiceUnavailable, "StoreUnavailable", 0},
		{fmt.Errorf("read: %w", &persistence.UnavailableError{Store: "v:6379", Reason: "timeout", Err: context.DeadlineExceeded}), http.StatusServiceUnavailable, "StoreUnavailable", 0},
		{fmt.Errorf("read: %w", context.DeadlineExceeded), http.StatusServiceUnavailable, "NoAnswer", 1},
		{fmt.Errorf("read: %w", &persistence.CorruptError{Stream: "bluesky", Block: persistence.EntryID{MS: 7}, Err: errors.New("checksum")}),
			http.StatusInternalServerError, "CorruptBlock", 0},
		{errors.New("disk on fire at /dev/sda"), http.StatusInternalServerError, "InternalError", 1},
	} {
		d := start(t, failing{err: c.err})
		for _, path := range []string{"", "/frames", "/tail?after=0-0"} {
			before := strings.Count(d.log.String(), `"event":"http.error"`)
			r := d.get("/v1/streams/bluesky" + path)
			d.want(r, c.status, c.name)
			if strings.Contains(r.body, "/dev/sda") {
				t.Errorf("%v: the client learns %s", c.err, r.body)
			}
			if _, id, found := strings.Cut(r.body, "under the id "); c.name == "InternalError" && (!found || !strings.Contains(d.log.String(), `"id":"`+id[:8]+`"`)) {
				t.Errorf("%v: the client is given %s, which the log does not have: %s", c.err, r.body, d.log.String())
			}
			if n := strings.Count(d.log.String(), `"event":"http.error"`) - before; n != c.events {
				t.Errorf("%v: %d events http.error, want %d", c.err, n, c.events)
			}
		}
	}
}

func TestDeletingAStream(t *testing.T) {
	store := openStore(t)
	openStream(t, store, "bluesky", numbered(0, 3)...)
	openStream(t, store, "old", numbered(0, 3)...)
	d := start(t, store)
	if r := d.get("/v1/streams"); !strings.Contains(r.body, `"feed":true`) || !strings.Contains(r.body, `"feed":false`) {
		t.Errorf("the streams do not say which has a feed: %s", r.body)
	}
	d.want(d.do("DELETE", "/v1/streams/bluesky"), http.StatusConflict, "NotNow")
	d.want(d.do("DELETE", "/v1/streams/none"), http.StatusNotFound, "NoSuchStream")
	d.want(d.do("DELETE", "/v1/streams/old?x=1"), http.StatusBadRequest, "InvalidRequest")
	if r := d.do("DELETE", "/v1/streams/old"); r.status != http.StatusOK {
		t.Errorf("%d %s", r.status, r.body)
	}
	d.want(d.get("/v1/streams/old"), http.StatusNotFound, "NoSuchStream")
	d.want(d.do("POST", "/v1/reload"), http.StatusConflict, "NotNow") // no configuration
}

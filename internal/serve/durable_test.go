package serve_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"tempestd/internal/serve"
	"tempestd/persistence"
)

// The sections in this file's comments are those of the Durable Streams protocol.

const (
	durable     = "/streams/bluesky"
	emptyOffset = "00000000000000000000-00000000000000000000"
)

// offsetOf returns the offset after event n.
func offsetOf(n int) string { return fmt.Sprintf("%020d-%020d", firstUS/1000+n, 0) }

// wantHeaders checks headers, given as names and values in turn. The value "" means that the header
// must be absent.
func (d *daemon) wantHeaders(r response, want ...string) {
	d.t.Helper()
	for i := 0; i < len(want); i += 2 {
		if got := r.header.Get(want[i]); got != want[i+1] {
			d.t.Errorf("%s is %q, want %q", want[i], got, want[i+1])
		}
	}
}

var decimal = regexp.MustCompile(`^[0-9]+$`)

// wantCursor checks that a response has a cursor for the next request.
func (d *daemon) wantCursor(r response) {
	d.t.Helper()
	if c := r.header.Get("Stream-Cursor"); !decimal.MatchString(c) {
		d.t.Errorf("Stream-Cursor is %q, want a decimal number", c)
	}
}

// Section 5.6: a reader that follows the offsets in the responses gets every message, page by page,
// in order and byte for byte. Section 8.1.5: each page is an array.
func TestDurableCatchUp(t *testing.T) {
	onBothBackends(t, func(t *testing.T, store persistence.Store) {
		events := slices.Concat(oddEvents, []string{gap}, numbered(0, 12_000))
		openStream(t, store, "bluesky", events...)
		d := start(t, store)
		var all []string
		var pages []int
		for path, last := durable, ""; ; {
			r := d.get(path)
			if r.status != http.StatusOK || r.header.Get("Content-Type") != "application/json" {
				t.Fatalf("%s: status %d, type %q", path, r.status, r.header.Get("Content-Type"))
			}
			var page []json.RawMessage
			if err := json.Unmarshal([]byte(r.body), &page); err != nil {
				t.Fatal(err)
			}
			n := len(all)
			for _, m := range page {
				all = append(all, string(m))
			}
			if want := "[" + strings.Join(events[n:len(all)], ",") + "]"; r.body != want {
				t.Fatalf("%s: page %d is not the events' bytes: %.200q", path, len(pages), r.body)
			}
			pages = append(pages, len(page))
			next := r.header.Get("Stream-Next-Offset")
			if next <= last {
				t.Fatalf("offset %q comes after %q", next, last)
			}
			last = next
			d.wantCursor(r)
			d.wantHeaders(r, "Stream-Closed", "", "X-Content-Type-Options", "nosniff", "Cross-Origin-Resource-Policy", "same-origin")
			if r.header.Get("Stream-Up-To-Date") != "" {
				break
			}
			path = durable + "?offset=" + next
		}
		if want := []int{10_000, 2000 + len(oddEvents) + 1}; !slices.Equal(pages, want) || !slices.Equal(all, events) {
			t.Errorf("pages of %v messages, want %v", pages, want)
		}
		if first, explicit := d.get(durable), d.get(durable+"?offset=-1"); first.body != explicit.body {
			t.Error("offset=-1 is not the same as none")
		}
	})
}

func TestDurablePagesAreBoundedInBytes(t *testing.T) {
	store := openStore(t)
	big := func(n int) string { return `{"text":"` + strings.Repeat("z", n) + `"}` }
	stream := openStream(t, store, "bluesky", big(9<<20))
	for range 4 {
		add(t, stream, big(3<<20))
	}
	d := start(t, store, func(o *serve.Options) { o.Memory = 4 << 30 })
	var got []int
	for offset, done := "-1", false; !done; {
		r := d.get(durable + "?offset=" + offset)
		got = append(got, strings.Count(r.body, "text"))
		offset, done = r.header.Get("Stream-Next-Offset"), r.header.Get("Stream-Up-To-Date") == "true"
	}
	if want := []int{1, 2, 2}; !slices.Equal(got, want) {
		t.Errorf("pages of %v messages, want %v: up to 8 MiB, one at least", got, want)
	}
}

// Sections 5.6 and 8.1.5: an empty stream, and the tail of another stream, are an empty array at an
// offset from which reading can continue.
func TestDurableCatchUpWithNothingThere(t *testing.T) {
	onBothBackends(t, func(t *testing.T, store persistence.Store) {
		stream := openStream(t, store, "bluesky")
		d := start(t, store)
		for _, query := range []string{"", "?offset=-1", "?offset=" + emptyOffset, "?offset=now"} {
			r := d.get(durable + query)
			d.want(r, http.StatusOK, "")
			d.wantHeaders(r, "Stream-Next-Offset", emptyOffset, "Stream-Up-To-Date", "true", "Stream-Closed", "", "Content-Type", "application/json")
			if r.body != "[]" {
				t.Errorf("%q: body %q, want []", query, r.body)
			}
		}
		add(t, stream, numbered(0, 3)...)
		if r := d.get(durable + "?offset=" + emptyOffset); r.body != `[{"n":0},{"n":1},{"n":2}]` {
			t.Errorf("from the offset of the empty stream: %q", r.body)
		}
		if r := d.get(durable + "?offset=" + offsetOf(1)); r.body != `[{"n":2}]` {
			t.Errorf("from the offset after the second message: %q", r.body)
		}
		r := d.get(durable + "?offset=" + offsetOf(2))
		d.wantHeaders(r, "Stream-Next-Offset", offsetOf(2), "Stream-Up-To-Date", "true")
		// A reader whose offset is ahead of the tail is not sent back.
		r = d.get(durable + "?offset=" + offsetOf(50))
		d.wantHeaders(r, "Stream-Next-Offset", offsetOf(50), "Stream-Up-To-Date", "true")
		if r.body != "[]" {
			t.Errorf("beyond the tail: %q", r.body)
		}
	})
}

// Section 7, now: the answer has no message and the offset of the tail. No cache may keep it.
func TestDurableNow(t *testing.T) {
	onBothBackends(t, func(t *testing.T, store persistence.Store) {
		stream := openStream(t, store, "bluesky", numbered(0, 3)...)
		d := start(t, store)
		r := d.get(durable + "?offset=now")
		d.wantHeaders(r, "Stream-Next-Offset", offsetOf(2), "Stream-Up-To-Date", "true", "Cache-Control", "no-store", "ETag", "", "Stream-Closed", "",
			"Content-Type", "application/json")
		d.wantCursor(r)
		if r.status != http.StatusOK || r.body != "[]" {
			t.Errorf("now: %d %q", r.status, r.body)
		}
		add(t, stream, numbered(3, 4)...)
		if r := d.get(durable + "?offset=" + r.header.Get("Stream-Next-Offset")); r.body != `[{"n":3}]` {
			t.Errorf("what came after now: %q", r.body)
		}
		if err := stream.Close(t.Context(), "done"); err != nil {
			t.Fatal(err)
		}
		r = d.get(durable + "?offset=now")
		d.wantHeaders(r, "Stream-Next-Offset", offsetOf(3), "Stream-Up-To-Date", "true", "Stream-Closed", "true", "Cache-Control", "no-store")
	})
}

// Section 5.5: HEAD returns the stream's metadata.
func TestDurableMetadata(t *testing.T) {
	onBothBackends(t, func(t *testing.T, store persistence.Store) {
		stream := openStream(t, store, "bluesky")
		d := start(t, store)
		head := func() response { return d.do("HEAD", durable) }
		r := head()
		if r.status != http.StatusOK || r.body != "" {
			t.Errorf("HEAD: %d %q", r.status, r.body)
		}
		d.wantHeaders(r, "Stream-Next-Offset", emptyOffset, "Content-Type", "application/json", "Cache-Control", "no-store", "Stream-Closed", "",
			"X-Content-Type-Options", "nosniff", "Cross-Origin-Resource-Policy", "same-origin")
		add(t, stream, numbered(0, 3)...)
		d.wantHeaders(head(), "Stream-Next-Offset", offsetOf(2), "Stream-Closed", "")
		if err := stream.Close(t.Context(), "done"); err != nil {
			t.Fatal(err)
		}
		d.wantHeaders(head(), "Stream-Next-Offset", offsetOf(2), "Stream-Closed", "true")
		if r := d.do("HEAD", "/streams/other"); r.status != http.StatusNotFound {
			t.Errorf("HEAD of a stream that is not there: %d", r.status)
		}
	})
}

// Section 9.1: a client that has the page gets a 304. Every client learns that a stream is closed.
func TestDurableEntityTags(t *testing.T) {
	onBothBackends(t, func(t *testing.T, store persistence.Store) {
		stream := openStream(t, store, "bluesky", numbered(0, 3)...)
		d := start(t, store)
		tags := map[string]string{}
		same := func(when, query string) {
			t.Helper()
			r := d.get(durable + query)
			tag := r.header.Get("ETag")
			if other := tags[tag]; tag == "" || other != "" {
				t.Errorf("%s: the tag %s was %q before", when, tag, other)
			}
			tags[tag] = when
			again := d.do("GET", durable+query, "If-None-Match", `"x", W/`+tag)
			if again.status != http.StatusNotModified || again.body != "" {
				t.Errorf("%s: answered %d %q to who has it", when, again.status, again.body)
			}
			d.wantHeaders(again, "ETag", tag, "Cache-Control", r.header.Get("Cache-Control"), "Stream-Next-Offset", r.header.Get("Stream-Next-Offset"))
			for old := range tags {
				if old != tag {
					if r := d.do("GET", durable+query, "If-None-Match", old); r.status != http.StatusOK {
						t.Errorf("%s: the tag of %q gives %d", when, tags[old], r.status)
					}
				}
			}
		}
		same("all", "?offset=-1")
		same("from the second on", "?offset="+offsetOf(0))
		same("the tail", "?offset="+offsetOf(2))
		add(t, stream, numbered(3, 4)...)
		same("after an append", "?offset=-1")
		if err := stream.Close(t.Context(), "done"); err != nil {
			t.Fatal(err)
		}
		same("after the end", "?offset=-1")
		same("at the end", "?offset="+offsetOf(3))
	})
}

// Section 9.1: shared caches may not keep pages of a daemon with a token.
func TestDurableCaching(t *testing.T) {
	const rest = ", max-age=60, stale-while-revalidate=300"
	store := openStore(t)
	openStream(t, store, "bluesky", numbered(0, 3)...)
	open := start(t, store)
	closed := start(t, store, func(o *serve.Options) { o.Token = "secret" })
	open.wantHeaders(open.get(durable), "Cache-Control", "public"+rest)
	closed.wantHeaders(closed.do("GET", durable, "Authorization", "Bearer secret"), "Cache-Control", "private"+rest)
	r := closed.get(durable)
	closed.want(r, http.StatusUnauthorized, "Unauthorized")
	closed.wantHeaders(r, "Cache-Control", "no-store")
	r = open.get(durable + "?offset=x")
	open.want(r, http.StatusBadRequest, "InvalidRequest")
	open.wantHeaders(r, "Cache-Control", "no-store")
}

// Sections 5.6 and 5.7: only a page that ends where a closed stream ends says so. There is nothing
// to wait for at that end.
func TestDurableClosedStream(t *testing.T) {
	onBothBackends(t, func(t *testing.T, store persistence.Store) {
		stream := openStream(t, store, "bluesky", numbered(0, 10_500)...)
		if err := stream.Close(t.Context(), "done"); err != nil {
			t.Fatal(err)
		}
		d := start(t, store)
		for _, live := range []string{"", "&live=long-poll"} {
			r := d.get(durable + "?offset=-1" + live)
			d.wantHeaders(r, "Stream-Closed", "", "Stream-Up-To-Date", "", "Stream-Next-Offset", offsetOf(9999))
			d.wantCursor(r)
			r = d.get(durable + "?offset=" + offsetOf(9999) + live)
			d.wantHeaders(r, "Stream-Closed", "true", "Stream-Up-To-Date", "true", "Stream-Next-Offset", offsetOf(10_499), "Stream-Cursor", "")
		}
		r := d.get(durable + "?offset=" + offsetOf(10_499))
		d.wantHeaders(r, "Stream-Closed", "true", "Stream-Up-To-Date", "true", "Stream-Next-Offset", offsetOf(10_499))
		if r.status != http.StatusOK || r.body != "[]" {
			t.Errorf("at the end: %d %q", r.status, r.body)
		}
		for _, offset := range []string{offsetOf(10_499), "now"} {
			r := d.get(durable + "?live=long-poll&offset=" + offset)
			d.wantHeaders(r, "Stream-Closed", "true", "Stream-Up-To-Date", "true", "Stream-Next-Offset", offsetOf(10_499), "Cache-Control", "no-store")
			if r.status != http.StatusNoContent || r.body != "" {
				t.Errorf("long-poll at the end: %d %q", r.status, r.body)
			}
		}
	})
}

// Section 5.6, 410: an offset that retention has overtaken is never skipped silently. The answer
// says how to continue.
func TestDurableOffsetBeforeRetention(t *testing.T) {
	onBothBackends(t, func(t *testing.T, store persistence.Store) {
		stream := openStream(t, store, "bluesky", numbered(0, 2000)...)
		add(t, stream, numbered(2000, 2100)...)
		if _, err := stream.Trim(t.Context(), persistence.Retention{Entries: 100}); err != nil {
			t.Fatal(err)
		}
		info, err := stream.Info(t.Context())
		if err != nil || info.Trimmed == nil {
			t.Fatalf("nothing was dropped: %+v, %v", info, err)
		}
		kept := 2100 - int(info.Entries)
		d := start(t, store)
		for _, live := range []string{"", "&live=long-poll", "&live=sse"} {
			for _, offset := range []string{offsetOf(0), offsetOf(kept - 2), emptyOffset} {
				r := d.get(durable + "?offset=" + offset + live)
				d.want(r, http.StatusGone, "CursorExpired")
				d.wantHeaders(r, "Cache-Control", "no-store")
				if !strings.Contains(r.body, "offset="+offsetOf(kept-1)) {
					t.Errorf("the answer does not say where to go on: %s", r.body)
				}
			}
		}
		fromTheEdge, fromTheStart := d.get(durable+"?offset="+offsetOf(kept-1)), d.get(durable+"?offset=-1")
		if fromTheEdge.body != fromTheStart.body || !strings.HasPrefix(fromTheStart.body, fmt.Sprintf(`[{"n":%d},`, kept)) || !strings.HasSuffix(fromTheStart.body, `{"n":2099}]`) {
			t.Errorf("what is kept: %.100q and %.100q", fromTheEdge.body, fromTheStart.body)
		}
	})
}

// A stream whose messages were all dropped continues at the same offset.
func TestDurableStreamThatRetentionEmptied(t *testing.T) {
	onBothBackends(t, func(t *testing.T, store persistence.Store) {
		stream := openStream(t, store, "bluesky", numbered(0, 10)...)
		if _, err := stream.Trim(t.Context(), persistence.Retention{Age: 1}); err != nil {
			t.Fatal(err)
		}
		info, err := stream.Info(t.Context())
		if err != nil || info.Entries != 0 {
			t.Fatalf("%d entries are left, %v", info.Entries, err)
		}
		d := start(t, store)
		for _, r := range []response{d.get(durable), d.get(durable + "?offset=now"), d.do("HEAD", durable)} {
			d.wantHeaders(r, "Stream-Next-Offset", offsetOf(9))
		}
		d.want(d.get(durable+"?offset="+offsetOf(3)), http.StatusGone, "CursorExpired")
		if r := d.get(durable + "?offset=" + offsetOf(9)); r.body != "[]" || r.status != http.StatusOK {
			t.Errorf("at the tail: %d %q", r.status, r.body)
		}
	})
}

// damaged is a stream that cannot be read after its second message.
type damaged struct{ persistence.Stream }

func (s damaged) Tail(ctx context.Context, after persistence.StreamCursor, block time.Duration, limit int) (persistence.Page, error) {
	return persistence.Page{}, &persistence.CorruptError{Stream: s.Name(), Block: persistence.EntryID{MS: firstUS/1000 + 1}, Err: errors.New("checksum")}
}

type damagedStore struct{ persistence.Store }

func (s damagedStore) Stream(ctx context.Context, name string) (persistence.Stream, error) {
	stream, err := s.Store.Stream(ctx, name)
	return damaged{stream}, err
}

// A client repeats a request for ever when the answer is a 500, but lost messages do not come back.
func TestDurableDamageIsGone(t *testing.T) {
	store := openStore(t)
	openStream(t, store, "bluesky", numbered(0, 3)...)
	d := start(t, damagedStore{store})
	for _, live := range []string{"", "&live=long-poll", "&live=sse"} {
		r := d.get(durable + "?offset=-1" + live)
		d.want(r, http.StatusGone, "CorruptBlock")
		if !strings.Contains(r.body, "offset="+offsetOf(1)) {
			t.Errorf("the answer does not say where to go on: %s", r.body)
		}
	}
}

func TestDurableRefusals(t *testing.T) {
	store := openStore(t)
	openStream(t, store, "bluesky", numbered(0, 3)...)
	d := start(t, store)
	for _, query := range []string{"offset=", "offset=0", "offset=0,1", "offset=0%201", "offset=start", "offset=NOW", "offset=a&offset=b", "offset=-1&offset=-1",
		"offset=1795000000000-0", "live=long-poll", "live=sse", "live=", "offset=-1&live=websocket", "offset=-1&live=SSE", "offset=-1&live=sse&live=sse",
		"offset=-1&cursor=", "offset=-1&cursor=abc", "offset=-1&cursor=-1", "offset=-1&cursor=9999999999999999", "offset=%zz", "offset=-1&kinds=commits"} {
		r := d.get(durable + "?" + query)
		d.want(r, http.StatusBadRequest, "InvalidRequest")
		if !strings.Contains(r.body, "accepted: ") {
			t.Errorf("%q is refused without a word of what is accepted: %s", query, r.body)
		}
	}
	// Section 10.1: an unknown parameter may be an extension.
	if r := d.get(durable + "?offset=-1&foo=bar&baz=qux&baz=2"); r.status != http.StatusOK {
		t.Errorf("unknown parameters: %d %s", r.status, r.body)
	}
	for _, live := range []string{"", "&live=long-poll", "&live=sse"} {
		for _, offset := range []string{"-1", "now", offsetOf(0)} {
			d.want(d.get("/streams/other?offset="+offset+live), http.StatusNotFound, "NoSuchStream")
		}
	}
}

// Sections 5.2 and 5.4: a server without the write side refuses writes with a 405.
func TestDurableWritesAreRefused(t *testing.T) {
	store := openStore(t)
	openStream(t, store, "bluesky", numbered(0, 3)...)
	d := start(t, store)
	for _, method := range []string{"PUT", "POST", "DELETE", "PATCH", "OPTIONS"} {
		r := d.do(method, durable, "Stream-Closed", "true")
		d.want(r, http.StatusMethodNotAllowed, "MethodNotAllowed")
		d.wantHeaders(r, "Allow", "GET, HEAD")
	}
	if r := d.get(durable); r.body != `[{"n":0},{"n":1},{"n":2}]` || r.header.Get("Stream-Closed") != "" {
		t.Errorf("the stream is %q now", r.body)
	}
}

// The filter is an extension (section 10.1) that every tail has. The offset moves past messages
// that do not pass it.
func TestDurableFilter(t *testing.T) {
	store := openStore(t)
	openStream(t, store, "bluesky", commit("did:plc:a", "app.bsky.feed.post", 0), commit("did:plc:b", "app.bsky.feed.like", 1), gap)
	d := start(t, store)
	r := d.get(durable + "?collections=app.bsky.feed.post&kinds=commit")
	d.wantHeaders(r, "Stream-Next-Offset", offsetOf(2), "Stream-Up-To-Date", "true")
	if r.body != "["+commit("did:plc:a", "app.bsky.feed.post", 0)+"]" {
		t.Errorf("filtered: %s", r.body)
	}
}

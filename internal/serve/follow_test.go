package serve_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tempestd/internal/serve"
	"tempestd/persistence"
)

// commit returns a commit event as it is stored.
func commit(did, collection string, n int) string {
	return fmt.Sprintf(`{"did":"%s","time_us":%d,"kind":"commit","commit":{"rev":"r%d","operation":"create","collection":"%s","rkey":"k"}}`,
		did, firstUS+n*1000, n, collection)
}

const gap = `{"kind":"gap","time_us":1,"gap":{"from_us":1,"to_us":2,"cause":"replay_window"}}`

func at(n int) string { return fmt.Sprintf("%d-0", firstUS/1000+n) }

// mixed returns n events: a like each, except for those in set.
func mixed(n int, set map[int]string) []string {
	events := make([]string, n)
	for i := range events {
		events[i] = commit("did:plc:a", "app.bsky.feed.like", i)
		if set[i] != "" {
			events[i] = set[i]
		}
	}
	return events
}

func TestReadersFilter(t *testing.T) {
	store := openStore(t)
	stream := openStream(t, store, "bluesky", mixed(2500, map[int]string{
		0: commit("did:plc:b", "app.bsky.feed.post", 0), 700: gap, 1500: commit("did:plc:b", "app.bsky.feed.like", 1500), 2499: commit("did:plc:c", "app.bsky.feed.post", 2499)})...)
	d := start(t, store)
	const path = "/v1/streams/bluesky/tail?"
	for _, c := range []struct {
		query  string
		want   string // the numbers of the expected entries
		cursor int
	}{
		{"after=0-0&collections=app.bsky.feed.post", "0 700 2499", 2499},
		{"after=0-0&collections=app.bsky.feed.post&kinds=commit", "0 2499", 2499},
		{"after=0-0&collections=app.bsky.feed.*&dids=did:plc:b,did:plc:c", "0 700 1500 2499", 2499},
		{"after=0-0&dids=did:plc:b&dids=did:plc:c&kinds=commit,gap&limit=2", "0 700", 999},
		{"after=" + at(1499) + "&dids=did:plc:b&limit=2&kinds=commit", "1500", 2499},
		{"after=0-0&kinds=gap&block_ms=30000", "700", 2499},
		{"after=" + at(1500) + "&dids=did:plc:b", "", 2499},
		{"after=" + at(1500) + "&dids=did:plc:b&block_ms=1", "", 2499},
	} {
		f := d.frames(d.get(path + c.query))
		var got []string
		for _, e := range f.Frames {
			ms, _, _ := strings.Cut(e.ID, "-")
			n, _ := strconv.Atoi(ms)
			got = append(got, strconv.Itoa(n-firstUS/1000))
		}
		if s := strings.Join(got, " "); s != c.want || f.Cursor != at(c.cursor) || f.LagEntries != int64(2499-c.cursor) || f.UpToDate != (c.cursor == 2499) {
			t.Errorf("%s gives %q up to %s with %d after it, want %q up to %s", c.query, s, f.Cursor, f.LagEntries, c.want, at(c.cursor))
		}
	}

	// A tail whose filter passes nothing keeps waiting. An entry that passes wakes it.
	got := make(chan response)
	go func() { got <- d.get(path + "after=0-0&dids=did:plc:d&kinds=commit&block_ms=30000") }()
	d.tailing("bluesky", 1)
	add(t, stream, commit("did:plc:a", "app.bsky.feed.like", 2500))
	add(t, stream, commit("did:plc:d", "app.bsky.feed.like", 2501))
	if f := d.frames(<-got); f.Count != 1 || f.Frames[0].ID != at(2501) || f.Cursor != at(2501) {
		t.Errorf("the tail gave %+v", f)
	}
}

// A tail that has looked at many entries and found none returns how far it came, so that the next
// request continues there.
func TestAPeekLooksAtABoundedNumberOfEntries(t *testing.T) {
	store := openStore(t)
	openStream(t, store, "bluesky", mixed(12_000, map[int]string{11_000: commit("did:plc:b", "app.bsky.feed.like", 0)})...)
	d := start(t, store)
	const path = "/v1/streams/bluesky/tail?dids=did:plc:b&after="
	f := d.frames(d.get(path + "0-0"))
	if f.Count != 0 || f.Cursor != at(9999) || f.LagEntries != 2000 || f.LagMS != 2000 || f.UpToDate {
		t.Errorf("the first peek gives %+v", f)
	}
	if f = d.frames(d.get(path + f.Cursor)); f.Count != 1 || f.Cursor != at(11_999) || f.LagEntries != 0 || !f.UpToDate {
		t.Errorf("the second peek gives %+v", f)
	}
	if f = d.frames(d.get(path + "0-0&block_ms=30000")); f.Count != 1 {
		t.Errorf("a tail that may wait gives %+v", f)
	}
}

func TestBadFiltersAreNamed(t *testing.T) {
	store := openStore(t)
	openStream(t, store, "bluesky")
	d := start(t, store)
	var collections, dids strings.Builder
	for i := range 10_000 {
		if i <= 100 {
			fmt.Fprintf(&collections, "a.b.c%d,", i)
		}
		fmt.Fprintf(&dids, "did%%3Aplc%%3Aaaaaaaaaaaaaaaaaaaa%05d%%2C", i)
	}
	for query, says := range map[string]string{
		"collections=app.*":  `collections: got "app.*"; accepted: up to 100 NSIDs such as app.bsky.feed.post, or all below one as in app.bsky.graph.*`,
		"collections=a.b.c,": `collections: got "a.b.c,"`,
		"collections=" + collections.String()[:len(collections.String())-1]: `collections: 101 collections are too many`,
		"dids=":    `dids: got ""; accepted: up to 10000 DIDs`,
		"dids=bob": `dids: got "bob"`,
		"dids=did:plc:x," + dids.String() + "did:plc:y": "dids: 10002 dids are too many: accepted are up to 10000",
		"kinds=commit&kinds=like":                       `kinds: got "like"; accepted: commit, identity, account, sync, gap`,
		"kinds=gap&collections=a.b.c":                   "collections: collections filter can never apply",
	} {
		r := d.get("/v1/streams/bluesky/tail?after=0-0&" + query)
		d.want(r, http.StatusBadRequest, "InvalidRequest")
		var e struct{ Message string }
		if err := json.Unmarshal([]byte(r.body), &e); err != nil || !strings.Contains(e.Message, says) {
			t.Errorf("%.60s: %q, want it to say %q", query, e.Message, says)
		}
	}
	if r := d.get("/v1/streams/bluesky/tail?after=0-0&dids=" + strings.TrimSuffix(dids.String(), "%2C")); r.status != http.StatusOK {
		t.Errorf("a filter of 10000 DIDs: %d %.200s", r.status, r.body)
	}
}

func TestAnExpiredCursorIsGone(t *testing.T) {
	store := openStore(t)
	stream := openStream(t, store, "bluesky", numbered(0, 10)...)
	add(t, stream, numbered(10, 20)...)
	if _, err := stream.Trim(context.Background(), persistence.Retention{Entries: 10}); err != nil {
		t.Fatal(err)
	}
	d := start(t, store)
	for _, query := range []string{"tail?after=" + at(3), "tail?block_ms=30000&after=" + at(8), "tail?kinds=commit&after=1", "frames?from=" + at(9)} {
		r := d.get("/v1/streams/bluesky/" + query)
		d.want(r, http.StatusGone, "CursorExpired")
		var e struct {
			Oldest string `json:"oldest_cursor"`
		}
		if err := json.Unmarshal([]byte(r.body), &e); err != nil || e.Oldest != at(9) {
			t.Errorf("%s: %s, want the oldest cursor %s", query, r.body, at(9))
		}
	}
	for _, query := range []string{"tail?after=0-0", "tail?after=" + at(9), "frames", "frames?from=" + at(10)} {
		if f := d.frames(d.get("/v1/streams/bluesky/" + query)); f.Count != 10 || f.Frames[0].ID != at(10) || f.Oldest != at(10) || f.Newest != at(19) {
			t.Errorf("%s: %+v, want the 10 entries that are kept", query, f)
		}
	}
}

func TestTailsAreBoundedPerStreamAndPerClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		d := newDaemon(t, only{stream: quiet{}}, func(o *serve.Options) { o.MaxTails, o.MaxClientTails = 3, 5 })
		d.listen(p, &http.Transport{DialContext: p.dial, DisableCompression: true})
		var tails sync.WaitGroup
		park := func(block time.Duration) {
			tails.Go(func() {
				d.frames(d.get(fmt.Sprintf("/v1/streams/bluesky/tail?after=0-0&block_ms=%d", block.Milliseconds())))
			})
			synctest.Wait()
		}
		refused := func(retryAfter string) {
			t.Helper()
			r := d.get("/v1/streams/bluesky/tail?after=0-0&block_ms=1")
			d.want(r, http.StatusTooManyRequests, "TooManyTails")
			if got := r.header.Get("Retry-After"); got != retryAfter {
				t.Errorf("Retry-After is %q, want %q", got, retryAfter)
			}
		}
		park(30 * time.Second)
		park(12500 * time.Millisecond)
		park(20 * time.Second)
		refused("13")                                         // until the second one ends
		d.frames(d.get("/v1/streams/bluesky/tail?after=0-0")) // a peek needs no slot
		<-time.After(5 * time.Second)
		refused("8")
		<-time.After(8 * time.Second)
		park(30 * time.Second)
		refused("7")
		tails.Wait()
		park(time.Second)
		tails.Wait()
	})
}

func TestTailsOfOneClientAreBoundedOverAllStreams(t *testing.T) {
	store := openStore(t)
	openStream(t, store, "a")
	openStream(t, store, "b")
	d := start(t, store, func(o *serve.Options) { o.MaxClientTails = 1 })
	got := make(chan response)
	go func() { got <- d.get("/v1/streams/a/tail?after=0-0&block_ms=30000") }()
	d.tailing("a", 1)
	r := d.get("/v1/streams/b/tail?after=0-0&block_ms=30000")
	d.want(r, http.StatusTooManyRequests, "TooManyTails")
	if n, err := strconv.Atoi(r.header.Get("Retry-After")); err != nil || n < 1 || n > 31 {
		t.Errorf("Retry-After is %q", r.header.Get("Retry-After"))
	}
	if err := d.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	d.frames(<-got)
}

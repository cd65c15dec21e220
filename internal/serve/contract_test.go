package serve_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"tempestd/internal/serve"
	"tempestd/internal/valkeytest"
	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/valkey"
)

// TestTheTailsContract checks the contract of tails, sentence by sentence.
func TestTheTailsContract(t *testing.T) {
	onBothBackends(t, func(t *testing.T, store persistence.Store) {
		stream := openStream(t, store, "bluesky", numbered(0, 10)...)
		d := start(t, store, func(o *serve.Options) { o.MaxTails = 3 })
		const path = "/v1/streams/bluesky/tail?after="

		for _, after := range []string{"start", "end", "-", "+", "$", "", "1-", "-1", "1-2-3", "1x", " 1-0", "18446744073709551616-0", "1-18446744073709551616", "é"} {
			d.want(d.get(path+url.QueryEscape(after)), http.StatusBadRequest, "InvalidRequest")
		}
		for _, bound := range []string{"block_ms=30001", "block_ms=-1", "limit=0", "limit=1001"} {
			d.want(d.get(path+"0-0&"+bound), http.StatusBadRequest, "InvalidRequest")
		}
		if f := d.frames(d.get(path + "0-0&limit=1000")); f.Count != 10 || f.Frames[0].ID != at(0) {
			t.Errorf("from the beginning: %+v", f)
		}
		if f := d.frames(d.get(path + at(4) + "&limit=2")); f.Count != 2 || f.Frames[0].ID != at(5) || f.LagEntries != 3 || f.LagMS != 3 || f.UpToDate {
			t.Errorf("the cursor is exclusive: %+v", f)
		}
		for _, block := range []int{0, 1, 50} { // a peek, and time-outs: empty, open and no error
			if f := d.frames(d.get(fmt.Sprintf("%s%s&block_ms=%d", path, at(9), block))); f.Count != 0 || f.Frames == nil || f.ClosedAt != nil || f.Cursor != at(9) || !f.UpToDate {
				t.Errorf("waiting %d ms at the tip: %+v", block, f)
			}
		}

		// Waiting tails do not delay a write. A tail beyond the bound is refused. A peek does not
		// count as a tail.
		got := make(chan response, 3)
		wait := func() {
			for range 3 {
				go func() { got <- d.get(path + at(9) + "&block_ms=30000") }()
			}
			d.tailing("bluesky", 3)
		}
		wait()
		r := d.get(path + at(9) + "&block_ms=1000")
		d.want(r, http.StatusTooManyRequests, "TooManyTails")
		if r.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		d.frames(d.get(path + "0-0"))
		// If the tails delayed this write, it would come after their time-outs and wake none of
		// them.
		add(t, stream, numbered(10, 20)...)
		for range 3 {
			if f := d.frames(<-got); f.Count == 0 || f.Frames[0].ID != at(10) {
				t.Errorf("a tail was woken with %+v", f)
			}
		}
		d.tailing("bluesky", 0)

		// A tail that retention has overtaken gets an error.
		if _, err := stream.Trim(context.Background(), persistence.Retention{Entries: 10}); err != nil {
			t.Fatal(err)
		}
		r = d.get(path + at(3) + "&block_ms=30000")
		d.want(r, http.StatusGone, "CursorExpired")
		if !strings.Contains(r.body, `"oldest_cursor":"`+at(9)+`"`) {
			t.Errorf("expired: %s", r.body)
		}

		// The end comes with the last entries, and at once.
		if err := stream.Close(context.Background(), "over"); err != nil {
			t.Fatal(err)
		}
		// The first tail waits for the end: the memory from which tails of a Valkey stream are
		// answered may be some milliseconds late.
		for _, c := range []struct {
			after string
			n     int
		}{{at(19), 0}, {at(15), 4}, {"0-0", 10}} {
			if f := d.frames(d.get(path + c.after + "&block_ms=30000")); f.Count != c.n || f.ClosedAt == nil || f.ClosedReason != "over" || !f.UpToDate {
				t.Errorf("closed, after %s: %+v, want %d frames and the end", c.after, f, c.n)
			}
		}
		if err := d.Shutdown(context.Background()); err != nil {
			t.Fatal(err)
		}
		rec := httptest.NewRecorder()
		d.Handler().ServeHTTP(rec, httptest.NewRequest("GET", path+"0-0&block_ms=30000", nil))
		d.want(response{rec.Code, rec.Header(), rec.Body.String()}, http.StatusServiceUnavailable, "ShuttingDown")
		if rec.Header().Get("Retry-After") == "" {
			t.Error("a shutdown without Retry-After")
		}
	})
}

// Tails race with the last append and the close. No tail gets the end before the last entry: a
// reader that learns that the stream is closed and that it is up to date has every entry.
func TestI3_TheEndNeverOvertakesTheLastEntry(t *testing.T) {
	onBothBackends(t, func(t *testing.T, store persistence.Store) {
		d := newDaemon(t, store)
		for i := range closeRaces {
			name := fmt.Sprintf("s%d", i)
			stream := openStream(t, store, name)
			var tails sync.WaitGroup
			for range 2 {
				tails.Go(func() {
					after, seen := "0-0", 0
					for {
						rec := httptest.NewRecorder()
						d.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/v1/streams/"+name+"/tail?block_ms=30000&limit=3&after="+after, nil))
						f := d.frames(response{rec.Code, rec.Header(), rec.Body.String()})
						seen += f.Count
						after = f.Cursor
						if f.ClosedAt != nil && f.UpToDate || t.Failed() {
							if seen != 5 {
								t.Errorf("%s ended after %d entries", name, seen)
							}
							return
						}
					}
				})
			}
			add(t, stream, numbered(0, 3)...)
			add(t, stream, numbered(3, 5)...)
			if err := stream.Close(context.Background(), "over"); err != nil {
				t.Fatal(err)
			}
			tails.Wait()
		}
	})
}

// A thousand tails of one Valkey stream over HTTP need one blocked connection to the server, and
// each has its full block budget.
func TestI8_TailsOfAValkeyStreamShareOneBlockingConnection(t *testing.T) {
	server := valkeytest.Start(t, valkeytest.Options{})
	v, err := valkey.Open(t.Context(), valkey.Options{Addresses: []string{server.Addr}})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	stream := openStream(t, owner{v}, "bluesky", numbered(0, 1)...)
	d := newDaemon(t, owner{v})
	const tails = sharedTails
	tail := func(block time.Duration) (frames, time.Duration) {
		began := time.Now()
		rec := httptest.NewRecorder()
		d.Handler().ServeHTTP(rec, httptest.NewRequest("GET", fmt.Sprintf("/v1/streams/bluesky/tail?block_ms=%d&after=%s", block.Milliseconds(), at(0)), nil))
		return d.frames(response{rec.Code, rec.Header(), rec.Body.String()}), time.Since(began)
	}
	var short, long sync.WaitGroup
	for i := range tails {
		short.Go(func() {
			block := time.Duration(500+i) * time.Millisecond
			if f, took := tail(block); f.Count != 0 || took < block {
				t.Errorf("a tail of %v took %v and has %d entries", block, took, f.Count)
			}
		})
	}
	server.Await("the hub to block", func() bool { return blocked(server) == 1 })
	short.Wait()
	for range tails {
		long.Go(func() {
			if f, took := tail(30 * time.Second); f.Count != 1 {
				t.Errorf("a tail ended after %v with %d entries", took, f.Count)
			}
		})
	}
	d.tailing("bluesky", tails)
	server.Await("the hub to block", func() bool { return blocked(server) == 1 })
	add(t, stream, numbered(1, 2)...)
	long.Wait()
}

// blocked counts the server's clients that wait in a blocking command.
func blocked(server *valkeytest.Server) (n int) {
	for line := range strings.Lines(server.CLI("CLIENT", "LIST")) {
		for field := range strings.FieldsSeq(line) {
			if flags, ok := strings.CutPrefix(field, "flags="); ok && strings.Contains(flags, "b") {
				n++
			}
		}
	}
	return n
}

// Every text for a cursor is answered with a page, or with a refusal that names the parameter.
func FuzzCursor(f *testing.F) {
	for _, c := range []string{"0-0", "start", "end", "1-2", "18446744073709551615-18446744073709551615", "-", "$", "1-+2", "0x1-0", "١-٠", "1\x00", "1-0 ", strings.Repeat("1", 400)} {
		f.Add(c)
	}
	store := openStore(f)
	openStream(f, store, "bluesky", numbered(0, 5)...)
	d := newDaemon(f, store)
	f.Fuzz(func(t *testing.T, cursor string) {
		id, bad := messages.ParseEntryID(cursor)
		for _, query := range []string{"tail?after=", "tail?block_ms=1&kinds=gap&after=", "frames?from=", "frames?to="} {
			rec := httptest.NewRecorder()
			d.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/v1/streams/bluesky/"+query+url.QueryEscape(cursor), nil))
			r := response{rec.Code, rec.Header(), rec.Body.String()}
			if bad == nil && r.status != http.StatusOK || r.status != http.StatusOK && (r.status != http.StatusBadRequest || r.name() != "InvalidRequest") {
				t.Errorf("%s%q: %d %s", query, cursor, r.status, r.body)
			}
			if r.status == http.StatusOK && query == "tail?after=" && bad == nil {
				if before := id.Compare(messages.EntryID{MS: firstUS / 1000}) < 0; before && !strings.Contains(r.body, `"count":5,`) {
					t.Errorf("after %q comes %s", cursor, r.body)
				}
			}
		}
	})
}

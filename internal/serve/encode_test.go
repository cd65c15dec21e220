package serve_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"tempestd/internal/serve"
)

// plainOf decodes a response's body.
func plainOf(t testing.TB, coding string, body io.Reader) io.Reader {
	t.Helper()
	switch coding {
	case "gzip":
		r, err := gzip.NewReader(body)
		if err != nil {
			t.Fatal(err)
		}
		return r
	case "zstd":
		r, err := zstd.NewReader(body)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.Close)
		return r
	}
	return body
}

func TestAnswersAreCompressedWhenAskedFor(t *testing.T) {
	storage := openStore(t)
	store(t, openStream(t, storage, "bluesky"), events(run(firstUS, 1, 200))...)
	d := start(t, storage)
	for _, c := range []struct{ path, accept, coding string }{
		{"/v1/streams/bluesky/tail?after=0-0&limit=200", "gzip", "gzip"},
		{"/v1/streams/bluesky/tail?after=0-0&limit=200", "gzip, deflate, br, zstd", "zstd"},
		{"/v1/streams/bluesky/tail?after=0-0&limit=200", "zstd;q=0.5, gzip;q=0.8", "gzip"},
		{"/v1/streams/bluesky/tail?after=0-0&limit=200", "GZIP ; q=0, *", ""},
		{"/v1/streams/bluesky/tail?after=0-0&limit=200", "", ""},
		{"/v1/streams/bluesky/tail?after=0-0&limit=1", "gzip", ""}, // it is short
		{"/v1/streams/bluesky/frames", "zstd", "zstd"},
		{"/streams/bluesky?offset=-1", "zstd", "zstd"},
		{"/", "gzip", "gzip"},
		{"/nowhere", "gzip", ""},
		{"/metrics", "gzip", "gzip"}, // by the library of metrics
	} {
		header := []string{}
		if c.accept != "" {
			header = []string{"Accept-Encoding", c.accept}
		}
		got, plain := d.do("GET", c.path, header...), d.get(c.path)
		if coding := got.header.Get("Content-Encoding"); coding != c.coding {
			t.Errorf("%s with %q is encoded with %q, want %q", c.path, c.accept, coding, c.coding)
			continue
		}
		text, err := io.ReadAll(plainOf(t, c.coding, strings.NewReader(got.body)))
		if err != nil || c.path != "/metrics" && string(text) != plain.body {
			t.Errorf("%s with %q: %v, %d bytes of text, want %d", c.path, c.accept, err, len(text), len(plain.body))
		}
		if c.coding != "" && (len(got.body) >= len(plain.body) || c.path != "/metrics" && got.header.Get("Vary") != "Accept-Encoding") {
			t.Errorf("%s with %q: %d bytes of %d, Vary %q", c.path, c.accept, len(got.body), len(plain.body), got.header.Get("Vary"))
		}
	}
	page := d.do("GET", "/streams/bluesky?offset=-1", "Accept-Encoding", "zstd")
	if again := d.do("GET", "/streams/bluesky?offset=-1", "Accept-Encoding", "zstd", "If-None-Match", page.header.Get("ETag")); again.status != http.StatusNotModified {
		t.Errorf("a page that the client has, with the tag %q, was answered %d", page.header.Get("ETag"), again.status)
	}
	if held := d.memory(); held != 0 {
		t.Errorf("%v bytes are held when all is answered", held)
	}
}

// An event is not held back by the encoder, and without room for one it comes as it is.
func TestACompressedEventStreamHoldsNothingBack(t *testing.T) {
	for _, coding := range []string{"gzip", "zstd", ""} {
		storage := openStore(t)
		stream := openStream(t, storage, "bluesky")
		d := start(t, storage, func(o *serve.Options) {
			if coding == "" {
				o.Memory = 1 << 20
			}
		})
		accept := coding
		if accept == "" {
			accept = "zstd"
		}
		req, err := d.request("GET", "/v1/streams/bluesky/tail?after=0-0&live=sse", "Accept-Encoding", accept)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := d.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if resp.Header.Get("Content-Encoding") != coding {
			t.Errorf("an event stream is encoded with %q, want %q", resp.Header.Get("Content-Encoding"), coding)
		}
		watchdog := time.AfterFunc(patience, func() { resp.Body.Close() })
		body := plainOf(t, coding, resp.Body)
		var got bytes.Buffer
		for i := range int64(3) {
			text := event(firstUS+i*1000, 1+i)
			store(t, stream, text)
			for buf := make([]byte, 1<<10); !strings.Contains(got.String(), text+"\n"); {
				n, err := body.Read(buf)
				if got.Write(buf[:n]); err != nil {
					t.Fatalf("event %d did not come: %v", i, err)
				}
			}
		}
		watchdog.Stop()
		resp.Body.Close()
	}
}

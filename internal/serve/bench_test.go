package serve_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"tempestd/persistence"
)

// nowhere discards a response at no cost.
type nowhere struct{ header http.Header }

func (n nowhere) Header() http.Header         { return n.header }
func (n nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (n nowhere) WriteHeader(int)             {}

// BenchmarkFrames measures what this package adds to a read of 1000 entries of 568 bytes.
func BenchmarkFrames(b *testing.B) {
	var read persistence.Page
	event := []byte(`{"text":"` + strings.Repeat("x", 568-11) + `"}`)
	for i := range 1000 {
		read.Entries = append(read.Entries, persistence.Entry{ID: persistence.EntryID{MS: 1_795_000_000_000 + uint64(i)}, Event: event})
	}
	d := newDaemon(b, only{stream: quiet{read: read}})
	req, err := http.NewRequest("GET", "/v1/streams/bluesky/frames?limit=1000", nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(read.Entries) * len(event)))
	for b.Loop() {
		d.Handler().ServeHTTP(nowhere{http.Header{}}, req)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(read.Entries)), "ns/entry")
}

// BenchmarkRead measures reads from the store through a loopback connection, page after page.
func BenchmarkRead(b *testing.B) {
	store := openStore(b)
	stream := openStream(b, store, "bluesky")
	const total, page = 20_000, 1000
	for i := 0; i < total; i += page {
		events := numbered(i, i+page)
		for j := range events {
			events[j] = fmt.Sprintf(`{"n":%d,"text":%q}`, i+j, strings.Repeat("x", 540))
		}
		add(b, stream, events...)
	}
	d := start(b, store)
	b.ReportAllocs()
	for b.Loop() {
		for i := 0; i < total; i += page {
			resp, err := d.http.Get(fmt.Sprintf("http://%s/v1/streams/bluesky/frames?limit=%d&from=%d", d.addr, page, firstUS/1000+i))
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil {
				b.Fatal(err)
			}
			resp.Body.Close()
		}
	}
	b.ReportMetric(float64(b.N*total)/b.Elapsed().Seconds(), "entries/s")
}

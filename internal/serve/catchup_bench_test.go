package serve_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strconv"
	"testing"
	"time"

	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/streamtest"
)

// BenchmarkCatchUp is one reader from the start of a stream of ENTRIES entries, 200 000 where the environment does not say otherwise: over HTTP in pages, as a stream of events, over a
// Jetstream websocket, and straight from the store, all in one run. The client does no more than find the cursor, or the events.
func BenchmarkCatchUp(b *testing.B) {
	total := 200_000
	if s := os.Getenv("ENTRIES"); s != "" {
		var err error
		if total, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	store := openStore(b)
	stream := openStream(b, store, "bluesky")
	events, batch := streamtest.NewEvents(1, time.Now().UnixMicro()), new(messages.Batch)
	for n := 0; n < total; n += 1000 {
		events.Fill(batch, min(1000, total-n))
		if _, err := stream.Append(context.Background(), batch, messages.Checkpoint{}); err != nil {
			b.Fatal(err)
		}
	}
	d := start(b, store)
	get := func(query string) *http.Response {
		resp, err := d.http.Get("http://" + d.addr + "/v1/streams/bluesky/tail?" + query)
		if err != nil || resp.StatusCode != http.StatusOK {
			b.Fatal(resp, err)
		}
		return resp
	}
	for name, read := range map[string]func() int{
		"storage": func() (n int) {
			for after := persistence.FromBeginning(); ; {
				page, err := stream.Tail(context.Background(), after, 0, 1000)
				if err != nil {
					b.Fatal(err)
				}
				n += len(page.Frames)
				if after = persistence.CursorAt(page.Cursor); page.Behind == 0 {
					return n
				}
			}
		},
		"http": func() (n int) {
			for after := "0-0"; ; {
				resp := get("limit=1000&after=" + after)
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil {
					b.Fatal(err)
				}
				var end struct {
					Count    int
					Cursor   string
					UpToDate bool `json:"up_to_date"`
				}
				if err := json.Unmarshal(append([]byte("{"), body[bytes.LastIndex(body, []byte(`"count":`)):]...), &end); err != nil {
					b.Fatal(err)
				}
				n += end.Count
				if after = end.Cursor; end.UpToDate {
					return n
				}
			}
		},
		"sse": func() (n int) {
			resp := get("live=sse&after=0-0")
			defer resp.Body.Close()
			in := bufio.NewReaderSize(resp.Body, 64<<10)
			for n < total {
				line, err := in.ReadSlice('\n')
				if err != nil && err != bufio.ErrBufferFull {
					b.Fatal(err)
				}
				if bytes.HasPrefix(line, []byte("data: ")) {
					n++
				}
			}
			return n
		},
		"websocket": func() int {
			if err := replay(d.addr, "/subscribe?cursor=0", d.http.Transport.(*http.Transport), total); err != nil {
				b.Fatal(err)
			}
			return total
		},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if n := read(); n != total {
					b.Fatalf("%d entries of %d", n, total)
				}
			}
			b.ReportMetric(float64(b.N*total)/b.Elapsed().Seconds(), "entries/s")
		})
	}
}

package serve_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/streamtest"
)

// BenchmarkCatchUp measures one reader that reads a stream from its beginning: over HTTP in pages,
// as an event stream, over a Jetstream websocket, and directly from the store. The stream has
// ENTRIES entries (environment), by default 200 000. The client only searches for the cursor, or
// the events, in a buffer that it reuses: an io.ReadAll of every page takes about as long as all of
// the daemon's work. The stream's blocks have the size that a feed writes while it catches up, some
// 4 MiB of events.
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
	const size = 7000
	for n := 0; n < total; n += size {
		events.Fill(batch, min(size, total-n))
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
	var body bytes.Buffer
	for name, read := range map[string]func() int{
		"storage": func() (n int) {
			for after := persistence.FromBeginning(); ; {
				page, err := stream.Tail(context.Background(), after, 0, 1000)
				if err != nil {
					b.Fatal(err)
				}
				n += len(page.Entries)
				if after = persistence.CursorAt(page.Cursor); page.Behind == 0 {
					return n
				}
			}
		},
		"http": func() (n int) {
			for after := "0-0"; ; {
				resp := get("limit=1000&after=" + after)
				body.Reset()
				_, err := body.ReadFrom(resp.Body)
				resp.Body.Close()
				if err != nil {
					b.Fatal(err)
				}
				var end struct {
					Count    int
					Cursor   string
					UpToDate bool `json:"up_to_date"`
				}
				if err := json.Unmarshal(append([]byte("{"), body.Bytes()[bytes.LastIndex(body.Bytes(), []byte(`"count":`)):]...), &end); err != nil {
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
			cpu := cpuSeconds()
			for b.Loop() {
				if n := read(); n != total {
					b.Fatalf("%d entries of %d", n, total)
				}
			}
			b.ReportMetric(float64(b.N*total)/b.Elapsed().Seconds(), "entries/s")
			b.ReportMetric((cpuSeconds()-cpu)/float64(b.N*total)*1e6, "cpu-s/M")
		})
	}
}

// cpuSeconds returns the CPU time of the process, which is client and server.
func cpuSeconds() float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

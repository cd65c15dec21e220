package serve_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/streamtest"
)

// parked returns the number of tails that wait in BenchmarkParkedTails: PARKED in the environment,
// or 10 000, or as many as the limit of open files allows. Each tail needs two files.
func parked(b *testing.B) int {
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		b.Fatal(err)
	}
	n := min(10_000, (int(min(files.Max, 1<<20))-300)/2)
	if s := os.Getenv("PARKED"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	return n
}

// BenchmarkParkedTails parks long-polls on one stream, each on its own connection over loopback. It
// measures the memory of a waiting tail, with both of its ends in this process; the time from an
// append to each tail's answer; and the duration of an append with all tails waiting (I8), compared
// with an append without tails.
func BenchmarkParkedTails(b *testing.B) {
	n := parked(b)
	store := openStore(b)
	stream := openStream(b, store, "bluesky")
	events := streamtest.NewEvents(1, time.Now().UnixMicro())
	batch := new(messages.Batch)
	put := func(k int) time.Duration {
		events.Fill(batch, k)
		began := time.Now()
		if _, err := stream.Append(context.Background(), batch, messages.Checkpoint{}); err != nil {
			b.Fatal(err)
		}
		return time.Since(began)
	}
	d := start(b, store)
	const appends = 100
	ingest := func() []time.Duration {
		took := make([]time.Duration, appends)
		for i := range took {
			took[i] = put(100)
			<-time.After(10 * time.Millisecond)
		}
		slices.Sort(took)
		return took
	}
	without := ingest()

	before := memory()
	conns := make([]net.Conn, n)
	for i := range conns {
		conn, err := net.Dial("tcp", d.addr)
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		conns[i] = conn
	}
	// Tails whose cursor is beyond every entry are woken by each append and keep waiting. The
	// clients start reading before there is an answer: thousands of goroutines that start at that
	// moment would slow down the answers.
	park := func(after persistence.EntryID) (answers func(from time.Time) []time.Duration) {
		came := make([]time.Time, n)
		var readers sync.WaitGroup
		for i, conn := range conns {
			fmt.Fprintf(conn, "GET /v1/streams/bluesky/tail?after=%s&block_ms=30000&limit=100 HTTP/1.1\r\nHost: localhost\r\n\r\n", after)
			readers.Go(func() {
				resp, err := http.ReadResponse(bufio.NewReaderSize(conn, 512), nil)
				if err == nil {
					came[i] = time.Now()
					_, err = io.Copy(io.Discard, resp.Body)
				}
				if err != nil || resp.StatusCode != http.StatusOK {
					b.Errorf("tail %d: %v, %v", i, resp, err)
				}
			})
		}
		d.tailing("bluesky", n)
		<-time.After(100 * time.Millisecond)
		return func(from time.Time) []time.Duration {
			readers.Wait()
			took := make([]time.Duration, n)
			for i := range came {
				took[i] = came[i].Sub(from)
			}
			slices.Sort(took)
			return took
		}
	}
	for b.Loop() {
		info, err := stream.Info(context.Background())
		if err != nil {
			b.Fatal(err)
		}
		answers := park(*info.Newest)
		b.ReportMetric(float64(n), "tails")
		b.ReportMetric(float64(memory()-before)/float64(n), "B/tail")
		from := time.Now()
		took := put(1)
		answered := make(chan []time.Duration)
		go func() { answered <- answers(from) }()
		var woken, meanwhile []time.Duration
		for woken == nil {
			select {
			case woken = <-answered:
			// Without a pause, the writer would have to queue for the CPU as the tails do.
			case <-time.After(5 * time.Millisecond):
				meanwhile = append(meanwhile, put(100))
			}
		}
		slices.Sort(meanwhile)
		d.tailing("bluesky", 0)
		b.ReportMetric(millis(took), "ms-append-that-wakes")
		b.ReportMetric(millis(meanwhile[len(meanwhile)/2]), "ms-append-p50-answering")
		b.ReportMetric(millis(meanwhile[len(meanwhile)-1]), "ms-append-max-answering")
		b.ReportMetric(millis(woken[n/2]), "ms-wake-p50")
		b.ReportMetric(millis(woken[n*99/100]), "ms-wake-p99")

		answers = park(messages.MaxEntryID)
		with := ingest()
		b.ReportMetric(millis(without[appends/2]), "ms-append-p50-alone")
		b.ReportMetric(millis(without[appends*99/100]), "ms-append-p99-alone")
		b.ReportMetric(millis(with[appends/2]), "ms-append-p50-with")
		b.ReportMetric(millis(with[appends*99/100]), "ms-append-p99-with")
		answers(time.Now())
	}
}

func memory() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

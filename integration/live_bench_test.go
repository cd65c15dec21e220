package integration_test

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// metronome is an upstream that writes an event every millisecond, stamped with the current time.
func metronome(b *testing.B) (url string, sent *atomic.Int64) {
	sent = new(atomic.Int64)
	record := strings.Repeat("the quick brown fox jumps over the lazy dog ", 6)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer ws.CloseNow()
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for range tick.C {
			n := sent.Add(1)
			frame := fmt.Appendf(nil, `{"did":"did:plc:abcdefghijklmnopqrstuvwx","time_us":%d,"kind":"commit","commit":{"rev":"%013d","operation":"create",`+
				`"collection":"app.bsky.feed.post","rkey":"%013d","record":{"text":"%s"},"cid":"bafyreib2rxk3rybk3aobmv5cjuql3bm2twh4jo5uxgf5kpqcsgz7soitae"}}`,
				time.Now().UnixMicro(), n, n, record)
			if ws.Write(r.Context(), websocket.MessageText, frame) != nil {
				return
			}
		}
	}))
	b.Cleanup(s.CloseClientConnections)
	b.Cleanup(s.Close)
	return "ws" + strings.TrimPrefix(s.URL, "http"), sent
}

// BenchmarkLive reports how long a live event takes from the upstream's write to a follower over
// server-sent events. The event is durable by then. It also reports the cost of an event for the
// daemon. Run it with -benchtime 20000x, at one event per millisecond.
func BenchmarkLive(b *testing.B) {
	binary := plainBinary(b)
	for _, delay := range []string{"", "1ms", "5ms", "25ms"} {
		name, more := "default", settings{}
		if delay != "" {
			name, more = delay, settings{"feeds." + feed + ".batch_delay": quoted(delay)}
		}
		b.Run("batch_delay="+name, func(b *testing.B) {
			url, sent := metronome(b)
			d := newDaemon(b, url, more)
			d.binary = binary
			d.startLive()
			d.awaitStored(100)
			used, from := d.cpu(), sent.Load()
			took := d.followLive(b, b.N)
			n := sent.Load() - from
			used = d.cpu() - used
			slices.Sort(took)
			for _, p := range []int{50, 99} {
				b.ReportMetric(float64(took[len(took)*p/100].Microseconds())/1000, "ms-p"+strconv.Itoa(p))
			}
			b.ReportMetric(float64(used.Microseconds())/float64(n), "CPU-µs/event")
			b.ReportMetric(0, "ns/op")
			d.kill()
		})
	}
}

// followLive reads n events of the feed's stream as they arrive and returns the age of each.
func (d *daemon) followLive(b *testing.B, n int) []time.Duration {
	resp, err := http.Get("http://" + d.addr + "/v1/streams/" + feed + "/tail?live=sse&after=" + d.info().Newest.String())
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	took := make([]time.Duration, 0, n)
	lines := bufio.NewReaderSize(resp.Body, 1<<20)
	for len(took) < n {
		line, err := lines.ReadSlice('\n')
		if err != nil {
			b.Fatal(err)
		}
		_, after, ok := bytes.Cut(line, []byte(`"time_us":`))
		if !ok {
			continue
		}
		us, err := strconv.ParseInt(string(after[:16]), 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(time.UnixMicro(us)))
	}
	return took
}

// cpu returns the processor time that the process has used.
func (p *process) cpu() time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	var ticks int
	for _, f := range fields[11:13] { // utime and stime; fields begins at the third field
		n, err := strconv.Atoi(string(f))
		if err != nil {
			p.t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / 100 // USER_HZ
}

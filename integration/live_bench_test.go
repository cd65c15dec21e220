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

	"tempestd/internal/client"
	"tempestd/messages"
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
			took := d.followLive(b, func(n int) bool { return n < b.N })
			n := sent.Load() - from
			used = d.cpu() - used
			for _, p := range []int{50, 99} {
				b.ReportMetric(milliseconds(percentile(took, p)), "ms-p"+strconv.Itoa(p))
			}
			b.ReportMetric(float64(used.Microseconds())/float64(n), "CPU-µs/event")
			b.ReportMetric(0, "ns/op")
			d.kill()
		})
	}
}

// BenchmarkLiveBesideARepair reports how long a live event takes from the simulator's stamp to a
// follower at 1 000 events per second, first without and then with a repair beside it. The repair
// fetches from the simulator's archive as fast as it can. TEMPESTD_TEST_FILL is the number of events
// to be repaired; with 5000000 each of the two parts takes up to a minute.
func BenchmarkLiveBesideARepair(b *testing.B) {
	missed := archivedEvents(b, 500_000)
	sim := simulate(b, 1000, "--archive", "--segment", strconv.Itoa(max(missed/40, 5_000)), "--lookback", "2s")
	d := newDaemon(b, "ws://"+sim.addr, settings{
		"feeds." + feed + ".gap_policy":      `"record"`,
		"feeds." + feed + ".retention.age":   `"0s"`,
		"feeds." + feed + ".retention.bytes": `"0B"`,
	})
	d.binary = plainBinary(b)
	d.startLive()
	d.awaitStored(1000)
	d.stop()
	sim.produceAll(missed)
	sim.sealAll()
	d.startLive()
	row := func() messages.GapStatus {
		rows, err := d.Gaps(b.Context(), client.GapQuery{Feed: feed})
		if err != nil || len(rows.Gaps) > 1 {
			b.Fatal(rows.Gaps, err)
		}
		return append(rows.Gaps, messages.GapStatus{})[0]
	}
	eventually(b, "the feed has caught up, and knows its gap", func() bool { return row().ID != "" && d.status().LagMS < 100 })
	gap := row()

	part := 10*time.Second + time.Duration(missed)*10*time.Microsecond
	var p99 [2]float64
	for i, name := range []string{"alone", "repair"} {
		used, simulated, began := d.cpu(), sim.cpu(), time.Now()
		if name == "repair" {
			if err := d.RepairGap(b.Context(), feed, gap.ID); err != nil {
				b.Fatal(err)
			}
		}
		var looked time.Time
		took := d.followLive(b, func(n int) bool {
			if now := time.Now(); now.Sub(looked) > time.Second {
				looked, gap = now, row()
			}
			return time.Since(began) < part && gap.State != messages.GapRepaired
		})
		lasted := time.Since(began).Seconds()
		p99[i] = milliseconds(percentile(took, 99))
		b.ReportMetric(milliseconds(percentile(took, 50)), "ms-p50-"+name)
		b.ReportMetric(p99[i], "ms-p99-"+name)
		b.ReportMetric(milliseconds(percentile(took, 100)), "ms-max-"+name)
		b.Logf("%s: %d live events in %.0f s: p50 %.1f ms, p99 %.1f ms, p99.9 %.1f ms, max %.1f ms; CPU s: daemon %.1f, simulator %.1f; %d events recovered, the gap is %s; %s", name, len(took), lasted,
			milliseconds(percentile(took, 50)), p99[i], milliseconds(took[len(took)*999/1000]), milliseconds(percentile(took, 100)),
			(d.cpu() - used).Seconds(), (sim.cpu() - simulated).Seconds(), gap.Recovered, gap.State, memoryOf(d.process.cmd.Process.Pid))
		if name == "repair" {
			b.ReportMetric(float64(gap.Recovered)/lasted, "repaired/s")
		}
	}
	b.ReportMetric(p99[1]/p99[0], "p99-ratio")
	b.ReportMetric(0, "ns/op")
	d.kill()
}

// percentile sorts the durations and returns one of them.
func percentile(all []time.Duration, p int) time.Duration {
	slices.Sort(all)
	return all[min(len(all)*p/100, len(all)-1)]
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// followLive reads the live events of the feed's stream as they arrive, as long as more says so of
// their number, and returns the age of each.
func (d *daemon) followLive(b *testing.B, more func(n int) bool) []time.Duration {
	resp, err := http.Get("http://" + d.addr + "/v1/streams/" + feed + "/tail?live=sse&repaired=exclude&after=" + d.info().Newest.String())
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	var took []time.Duration
	lines := bufio.NewReaderSize(resp.Body, 1<<20)
	for more(len(took)) {
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

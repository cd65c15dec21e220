package valkey_test

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tempestd/internal/jetstream"
	"tempestd/internal/valkeytest"
	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/streamtest"
	"tempestd/persistence/valkey"
)

// valkeyBench is a server, a store on it and a stream for appends.
type valkeyBench struct {
	server *valkeytest.Server
	store  *valkey.Store
	stream persistence.Stream
}

func openValkeyBench(b *testing.B, server valkeytest.Options, opt valkey.Options) *valkeyBench {
	b.Helper()
	s := valkeytest.Start(b, server)
	opt.Addresses = []string{s.Addr}
	v, err := valkey.Open(b.Context(), opt)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = v.Close() })
	stream, err := owned{v, "bench"}.OpenStream(b.Context(), "bench", persistence.StreamOptions{})
	if err != nil {
		b.Fatal(err)
	}
	return &valkeyBench{s, v, stream}
}

// cpu returns the CPU time that the server has used, in seconds.
func (v *valkeyBench) cpu() float64 {
	return v.info("cpu", "used_cpu_user_main_thread") + v.info("cpu", "used_cpu_sys_main_thread")
}

// info returns a number from the server's INFO.
func (v *valkeyBench) info(section, name string) float64 {
	for line := range strings.Lines(v.server.CLI("INFO", section)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+":"); ok {
			n, _ := strconv.ParseFloat(value, 64)
			return n
		}
	}
	return 0
}

// xadd returns how many events per second the engine's own benchmark adds, one command per event.
func (v *valkeyBench) xadd(b *testing.B, engine valkeytest.Engine, n int, event []byte, more ...string) float64 {
	b.Helper()
	host, port, _ := strings.Cut(v.server.Addr, ":")
	args := append([]string{"-h", host, "-p", port, "-c", "1", "-P", "256", "-n", strconv.Itoa(n), "--csv", "XADD", "limit"}, more...)
	out, err := exec.Command(valkeytest.Program(b, engine, "benchmark"), append(args, "*", "json", string(event))...).Output()
	if err != nil {
		b.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	fields := strings.Split(string(lines[len(lines)-1]), `","`)
	if len(fields) < 3 {
		b.Fatalf("the benchmark said %s", out)
	}
	rate, err := strconv.ParseFloat(strings.Trim(fields[len(fields)-7], `"`), 64)
	if err != nil {
		b.Fatalf("the benchmark said %s: %v", out, err)
	}
	return rate
}

// BenchmarkValkeyAppend compares appends, with lease, fingerprints and checkpoint, with bare XADDs
// of the server's own benchmark (-c 1 -P 256), in turns. limit/s is the rate of the latter. ratio
// is ours divided by it, of the medians.
func BenchmarkValkeyAppend(b *testing.B) {
	const total = 65536
	for _, engine := range []valkeytest.Engine{valkeytest.Valkey, valkeytest.Redis} {
		for _, size := range []int{50, 2048, 8192} {
			b.Run(fmt.Sprintf("%s/batch=%d", engine, size), func(b *testing.B) {
				v := openValkeyBench(b, valkeytest.Options{Engine: engine}, valkey.Options{})
				events := streamtest.NewEvents(1, benchStart)
				batches := make([]*messages.Batch, 8)
				raw := 0
				for i := range batches {
					batches[i] = events.Fill(new(messages.Batch), size)
					raw += len(batches[i].Buf)
				}
				average := raw / len(batches) / size
				event := bytes.Repeat([]byte("x"), average)
				var limits, ours []float64
				var ourCPU, serverCPU, limitCPU float64
				b.ReportAllocs()
				n, at := 0, 0
				for b.Loop() {
					b.StopTimer()
					before := v.cpu()
					limits = append(limits, v.xadd(b, engine, total, event))
					limitCPU += v.cpu() - before
					v.server.CLI("DEL", "limit")
					before = v.cpu()
					own := cpuSeconds()
					b.StartTimer()
					start := time.Now()
					for range total / size {
						if _, err := v.stream.Append(b.Context(), batches[at%len(batches)], messages.Checkpoint{}); err != nil {
							b.Fatal(err)
						}
						at++
					}
					took := time.Since(start)
					b.StopTimer()
					ours = append(ours, float64(total/size*size)/took.Seconds())
					n += total / size * size
					ourCPU += cpuSeconds() - own
					serverCPU += v.cpu() - before
					if _, err := v.stream.Trim(b.Context(), persistence.Retention{Entries: 1}); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
				}
				b.ReportMetric(median(ours), "events/s")
				b.ReportMetric(median(limits), "limit/s")
				b.ReportMetric(median(ours)/median(limits), "ratio")
				b.ReportMetric(ourCPU/float64(n)*1e6, "cpu-s/M")
				b.ReportMetric(serverCPU/float64(n)*1e6, "server-cpu-s/M")
				b.ReportMetric(limitCPU/float64(len(limits)*total)*1e6, "limit-cpu-s/M")
				b.ReportMetric(float64(average), "raw-B/event")
			})
		}
	}
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}

// BenchmarkValkeyAppendBesideTail measures the latency of an append on a busy stream, without and
// with a tail of 5 s on the stream, in turns on one server. The reader reads what is appended.
func BenchmarkValkeyAppendBesideTail(b *testing.B) {
	v := openValkeyBench(b, valkeytest.Options{}, valkey.Options{})
	events := streamtest.NewEvents(1, benchStart)
	batch := new(messages.Batch)
	var latencies [2][]time.Duration
	var after persistence.EntryID
	appendSome := func(to *[]time.Duration) {
		for range 200 {
			events.Fill(batch, 50)
			start := time.Now()
			done, err := v.stream.Append(b.Context(), batch, messages.Checkpoint{})
			if err != nil {
				b.Fatal(err)
			}
			*to = append(*to, time.Since(start))
			after = done.Last
		}
	}
	for b.Loop() {
		appendSome(&latencies[0])
		// One tail at the tip of the busy stream, again and again, like a consumer. One tail of a
		// quiet stream, which waits all the time.
		quiet, err := v.store.OpenStream(b.Context(), "quiet", persistence.StreamOptions{})
		if err != nil {
			b.Fatal(err)
		}
		ctx, stop := context.WithCancel(b.Context())
		var tails sync.WaitGroup
		tails.Go(func() { _, _ = quiet.Tail(ctx, persistence.FromBeginning(), 5*time.Second, 1000) })
		cursor := persistence.CursorAt(after)
		tails.Go(func() {
			for ctx.Err() == nil {
				page, err := v.stream.Tail(ctx, cursor, 5*time.Second, 1000)
				if err == nil && len(page.Entries) > 0 {
					cursor = persistence.CursorAt(page.Entries[len(page.Entries)-1].ID)
				}
			}
		})
		appendSome(&latencies[1])
		stop()
		tails.Wait()
		if _, err := v.stream.Trim(b.Context(), persistence.Retention{Entries: 1}); err != nil {
			b.Fatal(err)
		}
	}
	for i, name := range []string{"alone", "beside"} {
		slices.Sort(latencies[i])
		for _, p := range []int{50, 99} {
			b.ReportMetric(float64(latencies[i][len(latencies[i])*p/100].Microseconds()), fmt.Sprintf("%s-p%d-µs", name, p))
		}
	}
}

// BenchmarkValkeyRead measures the cost of reading a stream in pages, like a reader behind the tip.
func BenchmarkValkeyRead(b *testing.B) {
	v := openValkeyBench(b, valkeytest.Options{}, valkey.Options{})
	events := streamtest.NewEvents(1, benchStart)
	batch := new(messages.Batch)
	for range 32 {
		if _, err := v.stream.Append(b.Context(), events.Fill(batch, 2048), messages.Checkpoint{}); err != nil {
			b.Fatal(err)
		}
	}
	own, server := cpuSeconds(), v.cpu()
	n := readPages(b, v.stream, 1000)
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric((cpuSeconds()-own)/float64(n)*1e6, "cpu-s/M")
	b.ReportMetric((v.cpu()-server)/float64(n)*1e6, "server-cpu-s/M")
}

// BenchmarkValkeyMemory measures the server's memory per event, including its index and the
// stream's own structure.
func BenchmarkValkeyMemory(b *testing.B) {
	for _, engine := range []valkeytest.Engine{valkeytest.Valkey, valkeytest.Redis} {
		for _, fields := range [][]string{nil, valkey.EntryFields} {
			b.Run(fmt.Sprintf("%s/fields=%d", engine, len(fields)), func(b *testing.B) {
				v := openValkeyBench(b, valkeytest.Options{Engine: engine}, valkey.Options{Fields: fields, Describe: jetstream.Describe})
				events := streamtest.NewEvents(1, benchStart)
				batch := new(messages.Batch)
				before := v.info("memory", "used_memory")
				n, raw := 0, 0
				for b.Loop() {
					for range 20 {
						if _, err := v.stream.Append(b.Context(), events.Fill(batch, 2048), messages.Checkpoint{}); err != nil {
							b.Fatal(err)
						}
						n, raw = n+2048, raw+len(batch.Buf)
					}
				}
				b.ReportMetric((v.info("memory", "used_memory")-before)/float64(n), "B/event")
				b.ReportMetric(float64(raw)/float64(n), "raw-B/event")
			})
		}
	}
}

// cpuSeconds returns the CPU time that the process has used.
func cpuSeconds() float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// readPages reads a stream in pages while the benchmark runs, again and again from its start. It
// returns how many entries it has read.
func readPages(b *testing.B, s persistence.Stream, limit int) (n int) {
	b.ReportAllocs()
	after := persistence.FromBeginning()
	for b.Loop() {
		page, err := s.Tail(b.Context(), after, 0, limit)
		if err != nil {
			b.Fatal(err)
		}
		n += len(page.Entries)
		after = persistence.FromBeginning()
		if len(page.Entries) > 0 {
			after = persistence.CursorAt(page.Entries[len(page.Entries)-1].ID)
		}
	}
	return n
}

// BenchmarkValkeyDurability measures what each level costs, with servers that sync every write: the
// rate of full batches, and the appends of a feed of 3 000 events a second, where each append takes
// what has come since the last one.
func BenchmarkValkeyDurability(b *testing.B) {
	const rate = 3000
	for _, c := range []struct{ name, aof, level string }{
		{"no-file", "", valkey.DurabilityMemory},
		{"memory", "always", valkey.DurabilityMemory},
		{"aof", "always", valkey.DurabilityAOF},
		{"replicas", "always", valkey.DurabilityReplicas},
	} {
		for _, paced := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/paced=%t", c.name, paced), func(b *testing.B) {
				server, _ := valkeytest.Replicated(b, valkeytest.Options{AOF: c.aof})
				store, err := valkey.Open(b.Context(), valkey.Options{Addresses: []string{server.Addr}, Durability: c.level})
				if err != nil {
					b.Fatal(err)
				}
				b.Cleanup(func() { _ = store.Close() })
				stream, err := owned{store, "bench"}.OpenStream(b.Context(), "bench", persistence.StreamOptions{})
				if err != nil {
					b.Fatal(err)
				}
				v := &valkeyBench{server, store, stream}
				events, batch := streamtest.NewEvents(1, benchStart), new(messages.Batch)
				put := func(size int) (took time.Duration) {
					events.Fill(batch, size)
					start := time.Now()
					if _, err := stream.Append(b.Context(), batch, messages.Checkpoint{}); err != nil {
						b.Fatal(err)
					}
					return time.Since(start)
				}
				put(1)
				var took []time.Duration
				n, own, servers := 0, cpuSeconds(), v.cpu()
				last := time.Now()
				for b.Loop() {
					size := 8192
					if paced {
						time.Sleep(time.Until(last.Add(3 * time.Millisecond))) // batch_delay
						now := time.Now()
						size = max(int(now.Sub(last).Seconds()*rate), 1)
						last = now
					}
					took = append(took, put(size))
					n += size
				}
				slices.Sort(took)
				b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
				b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
				b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
				b.ReportMetric((cpuSeconds()-own)/float64(n)*1e6, "cpu-s/M")
				b.ReportMetric((v.cpu()-servers)/float64(n)*1e6, "server-cpu-s/M")
			})
		}
	}
}

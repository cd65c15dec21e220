package embedded_test

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/embedded"
	"tempestd/persistence/streamtest"
)

// openBench opens a store with one stream.
func openBench(b *testing.B, dir string, opt embedded.Options) persistence.Stream {
	store, err := embedded.Open(b.Context(), dir, opt)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := store.Close(); err != nil {
			b.Error(err)
		}
	})
	s, err := store.OpenStream(b.Context(), "bench", persistence.StreamOptions{})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// cpuSeconds returns the CPU time that the process has used.
func cpuSeconds() float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{50, 256, 8192} {
		for _, sync := range []bool{true, false} {
			b.Run(fmt.Sprintf("batch=%d/sync=%v", size, sync), func(b *testing.B) {
				dir := b.TempDir()
				opt := embedded.Options{}
				if !sync {
					opt.SyncInterval = time.Second
				}
				s := openBench(b, dir, opt)
				events := streamtest.NewEvents(1, start)
				batches := make([]*messages.Batch, 8)
				raw := 0
				for i := range batches {
					batches[i] = events.Fill(new(messages.Batch), size)
					raw += len(batches[i].Buf)
				}
				stored := 0
				b.ReportAllocs()
				cpu := cpuSeconds()
				i := 0
				for b.Loop() {
					done, err := s.Append(b.Context(), batches[i%len(batches)], messages.Checkpoint{})
					if err != nil {
						b.Fatal(err)
					}
					stored += done.Bytes
					i++
				}
				n := float64(i * size)
				b.ReportMetric(n/b.Elapsed().Seconds(), "events/s")
				b.ReportMetric((cpuSeconds()-cpu)/n*1e6, "cpu-s/M")
				b.ReportMetric(float64(stored)/n, "B/event")
				b.ReportMetric(float64(raw)/float64(len(batches)*size), "raw-B/event")
				b.ReportMetric(float64(diskUsage(b, dir))/n, "disk-B/event")
			})
		}
	}
}

func BenchmarkRead(b *testing.B) {
	s := openBench(b, b.TempDir(), embedded.Options{SyncInterval: time.Second})
	events := streamtest.NewEvents(1, start)
	batch := new(messages.Batch)
	const total = 1 << 18
	for range total / 8192 {
		if _, err := s.Append(b.Context(), events.Fill(batch, 8192), messages.Checkpoint{}); err != nil {
			b.Fatal(err)
		}
	}
	for _, limit := range []int{100, 1000, 10_000} {
		b.Run(fmt.Sprintf("page=%d", limit), func(b *testing.B) {
			n := readPages(b, s, limit)
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
		})
	}
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

// BenchmarkReaders measures pages of many readers in turn, each nearly in its own block. There are
// more readers than heads that are kept.
func BenchmarkReaders(b *testing.B) {
	s := openBench(b, b.TempDir(), embedded.Options{SyncInterval: time.Second})
	events := streamtest.NewEvents(1, start)
	batch := new(messages.Batch)
	var after []persistence.EntryID
	for range 64 {
		done, err := s.Append(b.Context(), events.Fill(batch, 8192), messages.Checkpoint{})
		if err != nil {
			b.Fatal(err)
		}
		after = append(after, done.First)
	}
	starts := slices.Clone(after)
	for _, limit := range []int{100, 1000} {
		b.Run(fmt.Sprintf("page=%d", limit), func(b *testing.B) {
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				reader := n % len(after)
				page, err := s.Tail(b.Context(), persistence.CursorAt(after[reader]), 0, limit)
				if err != nil {
					b.Fatal(err)
				}
				if after[reader] = page.Cursor; page.Behind == 0 {
					after[reader] = starts[0]
				}
				n++
			}
		})
	}
}

func BenchmarkFingerprints(b *testing.B) {
	for _, size := range []int{50, 8192} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			s := openBench(b, b.TempDir(), embedded.Options{SyncInterval: time.Second})
			events := streamtest.NewEvents(1, start)
			batch := new(messages.Batch)
			for range (1 << 20) / size {
				if _, err := s.Append(b.Context(), events.Fill(batch, size), messages.Checkpoint{}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				n := 0
				if err := s.Fingerprints(b.Context(), persistence.Horizon{}, func(f persistence.FingerprintBlock) bool {
					n += len(f.Fingerprints)
					return true
				}); err != nil || n != (1<<20)/size*size {
					b.Fatal(n, err)
				}
			}
		})
	}
}

// BenchmarkTailWake measures one event from its append to a waiting tail, and the tail's next wait.
func BenchmarkTailWake(b *testing.B) {
	s := openBench(b, b.TempDir(), embedded.Options{SyncInterval: time.Second})
	events := streamtest.NewEvents(1, start)
	batch := events.Fill(new(messages.Batch), 1)
	got := make(chan persistence.EntryID)
	go func() {
		defer close(got)
		after := persistence.FromBeginning()
		for {
			page, err := s.Tail(b.Context(), after, persistence.MaxBlock, 10)
			if err != nil {
				return
			}
			for _, f := range page.Entries {
				after = persistence.CursorAt(f.ID)
				got <- f.ID
			}
		}
	}()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Append(b.Context(), batch, messages.Checkpoint{}); err != nil {
			b.Fatal(err)
		}
		<-got
	}
}

// BenchmarkEntry measures the cost of confirming a replay entry by entry.
func BenchmarkEntry(b *testing.B) {
	for _, size := range []int{50, 8192} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			s := openBench(b, b.TempDir(), embedded.Options{SyncInterval: time.Second})
			events := streamtest.NewEvents(1, start)
			batch := new(messages.Batch)
			var blocks []persistence.EntryID
			for range (1 << 16) / size {
				done, err := s.Append(b.Context(), events.Fill(batch, size), messages.Checkpoint{})
				if err != nil {
					b.Fatal(err)
				}
				blocks = append(blocks, done.Last)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if _, err := s.Entry(b.Context(), blocks[i/size%len(blocks)], i%size); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
	}
}

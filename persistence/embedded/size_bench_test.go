package embedded_test

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"tempestd/messages"
	"tempestd/persistence/embedded"
)

// BenchmarkLargeStream measures, for streams of many small events, how long opening takes, a first
// page in the middle, and an append.
func BenchmarkLargeStream(b *testing.B) {
	for _, million := range []int{1, 100} {
		b.Run(fmt.Sprintf("entries=%dM", million), func(b *testing.B) {
			dir := b.TempDir()
			opt := embedded.Options{SyncInterval: time.Hour, MinFree: 64 << 20}
			store, s := openFeed(b, dir, opt)
			const size = 20_000
			batch := new(messages.Batch)
			fill := func(i int) {
				batch.Reset()
				for k := range size {
					n := i*size + k
					off := len(batch.Buf)
					batch.Buf = binary.LittleEndian.AppendUint64(batch.Buf, uint64(n)*0x9e3779b97f4a7c15)
					batch.Buf = append(batch.Buf, "0123456789abcdef"...)
					batch.Events = append(batch.Events, messages.Event{Off: uint32(off), Len: uint32(len(batch.Buf) - off), TimeUS: start + int64(n)*100, Fingerprint: uint64(n) * 0x9e3779b97f4a7c15})
				}
			}
			var appending time.Duration
			total := million * 1_000_000 / size
			last := 0
			for i := range total {
				fill(i)
				began := time.Now()
				if _, err := s.Append(b.Context(), batch, messages.Checkpoint{}); err != nil {
					b.Fatal(err)
				}
				if i >= total-50 {
					appending += time.Since(began)
					last++
				}
			}
			must(b, store.Close())
			var opening, paging time.Duration
			rounds := 0
			for b.Loop() {
				began := time.Now()
				store, err := embedded.Open(b.Context(), dir, opt)
				must(b, err)
				opening += time.Since(began)
				began = time.Now()
				page, err := store.TailStream(b.Context(), "feed", fmt.Sprint(start/1000+int64(million)*50_000), 0, 100)
				must(b, err)
				paging += time.Since(began)
				if len(page.Entries) != 100 {
					b.Fatalf("%d entries", len(page.Entries))
				}
				must(b, store.Close())
				rounds++
			}
			b.ReportMetric(opening.Seconds()*1000/float64(rounds), "open-ms")
			b.ReportMetric(paging.Seconds()*1000/float64(rounds), "page-ms")
			b.ReportMetric(float64(last*size)/appending.Seconds(), "append-events/s")
			b.ReportMetric(0, "ns/op")
		})
	}
}

package embedded_test

import (
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"

	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/embedded"
	"tempestd/persistence/streamtest"
)

// BenchmarkScan reads a whole stream in pages, as it was appended and after packing. In the same
// run it decodes the same bytes alone, for comparison.
func BenchmarkScan(b *testing.B) {
	const size, batches = 8192, 64
	store, s := openFeed(b, b.TempDir(), embedded.Options{SyncInterval: time.Hour, MinFree: 64 << 20, SegmentBytes: 16 << 20})
	defer func() { must(b, store.Close()) }()
	events := streamtest.NewEvents(1, start)
	batch := new(messages.Batch)
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	must(b, err)
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	must(b, err)
	defer dec.Close()
	var fast, small [][]byte
	for range batches {
		events.Fill(batch, size)
		for raw := batch.Buf; len(raw) > 0; raw = raw[min(len(raw), 64<<10):] {
			fast = append(fast, s2.Encode(nil, raw[:min(len(raw), 64<<10)]))
		}
		for raw := batch.Buf; len(raw) > 0; raw = raw[min(len(raw), 256<<10):] {
			small = append(small, enc.EncodeAll(raw[:min(len(raw), 256<<10)], nil))
		}
		_, err := s.Append(b.Context(), batch, messages.Checkpoint{})
		must(b, err)
	}
	var buf []byte
	alone := map[string]func(){
		"fresh": func() {
			for _, piece := range fast {
				buf, err = s2.Decode(buf[:cap(buf)], piece)
				must(b, err)
			}
		},
		"packed": func() {
			for _, piece := range small {
				buf, err = dec.DecodeAll(piece, buf[:0])
				must(b, err)
			}
		},
	}
	for _, state := range []string{"fresh", "packed"} {
		b.Run(state, func(b *testing.B) {
			if state == "packed" {
				must(b, embedded.Pack(b.Context(), store))
			}
			var scanning, decoding time.Duration
			for b.Loop() {
				began := time.Now()
				for after := persistence.FromBeginning(); ; {
					page, err := s.Tail(b.Context(), after, 0, 10_000)
					must(b, err)
					if len(page.Entries) == 0 {
						break
					}
					after = persistence.CursorAt(page.Cursor)
				}
				scanning += time.Since(began)
				began = time.Now()
				alone[state]()
				decoding += time.Since(began)
			}
			total := float64(b.N) * size * batches
			b.ReportMetric(total/scanning.Seconds(), "events/s")
			b.ReportMetric(decoding.Seconds()/scanning.Seconds(), "of-decoding")
			b.ReportMetric(0, "ns/op")
		})
	}
}

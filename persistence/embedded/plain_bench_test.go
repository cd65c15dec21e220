package embedded_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
	"golang.org/x/sys/unix"

	"tempestd/messages"
	"tempestd/persistence/embedded"
	"tempestd/persistence/streamtest"
)

// BenchmarkAppendBesidePlainFile appends batches to a stream. It also writes the same batches,
// compressed with the same codec, to a plain file whose space was allocated before: this is the
// limit of the disk and the codec. Both sync every batch. They take turns, so that other load on
// the machine is the same for both.
func BenchmarkAppendBesidePlainFile(b *testing.B) {
	for _, size := range []int{256, 2048, 8192} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			s := openBench(b, b.TempDir(), embedded.Options{MinFree: 64 << 20})
			plain, err := os.Create(filepath.Join(b.TempDir(), "plain"))
			if err != nil {
				b.Fatal(err)
			}
			defer plain.Close()
			events := streamtest.NewEvents(1, start)
			batches := make([]*messages.Batch, 8)
			for i := range batches {
				batches[i] = events.Fill(new(messages.Batch), size)
			}
			const turn = 32
			var took, cpu [2]float64
			var off, reserved int64
			var comp []byte
			n := 0
			for b.Loop() {
				for which := range took {
					began, used := time.Now(), cpuSeconds()
					for i := range turn {
						batch := batches[(n+i)%len(batches)]
						if which == 0 {
							if _, err := s.Append(b.Context(), batch, messages.Checkpoint{}); err != nil {
								b.Fatal(err)
							}
							continue
						}
						comp = s2.Encode(comp[:cap(comp)], batch.Buf)
						if off+int64(len(comp)) > reserved {
							reserved += 64 << 20
							if err := unix.Fallocate(int(plain.Fd()), 0, 0, reserved); err != nil {
								b.Fatal(err)
							}
						}
						if _, err := plain.WriteAt(comp, off); err != nil {
							b.Fatal(err)
						}
						if err := unix.Fdatasync(int(plain.Fd())); err != nil {
							b.Fatal(err)
						}
						off += int64(len(comp))
					}
					took[which] += time.Since(began).Seconds()
					cpu[which] += cpuSeconds() - used
				}
				n += turn
			}
			total := float64(n * size)
			b.ReportMetric(total/took[0], "events/s")
			b.ReportMetric(total/took[1], "plain-events/s")
			b.ReportMetric(took[1]/took[0], "of-plain")
			b.ReportMetric(cpu[0]/total*1e6, "cpu-s/M")
			b.ReportMetric(cpu[1]/total*1e6, "plain-cpu-s/M")
			b.ReportMetric(0, "ns/op")
		})
	}
}

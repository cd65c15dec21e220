package persistence_test

import (
	"syscall"
	"testing"
	"time"

	"tempestd/persistence"
)

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
		n += len(page.Frames)
		after = persistence.FromBeginning()
		if len(page.Frames) > 0 {
			after = persistence.CursorAt(page.Frames[len(page.Frames)-1].ID)
		}
	}
	return n
}

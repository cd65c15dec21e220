package persistence_test

import (
	"syscall"
	"testing"
	"time"

	"tempestd/persistence"
)

// cpuSeconds is what the process has used.
func cpuSeconds() float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// readPages reads a stream in pages for as long as the benchmark goes on, again and again from its start, and gives how many entries it read.
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

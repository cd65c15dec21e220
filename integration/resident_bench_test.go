package integration_test

import (
	"path/filepath"
	"testing"
)

// BenchmarkResident reports the daemon's memory in MiB after 20 s at 2 000 events per second.
func BenchmarkResident(b *testing.B) {
	const rate, seconds = 2000, 20
	path := plainBinary(b)
	for b.Loop() {
		sim := simulate(b, rate)
		d := newDaemon(b, sim.url(), settings{"log.level": `"info"`})
		d.binary = path
		d.startLive()
		d.awaitStored(rate * seconds)
		for _, field := range []string{"VmRSS", "VmHWM", "RssAnon", "RssFile"} {
			b.ReportMetric(float64(d.memory(field))/1024, field+"-MiB")
		}
		d.kill()
		sim.kill()
	}
}

// BenchmarkRestart reports how long a killed daemon with a million entries takes from its start to
// a live feed.
func BenchmarkRestart(b *testing.B) {
	_, d := newFull(b, plainBinary(b), 1_000_000)
	var total float64
	for b.Loop() {
		d.kill()
		total += d.restart().Seconds()
	}
	b.ReportMetric(total*1000/float64(b.N), "ms-to-live")
}

// plainBinary returns the binary without the race detector, which would add memory and time.
func plainBinary(b *testing.B) string {
	b.Helper()
	if !raceEnabled {
		return program
	}
	path := filepath.Join(b.TempDir(), "tempestd")
	if err := build(path, false); err != nil {
		b.Fatal(err)
	}
	return path
}

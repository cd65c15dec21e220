package dedupe_test

import (
	"testing"

	"tempestd/internal/dedupe"
	"tempestd/messages"
)

const (
	stored    = 1_000_000
	batchSize = 4096
)

// perEvent reports the cost of a batch as a cost per event.
func perEvent(b *testing.B) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/batchSize, "ns/event")
}

func BenchmarkBegin(b *testing.B) {
	f := newFeed(&memory{blocks: synthetic(stored)}, dedupe.Options{})
	b.ReportAllocs()
	for b.Loop() {
		f.begin(b)
	}
}

// The cost of a new event during an overlap.
func BenchmarkMarkMisses(b *testing.B) {
	f := newFeed(&memory{blocks: synthetic(stored)}, dedupe.Options{})
	f.begin(b)
	events := batch(b, 64, run(0, batchSize)...)
	b.ReportAllocs()
	for b.Loop() {
		scramble(events)
		f.mark(b, events)
	}
	perEvent(b)
}

// scramble turns the batch's events into other events.
func scramble(b *messages.Batch) {
	for i := range b.Events {
		b.Events[i].Fingerprint = b.Events[i].Fingerprint*0x9e3779b97f4a7c15 + 1
	}
}

// The cost of a repeated event, including its comparison with the stored entry. The bytes differ,
// as after a restart of the upstream.
func BenchmarkMarkHits(b *testing.B) {
	m := &memory{blocks: synthetic(stored)}
	m.last = m.blocks[len(m.blocks)-1].last()
	f := newFeed(m, dedupe.Options{})
	f.begin(b)
	events := run(0, batchSize)
	f.write(b, batch(b, 64, events...))
	for i := range events {
		events[i].seq += 1_000_000
	}
	again := batch(b, 64, events...)
	b.ReportAllocs()
	for b.Loop() {
		if m := f.mark(b, again); m.Duplicates != batchSize {
			b.Fatalf("marked %+v", m)
		}
		for i := range again.Events {
			again.Events[i].Drop = false
		}
	}
	perEvent(b)
}

// The cost of an event outside of overlaps.
func BenchmarkMarkSteady(b *testing.B) {
	for name, always := range map[string]bool{"always": true, "overlap": false} {
		b.Run(name, func(b *testing.B) {
			f := newFeed(&memory{}, dedupe.Options{Always: always})
			events := batch(b, 64, run(0, batchSize)...)
			b.ReportAllocs()
			for b.Loop() {
				scramble(events)
				f.mark(b, events)
			}
			perEvent(b)
		})
	}
}

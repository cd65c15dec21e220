package valkey_test

import (
	"sync"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/valkeytest"
	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/streamtest"
	"tempestd/persistence/valkey"
)

// aging is a stream with a retention by age, and the clock of its writer.
type aging struct {
	t      *testing.T
	clock  *clockwork.FakeClock
	stream persistence.Stream
	events *streamtest.Events
}

func newAging(t *testing.T, age time.Duration, onNotice func(persistence.Notice)) *aging {
	t.Helper()
	server := valkeytest.Start(t, valkeytest.Options{})
	now := time.UnixMicro(benchStart)
	clock := clockwork.NewFakeClockAt(now)
	v := openValkey(t, valkey.Options{Addresses: []string{server.Addr}, Clock: clock, OnNotice: onNotice})
	lease, err := v.Acquire(t.Context(), "feed", messages.Node{ID: "a", Name: "a"}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	s, err := v.OpenStream(t.Context(), "feed", persistence.StreamOptions{Lease: lease, Retention: persistence.Retention{Age: age}})
	if err != nil {
		t.Fatal(err)
	}
	return &aging{t, clock, s, streamtest.NewEvents(1, now.UnixMicro())}
}

// minute appends a block with times of the present minute, and then moves the clock by a minute.
func (a *aging) minute() {
	a.t.Helper()
	batch := a.events.Fill(new(messages.Batch), 10)
	for i := range batch.Events {
		batch.Events[i].TimeUS = a.clock.Now().UnixMicro() + int64(i)
	}
	a.put(batch)
	a.clock.Advance(time.Minute)
}

func (a *aging) put(batch *messages.Batch) {
	a.t.Helper()
	if _, err := a.stream.Append(a.t.Context(), batch, messages.Checkpoint{}); err != nil {
		a.t.Fatal(err)
	}
}

func (a *aging) entries() int64 {
	a.t.Helper()
	info, err := a.stream.Info(a.t.Context())
	if err != nil {
		a.t.Fatal(err)
	}
	return info.Entries
}

// A wrong clock, for one round or for ever, drops no entry that is not too old by the stream's own
// newest entry.
func TestAWrongClockTrimsNothingOnValkey(t *testing.T) {
	t.Parallel()
	a := newAging(t, time.Hour, nil)
	for range 90 {
		a.minute()
	}
	before := a.entries()
	if before < 600 || before > 640 {
		t.Fatalf("%d entries of 90 minutes are left with an age of one hour", before)
	}
	for _, jump := range []time.Duration{10 * 365 * 24 * time.Hour, -20 * 365 * 24 * time.Hour, 10 * 365 * 24 * time.Hour} {
		a.clock.Advance(jump)
		for range 3 {
			a.put(new(messages.Batch))
			a.clock.Advance(2 * time.Second)
		}
		if got := a.entries(); got < before-20 {
			t.Fatalf("after a jump of the clock by %v, %d of %d entries are left", jump, got, before)
		}
	}
}

// If both the clock and an event are wrong, one round of an append drops only a few blocks, and the
// clock must still be wrong in the next round.
func TestOneRoundTrimsAFewBlocksOnValkey(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var rounds []int64
	a := newAging(t, time.Hour, func(e persistence.Notice) {
		if e, ok := e.(persistence.StreamTrimmed); ok {
			mu.Lock()
			defer mu.Unlock()
			rounds = append(rounds, e.Entries)
		}
	})
	for range 60 {
		a.minute()
	}
	before := a.entries()
	a.clock.Advance(1000 * time.Hour)
	wrong := a.events.Fill(new(messages.Batch), 1)
	wrong.Events[0].TimeUS = a.clock.Now().UnixMicro()
	a.put(wrong) // the first round of the wrong clock
	if got := a.entries(); got < before {
		t.Errorf("the first round dropped %d of %d entries", before-got, before)
	}
	a.clock.Advance(2 * time.Second)
	a.put(new(messages.Batch))
	mu.Lock()
	defer mu.Unlock()
	for _, n := range rounds {
		if n > 80 {
			t.Errorf("one round dropped %d entries", n)
		}
	}
	if len(rounds) == 0 {
		t.Error("the second round dropped nothing, though the clock still said so")
	}
}

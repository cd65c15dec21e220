package valkey_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tempestd/internal/valkeytest"
	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/streamtest"
	"tempestd/persistence/valkey"
)

// faultyFeed is a feed that appends through a proxy with faults, and that crashes. Its position is
// the number of events that it has read.
type faultyFeed struct {
	opt    valkey.Options
	store  *valkey.Store
	stream persistence.Stream
	events *streamtest.Events
	sent   []string // all events, in order
	acked  int      // the number of events that an Append has acknowledged
}

// open is the start of a daemon: it takes the lease and opens the stream, and repeats that until it
// succeeds.
func (f *faultyFeed) open(t *rapid.T) {
	v, err := valkey.Open(t.Context(), f.opt)
	if err != nil {
		t.Fatal(err)
	}
	f.store = v
	f.insist(t, func(ctx context.Context) error {
		lease, err := v.Acquire(ctx, "feed", messages.Node{ID: "a", Name: "a"}, time.Minute)
		if err == nil {
			f.stream, err = v.OpenStream(ctx, "feed", persistence.StreamOptions{Lease: lease})
		}
		return err
	})
}

// crash closes the store and leaves everything else as it is.
func (f *faultyFeed) crash() { _ = f.store.Close() }

// insist repeats a call until it does not fail because of the server.
func (f *faultyFeed) insist(t *rapid.T, call func(context.Context) error) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		err := call(ctx)
		if err == nil {
			return
		}
		if !persistence.Temporary(err) {
			t.Fatal(err)
		}
	}
}

// read makes a batch of the next n events.
func (f *faultyFeed) read(n int) *messages.Batch {
	b := f.events.Fill(new(messages.Batch), n)
	for i := range b.Events {
		f.sent = append(f.sent, string(b.Bytes(i)))
	}
	return b
}

// position is the checkpoint of everything that was read.
func (f *faultyFeed) position() messages.Checkpoint {
	return messages.Checkpoint{Position: messages.Position{Seq: int64(len(f.sent))}}
}

// look reads the whole stream, compares it with what was sent, and returns how many events are
// stored.
func (f *faultyFeed) look(t *rapid.T) int {
	var stored int
	f.insist(t, func(ctx context.Context) error {
		stored = 0
		var last persistence.EntryID
		for after := persistence.FromBeginning(); ; {
			page, err := f.stream.Tail(ctx, after, 0, 1000)
			if err != nil {
				return err
			}
			if len(page.Entries) == 0 {
				break
			}
			for _, entry := range page.Entries {
				if stored >= len(f.sent) || string(entry.Event) != f.sent[stored] || entry.ID.Compare(last) <= 0 {
					t.Fatalf("entry %d is %s, after %s, and not what was sent", stored, entry.ID, last)
				}
				stored, last, after = stored+1, entry.ID, persistence.CursorAt(entry.ID)
			}
		}
		cp, err := f.stream.Checkpoint(ctx)
		switch {
		case errors.Is(err, persistence.ErrNoCheckpoint):
			err = nil
		case err == nil && (cp.Position.Seq > int64(stored) || cp.LastID != last):
			t.Fatalf("the checkpoint is at %d and %s, and %d events are stored, up to %s", cp.Position.Seq, cp.LastID, stored, last)
		}
		return err
	})
	if stored < f.acked {
		t.Fatalf("%d events are stored, %d were acknowledged", stored, f.acked)
	}
	return stored
}

// Batches of any size, with lost answers, cut connections, forgotten scripts and crashes: the
// stream is always what was sent, and the checkpoint is never ahead of it.
func TestI1_I2_I3_AppendsThroughRandomFaults(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t, valkeytest.Options{})
	proxy := valkeytest.NewProxy(t, server.Addr)
	runs := 0
	rapid.Check(t, func(t *rapid.T) {
		runs++
		f := &faultyFeed{events: streamtest.NewEvents(uint64(runs), benchStart),
			opt: valkey.Options{Addresses: []string{proxy.Addr}, Mode: "standalone", Prefix: fmt.Sprintf("t%d:", runs)}}
		f.open(t)
		defer func() { f.crash() }()
		for range rapid.IntRange(1, 6).Draw(t, "batches") {
			batch := f.read(rapid.SampledFrom([]int{1, 2, 255, 256, 257, 600, 4400}).Draw(t, "events"))
			crash := rapid.Bool().Draw(t, "crash")
			switch rapid.SampledFrom([]string{"none", "swallow", "cut", "cut meanwhile", "forget"}).Draw(t, "fault") {
			case "swallow":
				proxy.SwallowNext()
			case "cut":
				proxy.Cut()
			case "cut meanwhile":
				time.AfterFunc(time.Duration(rapid.IntRange(0, 5000).Draw(t, "µs"))*time.Microsecond, proxy.Cut)
			case "forget":
				server.CLI("SCRIPT", "FLUSH")
			}
			f.insist(t, func(ctx context.Context) error {
				_, err := f.stream.Append(ctx, batch, f.position())
				if persistence.Temporary(err) && crash {
					// The stored part is recognised, as a resume does by the fingerprints, and not
					// appended again.
					f.crash()
					f.open(t)
					landed := f.look(t) - f.acked
					for i := range batch.Events {
						batch.Events[i].Drop = i < landed
					}
				}
				return err
			})
			f.acked = len(f.sent)
		}
		if got := f.look(t); got != len(f.sent) {
			t.Fatalf("%d events are stored, %d were sent", got, len(f.sent))
		}
	})
}

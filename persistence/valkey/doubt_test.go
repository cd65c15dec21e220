package valkey_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"tempestd/internal/valkeytest"
	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/valkey"
)

// frozenAppend starts an append of the batch while the server is frozen, ends it by its context,
// and lets the server continue. The batch is then stored, although no caller waits for it any more.
func frozenAppend(t *testing.T, server *valkeytest.Server, s persistence.Stream, b *messages.Batch, cp messages.Checkpoint) {
	t.Helper()
	// After this append nothing must be asked before the batch is sent.
	if _, err := s.Append(t.Context(), new(messages.Batch), messages.Checkpoint{}); err != nil {
		t.Fatal(err)
	}
	before := server.CLI("XLEN", "tempestd:{feed}")
	server.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := s.Append(ctx, b, cp)
	server.Continue()
	if !errors.Is(err, context.DeadlineExceeded) && !persistence.Temporary(err) {
		t.Fatalf("an append to a frozen server: %v", err)
	}
	server.Await("what was sent lands", func() bool { return server.CLI("XLEN", "tempestd:{feed}") != before })
}

func seq(n int64) messages.Checkpoint {
	return messages.Checkpoint{Position: messages.Position{Seq: n}}
}

// A writer is restarted while its append is in progress, and its pool gives it the same memory with
// other events. The handle of both recognises them by their content.
func TestI2_AnAppendInDoubtIsKnownByItsContent(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t, valkeytest.Options{})
	v := openValkey(t, valkey.Options{Addresses: []string{server.Addr}, CommandTimeout: 5 * time.Second})
	t.Run("another batch at the same address", func(t *testing.T) {
		s, _ := openOwned(t, v, "a")
		send := newSender()
		if _, err := s.Append(t.Context(), send.batch(10), seq(10)); err != nil {
			t.Fatal(err)
		}
		pooled := send.batch(10)
		frozenAppend(t, server, s, pooled, seq(20))
		next := newSender()
		next.events = send.events
		pooled.Reset()
		next.events.Fill(pooled, 7)
		for _, b := range []*messages.Batch{pooled, next.batch(5), pooled} {
			got, err := s.Append(t.Context(), b, seq(27))
			if moved, ok := errors.AsType[*persistence.ConflictError](err); !ok || moved.Found.Compare(moved.Expected) <= 0 {
				t.Fatalf("an append behind one that nobody asked about gave %+v, %v", got, err)
			}
		}
		// The stream is opened again, as a conflict requires, and resumed from its content.
		s, _ = openOwned(t, v, "a")
		cp, err := s.Checkpoint(t.Context())
		if err != nil || cp.Seq != 20 {
			t.Fatalf("the checkpoint is %+v, %v", cp, err)
		}
		for i := range pooled.Events {
			send.want = append(send.want, string(pooled.Bytes(i)))
		}
		if _, err := s.Append(t.Context(), pooled, seq(27)); err != nil {
			t.Fatal(err)
		}
		send.check(t, s)
	})
	server.CLI("FLUSHALL")
	t.Run("the same batch at another address", func(t *testing.T) {
		s, _ := openOwned(t, v, "a")
		send := newSender()
		first := send.batch(600)
		frozenAppend(t, server, s, first, seq(600))
		// A writer has read the same events again.
		again := *first
		// It has also read on, where it wanted no events.
		got, err := s.Append(t.Context(), &again, seq(601))
		if err != nil || got.Entries != 600 {
			t.Fatalf("%+v, %v", got, err)
		}
		send.check(t, s)
		if cp, err := s.Checkpoint(t.Context()); err != nil || cp.Seq != 601 {
			t.Fatalf("the checkpoint is %+v, %v", cp, err)
		}
	})
	server.CLI("FLUSHALL")
	t.Run("a part of it, and more", func(t *testing.T) {
		// A smaller part than the next batch was stored.
		s, _ := openOwned(t, v, "a")
		send := newSender()
		all := send.batch(700)
		first := *all
		first.Events = all.Events[:256]
		frozenAppend(t, server, s, &first, seq(256))
		if got, err := s.Append(t.Context(), all, seq(700)); err != nil || got.Entries != 700 {
			t.Fatalf("%+v, %v", got, err)
		}
		send.check(t, s)
		if cp, err := s.Checkpoint(t.Context()); err != nil || cp.Seq != 700 {
			t.Fatalf("the checkpoint is %+v, %v", cp, err)
		}
	})
	server.CLI("FLUSHALL")
	t.Run("nothing of it", func(t *testing.T) {
		s, _ := openOwned(t, v, "a")
		send := newSender()
		if _, err := s.Append(t.Context(), send.batch(3), seq(3)); err != nil {
			t.Fatal(err)
		}
		lost := newSender()
		lost.events = send.events
		server.CLI("ACL", "SETUSER", "default", "-evalsha", "-eval")
		if _, err := s.Append(t.Context(), lost.batch(4), seq(7)); !persistence.Temporary(err) {
			t.Fatalf("got %v", err)
		}
		server.CLI("ACL", "SETUSER", "default", "+evalsha", "+eval")
		if _, err := s.Append(t.Context(), send.batch(5), seq(12)); err != nil {
			t.Fatal(err)
		}
		send.check(t, s)
	})
}

// A late checkpoint, from a connection that was given up, does not replace a newer one.
func TestI1_ALateCheckpointChangesNothing(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t, valkeytest.Options{})
	v := openValkey(t, valkey.Options{Addresses: []string{server.Addr}, CommandTimeout: 5 * time.Second})
	s, _ := openOwned(t, v, "a")
	send := newSender()
	if _, err := s.Append(t.Context(), send.batch(3), seq(3)); err != nil {
		t.Fatal(err)
	}
	for i := int64(4); i < 14; i += 2 {
		server.Pause()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if _, err := s.Append(ctx, new(messages.Batch), seq(i)); err == nil {
			t.Fatal("a frozen server answered")
		}
		cancel()
		server.Continue()
		_, err := s.Append(t.Context(), new(messages.Batch), seq(i+1))
		if _, landed := errors.AsType[*persistence.ConflictError](err); landed {
			s, _ = openOwned(t, v, "a")
			_, err = s.Append(t.Context(), new(messages.Batch), seq(i+1))
		}
		if err != nil {
			t.Fatal(err)
		}
		server.CLI("PING")
		if cp, err := s.Checkpoint(t.Context()); err != nil || cp.Seq != i+1 {
			t.Fatalf("the checkpoint is %d, %v; want %d", cp.Seq, err, i+1)
		}
	}
}

// Every call ends when its context ends, also on a frozen server: with a connection, and while one
// is being made.
func TestCallsToAFrozenServerObeyTheirContexts(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t, valkeytest.Options{})
	v := openValkey(t, valkey.Options{Addresses: []string{server.Addr}, CommandTimeout: time.Hour, ConnectTimeout: time.Hour})
	s, lease := openOwned(t, v, "a")
	if _, err := s.Append(t.Context(), newSender().batch(3), seq(3)); err != nil {
		t.Fatal(err)
	}
	fresh := openValkey(t, valkey.Options{Addresses: []string{server.Addr}, CommandTimeout: time.Hour, ConnectTimeout: time.Hour})
	server.Pause()
	defer server.Continue()
	// The time-outs are an hour: a call that waits for a time-out would never end, and the test
	// would not end either.
	for range 300 {
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("enough")
		time.AfterFunc(time.Millisecond, func() { cancel(cause) })
		for what, call := range map[string]func() error{
			"append":     func() error { _, err := s.Append(ctx, newSender().batch(2), seq(5)); return err },
			"info":       func() error { _, err := s.Info(ctx); return err },
			"checkpoint": func() error { _, err := s.Checkpoint(ctx); return err },
			"read": func() error {
				_, err := s.Read(ctx, persistence.FromBeginning(), persistence.CursorAt(messages.MaxEntryID), 10)
				return err
			},
			"renew":   func() error { return v.Renew(ctx, lease, time.Minute) },
			"streams": func() error { _, err := fresh.Streams(ctx); return err },
			"fingerprints": func() error {
				return s.Fingerprints(ctx, persistence.Horizon{}, func(persistence.FingerprintBlock) bool { return true })
			},
		} {
			if err := call(); !errors.Is(err, context.Canceled) {
				t.Fatalf("%s: %v", what, err)
			}
		}
	}
	if err := v.Close(); err != nil { // closing the store ends too
		t.Fatal(err)
	}
}

// Two appends of a checkpoint alone end with the same entry. One that does not know of the other
// does not replace it.
func TestI1_ACheckpointIsNotReplacedByOneThatDoesNotKnowIt(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t, valkeytest.Options{})
	v := openValkey(t, valkey.Options{Addresses: []string{server.Addr}})
	first, lease := openOwned(t, v, "a")
	if _, err := first.Append(t.Context(), newSender().batch(3), seq(3)); err != nil {
		t.Fatal(err)
	}
	second, err := openValkey(t, valkey.Options{Addresses: []string{server.Addr}}).OpenStream(t.Context(), "feed", persistence.StreamOptions{Lease: lease})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := second.Append(t.Context(), new(messages.Batch), seq(5)); err != nil {
		t.Fatal(err)
	}
	_, err = first.Append(t.Context(), new(messages.Batch), seq(4))
	if _, ok := errors.AsType[*persistence.ConflictError](err); !ok {
		t.Errorf("the older one's append: %v", err)
	}
	if cp, err := second.Checkpoint(t.Context()); err != nil || cp.Seq != 5 {
		t.Errorf("the checkpoint is %d, %v", cp.Seq, err)
	}
}

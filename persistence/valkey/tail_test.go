package valkey_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/valkeytest"
	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/valkey"
)

// connections counts the server's clients that tempestd made, and those of them that wait in a
// blocking command.
func connections(server *valkeytest.Server) (all, blocked int) {
	for line := range strings.Lines(server.CLI("CLIENT", "LIST")) {
		if !strings.Contains(line, " name=tempestd ") {
			continue
		}
		all++
		for _, field := range strings.Fields(line) {
			if flags, ok := strings.CutPrefix(field, "flags="); ok && strings.Contains(flags, "b") {
				blocked++
			}
		}
	}
	return all, blocked
}

// Any number of tails use one blocking read on its own connection, and each of them gets the
// entries that are appended meanwhile.
func TestI8_TailsShareOneBlockingConnection(t *testing.T) {
	t.Parallel()
	for _, engine := range []valkeytest.Engine{valkeytest.Valkey, valkeytest.Redis} {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			server := valkeytest.Start(t, valkeytest.Options{Engine: engine})
			v := openValkey(t, valkey.Options{Addresses: []string{server.Addr}})
			stream, _ := openOwned(t, v, "a")
			send := newSender()
			done, err := stream.Append(t.Context(), send.batch(3), messages.Checkpoint{})
			if err != nil {
				t.Fatal(err)
			}
			const tails = 1000
			var wg, asked sync.WaitGroup
			asked.Add(tails)
			for range tails {
				wg.Go(func() {
					asked.Done()
					page, err := v.TailStream(t.Context(), "feed", done.Last.String(), persistence.MaxBlock, 10)
					if err != nil || len(page.Entries) != 1 || string(page.Entries[0].Event) != send.want[3] {
						t.Errorf("a tail got %d entries, %v", len(page.Entries), err)
					}
				})
			}
			asked.Wait()
			server.Await("the blocking read", func() bool { _, blocked := connections(server); return blocked == 1 })
			// One for commands, one for appends, four for pages, and two for the hub, of which one
			// blocks.
			if all, blocked := connections(server); blocked != 1 || all > 8 {
				t.Errorf("%d tails have %d connections, %d of them blocked", tails, all, blocked)
			}
			if _, err := stream.Append(t.Context(), send.batch(1), messages.Checkpoint{}); err != nil {
				t.Fatal(err)
			}
			wg.Wait()
		})
	}
}

// One process tails and appends, as a caller of the library may do. Its appends succeed while a
// tail of 30 s waits.
func TestI8_TailHoldsUpNoAppendOfItsProcess(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t, valkeytest.Options{})
	v := openValkey(t, valkey.Options{Addresses: []string{server.Addr}})
	if _, err := v.OpenStream(t.Context(), "quiet", persistence.StreamOptions{}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	returned := make(chan error, 1)
	go func() {
		_, err := v.TailStream(ctx, "quiet", "0-0", persistence.MaxBlock, 1)
		returned <- err
	}()
	server.Await("the blocking read", func() bool { _, blocked := connections(server); return blocked == 1 })
	stream, _ := openOwned(t, v, "a")
	send := newSender()
	for range 100 {
		if _, err := stream.Append(t.Context(), send.batch(10), messages.Checkpoint{}); err != nil {
			t.Fatal(err)
		}
	}
	send.check(t, stream)
	select {
	case err := <-returned:
		t.Errorf("the tail ended before its time: %v", err)
	default:
	}
	stop()
	if err := <-returned; !errors.Is(err, context.Canceled) {
		t.Errorf("the tail was cancelled: %v", err)
	}
}

// A tail waits for its full time, however often the blocking read behind it ends and starts again.
func TestTailsKeepTheirFullBlock(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t, valkeytest.Options{})
	clock := clockwork.NewFakeClock()
	v := openValkey(t, valkey.Options{Addresses: []string{server.Addr}, Clock: clock})
	if _, err := v.OpenStream(t.Context(), "feed", persistence.StreamOptions{}); err != nil {
		t.Fatal(err)
	}
	const tails = 1000
	returned := make(chan error, tails)
	for range tails {
		go func() {
			page, err := v.TailStream(t.Context(), "feed", "0-0", persistence.MaxBlock, 1)
			if err == nil && (len(page.Entries) > 0 || page.IsClosed()) {
				err = errors.New("a time-out that is not empty and open")
			}
			returned <- err
		}()
	}
	if err := clock.BlockUntilContext(t.Context(), tails); err != nil {
		t.Fatal(err)
	}
	server.Await("the blocking read", func() bool { _, blocked := connections(server); return blocked == 1 })
	// Meanwhile the server ends one blocking read after the other.
	for range 3 {
		clock.Advance(persistence.MaxBlock/3 - time.Millisecond)
		for line := range strings.Lines(server.CLI("CLIENT", "LIST")) {
			if id, _, _ := strings.Cut(strings.TrimPrefix(line, "id="), " "); strings.Contains(line, "cmd=xread") {
				server.CLI("CLIENT", "UNBLOCK", id)
			}
		}
		server.Await("the next blocking read", func() bool { _, blocked := connections(server); return blocked == 1 })
	}
	if n := len(returned); n > 0 {
		t.Errorf("%d tails ended before their time: %v", n, <-returned)
	}
	clock.Advance(3 * time.Millisecond)
	for range tails {
		if err := <-returned; err != nil {
			t.Error(err)
		}
	}
}

// A connection that silently swallows everything is noticed, and its tails get an error.
func TestBlackHoledTailIsTold(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t, valkeytest.Options{})
	proxy := valkeytest.NewProxy(t, server.Addr)
	v := openValkey(t, valkey.Options{Addresses: []string{proxy.Addr}})
	stream, _ := openOwned(t, v, "a")
	returned := make(chan error, 1)
	tail := func() {
		page, err := v.TailStream(t.Context(), "feed", "0-0", persistence.MaxBlock, 1)
		if err == nil && len(page.Entries) != 1 {
			err = errors.New("a tail without its entry")
		}
		returned <- err
	}
	go tail()
	server.Await("the blocking read", func() bool { _, blocked := connections(server); return blocked == 1 })
	proxy.BlackHole(true)
	err := <-returned
	if away, ok := errors.AsType[*persistence.UnavailableError](err); !ok || !strings.Contains("timeout connection", away.Reason) {
		t.Errorf("a black-holed tail: %v", err)
	}
	proxy.BlackHole(false)
	proxy.Cut()
	go tail()
	if _, err := appendThrough(t.Context(), stream, newSender().batch(1)); err != nil {
		t.Fatal(err)
	}
	for err = <-returned; persistence.Temporary(err); err = <-returned {
		go tail()
	}
	if err != nil {
		t.Error(err)
	}
}

// A tail waits at the end. Then so much is appended in one go that retention drops some of it before
// the tail can get it. It is told, as a tail that comes later is, and the entries that follow keep
// their numbers.
func TestI4_AWaitingTailIsToldOfWhatWasDropped(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t, valkeytest.Options{})
	clock := clockwork.NewFakeClockAt(time.Now())
	v := openValkey(t, valkey.Options{Addresses: []string{server.Addr}, CommandTimeout: 30 * time.Second, Clock: clock})
	lease, err := v.Acquire(t.Context(), "feed", messages.Node{ID: "a", Name: "a"}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := v.OpenStream(t.Context(), "feed", persistence.StreamOptions{Lease: lease, Retention: persistence.Retention{Entries: 10}})
	if err != nil {
		t.Fatal(err)
	}
	send := newSender()
	done, err := stream.Append(t.Context(), send.batch(3), messages.Checkpoint{})
	if err != nil {
		t.Fatal(err)
	}
	type tailed struct {
		page persistence.Page
		err  error
	}
	returned := make(chan tailed, 1)
	tail := func(after persistence.EntryID) {
		page, err := v.TailStream(t.Context(), "feed", after.String(), persistence.MaxBlock, 10_000)
		returned <- tailed{page, err}
	}
	go tail(done.Last)
	server.Await("the blocking read", func() bool { _, blocked := connections(server); return blocked == 1 })
	// The server keeps the three chunks back, and then runs them one after the other: between them no
	// reader is heard.
	server.CLI("CLIENT", "PAUSE", "500", "ALL")
	clock.Advance(2 * time.Second) // retention is applied now and then
	if done, err = stream.Append(t.Context(), send.batch(600), messages.Checkpoint{}); err != nil {
		t.Fatal(err)
	}
	for seen := 3; seen < len(send.want); {
		got := <-returned
		if _, expired := errors.AsType[*persistence.CursorExpiredError](got.err); expired {
			break
		}
		if got.err != nil || len(got.page.Entries) == 0 {
			t.Fatalf("after %d entries: %d, %v", seen, len(got.page.Entries), got.err)
		}
		for _, e := range got.page.Entries {
			if string(e.Event) != send.want[seen] {
				t.Fatalf("entry %d was passed over without a word", seen)
			}
			seen++
		}
		if seen < len(send.want) {
			go tail(got.page.Cursor)
		}
	}
	go tail(done.Last)
	server.Await("the blocking read", func() bool { _, blocked := connections(server); return blocked == 1 })
	if _, err := stream.Append(t.Context(), send.batch(1), messages.Checkpoint{}); err != nil {
		t.Fatal(err)
	}
	if got := <-returned; got.err != nil || len(got.page.Entries) != 1 || got.page.Appended != 604 {
		t.Errorf("%d entries of %d, %v; want the last of 604", len(got.page.Entries), got.page.Appended, got.err)
	}
}

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

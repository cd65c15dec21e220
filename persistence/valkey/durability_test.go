package valkey_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tempestd/internal/valkeytest"
	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/valkey"
)

// follower tails a stream through a store of its own, like the readers of another daemon, and keeps
// what it saw.
type follower struct {
	mu   sync.Mutex
	seen []string
	more chan struct{}
}

func follow(t *testing.T, addr string) *follower {
	t.Helper()
	v := openValkey(t, valkey.Options{Addresses: []string{addr}, CommandTimeout: 2 * time.Second})
	f := &follower{more: make(chan struct{}, 1)}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for after := "0-0"; ctx.Err() == nil; {
			page, err := v.TailStream(ctx, "feed", after, 5*time.Second, 100)
			if err != nil {
				continue
			}
			f.mu.Lock()
			for _, e := range page.Entries {
				f.seen = append(f.seen, string(e.Event))
			}
			f.mu.Unlock()
			if after = page.Cursor.String(); len(page.Entries) > 0 {
				select {
				case f.more <- struct{}{}:
				default:
				}
			}
		}
	}()
	t.Cleanup(func() { stop(); <-done })
	return f
}

// await waits until the follower has seen n entries, and returns what it has seen.
func (f *follower) await(t *testing.T, n int) []string {
	t.Helper()
	over := time.After(time.Minute)
	for {
		f.mu.Lock()
		seen := f.seen
		f.mu.Unlock()
		if len(seen) >= n {
			return seen
		}
		select {
		case <-f.more:
		case <-over:
			t.Fatalf("a reader saw %d of %d entries", len(seen), n)
		}
	}
}

// newestOf returns the newest entry that readers of the store see.
func newestOf(t *testing.T, addr string) (newest persistence.EntryID, entries int) {
	t.Helper()
	v := openValkey(t, valkey.Options{Addresses: []string{addr}})
	s, err := v.Stream(t.Context(), "feed")
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	page, err := s.Tail(t.Context(), persistence.FromBeginning(), 0, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	all, err := s.Read(t.Context(), persistence.FromBeginning(), persistence.CursorAt(messages.MaxEntryID), 10_000)
	if err != nil {
		t.Fatal(err)
	}
	if len(all.Entries) != len(page.Entries) || page.Behind != 0 || page.Appended != int64(len(page.Entries)) || all.Cursor != page.Cursor {
		t.Errorf("a tail has %d entries, %d behind of %d, and a range %d", len(page.Entries), page.Behind, page.Appended, len(all.Entries))
	}
	if info.Newest != nil {
		newest = *info.Newest
	}
	if newest != page.Newest {
		t.Errorf("the stream ends with %s, and its page with %s", newest, page.Newest)
	}
	return newest, len(page.Entries)
}

// An append whose file is not synced in time is in doubt: no reader sees it, no reader of another
// daemon either. When it can be synced, it is there once.
func TestI1_I2_AnAppendThatIsNotSyncedIsInDoubt(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t, valkeytest.Options{AOF: "always", InMemory: true})
	v := openValkey(t, valkey.Options{Addresses: []string{server.Addr}, CommandTimeout: 2 * time.Second, Durability: valkey.DurabilityAOF})
	stream, _ := openOwned(t, v, "a")
	send := newSender()
	put := func(n int) {
		t.Helper()
		if _, err := appendThrough(t.Context(), stream, send.batch(n)); err != nil {
			t.Fatal(err)
		}
	}
	put(3)
	reader := follow(t, server.Addr)
	reader.await(t, 3)
	shown, _ := newestOf(t, server.Addr)

	server.CLI("CONFIG", "SET", "appendfsync", "no")
	batch := send.batch(600) // three chunks
	for range 2 {
		_, err := stream.Append(t.Context(), batch, seq(1))
		for {
			away, ok := errors.AsType[*persistence.UnavailableError](err)
			if ok && away.Reason == persistence.ReasonTimeout {
				break
			}
			if !ok || away.Reason != persistence.ReasonConnection {
				t.Fatalf("an append that is not synced: %v", err)
			}
			_, err = stream.Append(t.Context(), batch, seq(1))
		}
		// On a new connection nothing is waited for but what is written there.
		server.CLI("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
		if seen := reader.await(t, 0); len(seen) != 3 {
			t.Fatalf("a waiting tail has %d entries", len(seen))
		}
		if now, n := newestOf(t, server.Addr); now != shown || n != 3 {
			t.Fatalf("readers see %d entries up to %s, and %s was confirmed", n, now, shown)
		}
	}
	if n := server.CLI("XLEN", "tempestd:{feed}"); n != "603" {
		t.Fatalf("%s entries are stored", n)
	}
	server.CLI("CONFIG", "SET", "appendfsync", "always")
	if _, err := appendThrough(t.Context(), stream, batch); err != nil {
		t.Fatal(err)
	}
	put(2)
	if seen := reader.await(t, len(send.want)); strings.Join(seen, "\n") != strings.Join(send.want, "\n") {
		t.Fatal("a reader that was there all the time saw something else than was sent")
	}
	send.check(t, stream)
	if _, n := newestOf(t, server.Addr); n != 605 {
		t.Fatalf("readers see %d entries", n)
	}
}

// What a writer left in doubt becomes visible when another takes the stream over, and before it has
// anything to append. A writer that waits for nothing shows everything, and so does the stream's end.
func TestANewOwnerShowsWhatWasInDoubt(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t, valkeytest.Options{AOF: "always", InMemory: true})
	opt := valkey.Options{Addresses: []string{server.Addr}, CommandTimeout: 2 * time.Second, Durability: valkey.DurabilityAOF}
	memory := valkey.Options{Addresses: []string{server.Addr}}
	for _, c := range []struct {
		name string
		show func(t *testing.T, s persistence.Stream)
	}{
		{"an owner that waits", func(t *testing.T, _ persistence.Stream) { openOwned(t, openValkey(t, opt), "a") }},
		{"an owner that does not", func(t *testing.T, _ persistence.Stream) {
			next, _ := openOwned(t, openValkey(t, memory), "a")
			for range 2 {
				if _, err := next.Append(t.Context(), newSender().batch(1), seq(9)); err != nil {
					t.Fatal(err)
				}
			}
		}},
		{"the end of the stream", func(t *testing.T, s persistence.Stream) {
			if err := s.Close(t.Context(), "over"); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		server.CLI("FLUSHALL")
		server.CLI("CONFIG", "SET", "appendfsync", "always")
		first, _ := openOwned(t, openValkey(t, opt), "a")
		if _, err := appendThrough(t.Context(), first, newSender().batch(2)); err != nil {
			t.Fatal(err)
		}
		server.CLI("CONFIG", "SET", "appendfsync", "no")
		if _, err := first.Append(t.Context(), newSender().batch(5), seq(2)); !persistence.Temporary(err) {
			t.Fatalf("an append that is not synced: %v", err)
		}
		if _, n := newestOf(t, server.Addr); n != 2 {
			t.Errorf("%s: readers saw %d entries before", c.name, n)
		}
		server.CLI("CONFIG", "SET", "appendfsync", "always")
		c.show(t, first)
		if _, n := newestOf(t, server.Addr); n < 7 {
			t.Errorf("%s: readers see %d entries", c.name, n)
		}
	}
}

// A daemon that lost its lease before it opened the stream does not show what the next owner has in
// doubt.
func TestI6_AFencedWriterShowsNothing(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t, valkeytest.Options{AOF: "always", InMemory: true})
	opt := valkey.Options{Addresses: []string{server.Addr}, CommandTimeout: 2 * time.Second, Durability: valkey.DurabilityAOF}
	v := openValkey(t, opt)
	lease, err := v.Acquire(t.Context(), "feed", messages.Node{ID: "a", Name: "a"}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	server.CLI("DEL", "tempestd:{feed}:lease") // it is over
	next, _ := openOwned(t, openValkey(t, opt), "b")
	if _, err := appendThrough(t.Context(), next, newSender().batch(2)); err != nil {
		t.Fatal(err)
	}
	server.CLI("CONFIG", "SET", "appendfsync", "no")
	if _, err := next.Append(t.Context(), newSender().batch(5), seq(2)); !persistence.Temporary(err) {
		t.Fatalf("an append that is not synced: %v", err)
	}
	if n := server.CLI("XLEN", "tempestd:{feed}"); n != "7" {
		t.Fatalf("%s entries are stored", n)
	}
	server.CLI("CONFIG", "SET", "appendfsync", "always")
	former, err := v.OpenStream(t.Context(), "feed", persistence.StreamOptions{Lease: lease})
	if err == nil {
		_, err = former.Append(t.Context(), newSender().batch(1), seq(9))
	}
	if _, fenced := errors.AsType[*persistence.FencedError](err); !fenced {
		t.Errorf("an append of a former owner: %v", err)
	}
	if _, n := newestOf(t, server.Addr); n != 2 {
		t.Errorf("readers see %d entries", n)
	}
}

// A primary is killed whose replica was behind, and the replica takes its place. With "replicas"
// everything that a reader saw is there. Without it, what was confirmed is gone: this is what the
// level is for.
func TestI1_FailoverLosesNothingThatReplicasHad(t *testing.T) {
	t.Parallel()
	for _, level := range []string{valkey.DurabilityAOF, valkey.DurabilityReplicas} {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			primary, replica := valkeytest.Replicated(t, valkeytest.Options{AOF: "always", InMemory: true})
			v := openValkey(t, valkey.Options{Addresses: []string{primary.Addr}, CommandTimeout: time.Second, Durability: level})
			stream, _ := openOwned(t, v, "a")
			send := newSender()
			if _, err := appendThrough(t.Context(), stream, send.batch(300)); err != nil {
				t.Fatal(err)
			}
			replica.Await("it has the first append", func() bool { return replica.CLI("XLEN", "tempestd:{feed}") == "300" })
			replica.Promote() // what follows never reaches it
			_, err := stream.Append(t.Context(), send.batch(300), seq(2))
			confirmed := err == nil
			if away, ok := errors.AsType[*persistence.UnavailableError](err); confirmed != (level == valkey.DurabilityAOF) || !confirmed && (!ok || away.Reason != persistence.ReasonReadOnly) {
				t.Fatalf("an append that no replica had: %v", err)
			}
			if !confirmed {
				send.want = send.want[:300]
			}
			seen := follow(t, primary.Addr).await(t, len(send.want))
			primary.Kill()
			openOwned(t, openValkey(t, valkey.Options{Addresses: []string{replica.Addr}, Durability: valkey.DurabilityAOF}), "a")
			_, n := newestOf(t, replica.Addr)
			if lost := len(seen) - n; lost != 0 && level == valkey.DurabilityReplicas || lost != 300 && level == valkey.DurabilityAOF {
				t.Errorf("%d entries that a reader saw are lost in the failover", lost)
			}
		})
	}
}

// A server is killed in the middle of appends, with a file that it syncs once a second. Everything
// that was confirmed or seen is there when it comes back.
func TestI1_KilledServerKeepsWhatWasVisible(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t, valkeytest.Options{AOF: "everysec", InMemory: true})
	opt := valkey.Options{Addresses: []string{server.Addr}, Durability: valkey.DurabilityAOF}
	stream, _ := openOwned(t, openValkey(t, opt), "a")
	send := newSender()
	for round := range 5 {
		reader := follow(t, server.Addr)
		confirmed := make(chan int, 1000)
		var writer sync.WaitGroup
		writer.Go(func() {
			defer close(confirmed)
			for {
				batch := send.batch(20)
				if _, err := stream.Append(t.Context(), batch, seq(1)); err != nil {
					return
				}
				confirmed <- len(send.want)
			}
		})
		least := 0
		for n := range confirmed {
			if least = n; n >= 20*(5*round+3) {
				break
			}
		}
		reader.await(t, least)
		server.Kill()
		for n := range confirmed {
			least = n
		}
		writer.Wait()
		seen := len(reader.await(t, 0))
		server.Restart()
		if n := atoi(t, server.CLI("XLEN", "tempestd:{feed}")); n < max(least, seen) || n > len(send.want) {
			t.Fatalf("%d entries are there, %d were confirmed, %d seen and %d sent", n, least, seen, len(send.want))
		} else {
			// A writer resumes from what is there.
			send.want = send.want[:n]
		}
		stream, _ = openOwned(t, openValkey(t, opt), "a")
	}
	send.check(t, stream)
}

func TestHealthChecksTheDurability(t *testing.T) {
	t.Parallel()
	health := func(t *testing.T, server *valkeytest.Server, opt valkey.Options, want string) {
		t.Helper()
		opt.Addresses = []string{server.Addr}
		err := openValkey(t, opt).Health()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("with %q: %v, want %q", opt.Durability, err, want)
		}
	}
	aof, replicas := valkey.Options{Durability: valkey.DurabilityAOF}, valkey.Options{Durability: valkey.DurabilityReplicas, Replicas: 2}
	health(t, valkeytest.Start(t, valkeytest.Options{Engine: valkeytest.Redis}), aof, "WAITAOF: the server is Redis 7.0; accepted")
	primary, _ := valkeytest.Replicated(t, valkeytest.Options{AOF: "always", InMemory: true})
	health(t, primary, aof, "")
	health(t, primary, replicas, "2 replicas; the server has 1")
	for _, c := range []struct{ name, value, good, want string }{
		{"appendonly", "no", "yes", "appendonly yes"},
		{"appendfsync", "everysec", "always", "appendfsync always at the server; it is everysec"},
		{"maxmemory-policy", "volatile-lru", "noeviction", "maxmemory-policy noeviction at the server; it is volatile-lru"},
	} {
		primary.CLI("CONFIG", "SET", c.name, c.value)
		health(t, primary, aof, c.want)
		health(t, primary, valkey.Options{}, "")
		primary.CLI("CONFIG", "SET", c.name, c.good)
	}
	// The user that the documentation recommends may not wait. With two more commands it may, and
	// appendfsync is not checked.
	_, rules := leastACL(t)
	opt := setUser(t, primary, rules)
	opt.Durability = valkey.DurabilityAOF
	health(t, primary, opt, "may not run WAITAOF")
	setUser(t, primary, append(rules, "+wait", "+waitaof"))
	health(t, primary, opt, "")
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

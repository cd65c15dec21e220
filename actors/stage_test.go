package actors_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/jonboulle/clockwork"

	"tempestd/internal/jetstream"
	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/embedded"
	"tempestd/persistence/embedded/disk/memdisk"
)

// stage is a feed with one of its actors. It hears what the actor tells the feed, and the other
// actors. Call it within a synctest bubble.
type stage struct {
	t      *testing.T
	system *actor.ActorSystem
	feed   *actor.PID
	pid    *actor.PID
	ear    *actor.PID // in place of the other actors

	mu    sync.Mutex
	heard []any
}

// HandleFailure hears why the actor failed. It is not restarted.
func (s *stage) HandleFailure(_ *actor.ActorSystem, _ actor.Supervisor, _ *actor.PID, _ *actor.RestartStatistics, reason, _ any) {
	s.hear(reason)
}

func newStage(t *testing.T, props func(ear *actor.PID) *actor.Props) *stage {
	t.Helper()
	s := &stage{t: t, system: actor.NewActorSystem()}
	s.ear = s.system.Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) { s.hear(ctx.Message()) }))
	s.feed = s.system.Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
		if _, ok := ctx.Message().(*actor.Started); ok {
			s.pid, _ = ctx.SpawnNamed(props(s.ear), "actor")
			return
		}
		s.hear(ctx.Message())
	}, actor.WithSupervisor(s)))
	synctest.Wait()
	t.Cleanup(func() {
		_ = s.system.Root.StopFuture(s.feed).Wait()
		_ = s.system.Root.StopFuture(s.ear).Wait()
		s.system.Shutdown()
		time.Sleep(2 * time.Second) // the actor library's throttle of dead letters
		synctest.Wait()
	})
	return s
}

func (s *stage) hear(m any) {
	if _, own := m.(actor.SystemMessage); own {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard = append(s.heard, m)
}

// tell tells the actor something, for the feed, and waits until nothing happens any more.
func (s *stage) tell(all ...any) {
	for _, m := range all {
		s.system.Root.RequestWithCustomSender(s.pid, m, s.feed)
	}
	synctest.Wait()
}

// last is the newest message of a type that was heard.
func last[T any](s *stage) (m T) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, heard := range slices.Backward(s.heard) {
		if m, ok := heard.(T); ok {
			return m
		}
	}
	s.t.Fatalf("no %T was heard", m)
	return m
}

// count counts the messages of a type that were heard.
func count[T any](s *stage) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, heard := range s.heard {
		if _, ok := heard.(T); ok {
			n++
		}
	}
	return n
}

const feedName, hostA, hostB = "sky", "a.example:443", "b.example:443"

// openStore opens a store in memory with the stream of the feed.
func openStore(t *testing.T) (persistence.Store, persistence.Stream) {
	t.Helper()
	// A bubble's time begins in the year 2000, when a time cursor would be taken for a number.
	time.Sleep(time.Until(time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)))
	store, err := embedded.Open(context.Background(), "/store", embedded.Options{Files: new(memdisk.FS), Clock: clockwork.NewRealClock(), MinFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	stream, err := store.OpenStream(context.Background(), feedName, persistence.StreamOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return store, stream
}

// batchOf is a batch of the events with these numbers, one a second.
func batchOf(t *testing.T, seqs ...int64) *messages.Batch {
	t.Helper()
	b := &messages.Batch{Frames: len(seqs)}
	for _, n := range seqs {
		us := time.Date(2026, 8, 1, 11, 0, int(n), 0, time.UTC).UnixMicro()
		text := fmt.Sprintf(`{"did":"did:plc:a","time_us":%d,"cursor":%d,"kind":"commit","commit":{"rev":"r%d","operation":"create","collection":"a.b.c","rkey":"k%d"}}`, us, n, n, n)
		e := messages.Event{Off: uint32(len(b.Buf)), Len: uint32(len(text))}
		if err := jetstream.Scan([]byte(text), &e); err != nil {
			t.Fatal(err)
		}
		b.Buf, b.Events = append(b.Buf, text...), append(b.Events, e)
		b.Seq, b.TimeUS = n, us
	}
	b.PresentUS = time.Now().UnixMicro()
	return b
}

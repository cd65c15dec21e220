package serve_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"tempestd/internal/serve"
	"tempestd/persistence"
)

// held is a stream whose reader gets a page at a time, each when it is let go.
type held struct {
	persistence.Stream
	turn chan struct{}
}

func (h held) Tail(ctx context.Context, after persistence.StreamCursor, block time.Duration, limit int) (persistence.StreamFrames, error) {
	select {
	case <-h.turn:
		return h.Stream.Tail(ctx, after, block, limit)
	case <-ctx.Done():
		return persistence.StreamFrames{}, ctx.Err()
	}
}

// What a v2 subscriber is told in the place of events that it cannot have.
const (
	droppedFrame = `{"$type":"message","payload":{"$type":"network.bsky.jetstream.subscribeEvents#info","message":"events were dropped by retention before they were read","name":"Gap"}}`
)

// growing is a stream to which events are appended in blocks of a hundred, and a daemon whose one subscriber gets a page of it at each turn.
type growing struct {
	*daemon
	stream persistence.Stream
	turn   chan struct{}
	texts  []string // all that was ever appended
}

func newGrowing(t testing.TB, storage persistence.Store, name string) *growing {
	g := &growing{stream: openStream(t, storage, name), turn: make(chan struct{})}
	g.daemon = start(t, only{stream: held{g.stream, g.turn}}, func(o *serve.Options) { o.DefaultStream = name })
	return g
}

func (g *growing) grow(blocks int) {
	g.t.Helper()
	for range blocks {
		n := int64(len(g.texts))
		block := events(run(firstUS+n*1000, n+1, 100))
		store(g.t, g.stream, block...)
		g.texts = append(g.texts, block...)
	}
}

// keep drops all but the newest entries.
func (g *growing) keep(entries int64) {
	g.t.Helper()
	if _, err := g.stream.Trim(context.Background(), persistence.Retention{Entries: entries}); err != nil {
		g.t.Fatal(err)
	}
}

// readInto reads messages of either protocol and gives the v1 events, "" for each time that the subscriber was told of dropped ones.
func (s *subscriber) readInto(path string, n int) (texts []string) {
	s.t.Helper()
	for _, text := range s.read(n) {
		switch {
		case text == droppedFrame:
			text = ""
		case path[1] != 's':
			text = unwrapped(s.t, text)
		}
		texts = append(texts, text)
	}
	return texts
}

// Between the search for a cursor and the first page retention may pass, too.
func TestI4_ASubscriberThatRetentionOvertakesBeforeItsFirstEvent(t *testing.T) {
	onBothBackends(t, func(t *testing.T, storage persistence.Store) {
		for i, cursor := range []int64{0, 1, 2, 150, firstUS - 1, firstUS, firstUS + 150_000} {
			g := newGrowing(t, storage, fmt.Sprint("s", i))
			g.grow(6)
			path := fmt.Sprint(pathV2, "?cursor=", cursor)
			s := g.dial(path)
			g.keep(100)
			g.turn <- struct{}{}
			if got := s.read(1)[0]; got != droppedFrame {
				t.Fatalf("cursor %d: begins with %s, want to be told that events were dropped", cursor, got)
			}
			g.turn <- struct{}{}
			same(t, s.readInto(path, 100), g.texts[500:])
		}
	})
}

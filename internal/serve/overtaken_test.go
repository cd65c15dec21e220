package serve_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/coder/websocket"

	"tempestd/internal/serve"
	"tempestd/persistence"
)

// held is a stream that delays each page until the test releases it.
type held struct {
	persistence.Stream
	turn chan struct{}
}

func (h held) Tail(ctx context.Context, after persistence.StreamCursor, block time.Duration, limit int) (persistence.Page, error) {
	select {
	case <-h.turn:
		return h.Stream.Tail(ctx, after, block, limit)
	case <-ctx.Done():
		return persistence.Page{}, ctx.Err()
	}
}

// The frames that a v2 subscriber gets in place of events that it cannot have.
const (
	droppedFrame    = `{"$type":"message","payload":{"$type":"network.bsky.jetstream.subscribeEvents#info","message":"events were dropped by retention before they were read","name":"Gap"}}`
	unreadableFrame = `{"$type":"message","payload":{"$type":"network.bsky.jetstream.subscribeEvents#info","message":"events are stored and cannot be read","name":"Gap"}}`
)

// growing is a stream that gets events in blocks of a hundred, and a daemon. The daemon's one
// subscriber gets one page per turn.
type growing struct {
	*daemon
	stream persistence.Stream
	turn   chan struct{}
	texts  []string // all events that were ever appended
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

// readInto reads messages of either protocol. It returns the v1 events, and "" for each notice
// about dropped events.
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

// When retention overtakes a subscriber in the middle of the stream, a v2 subscriber is told. Both
// versions continue with the oldest event there is, on the same connection.
func TestI4_ASubscriberThatRetentionOvertakes(t *testing.T) {
	onBothBackends(t, func(t *testing.T, storage persistence.Store) {
		for i, c := range []struct {
			path string // with the cursor
			told bool
		}{{"/subscribe?cursor=0", false}, {pathV2 + "?cursor=0", true}, {pathV2 + "?cursor=1", true}, {pathV2 + fmt.Sprint("?cursor=", firstUS), true}} {
			g := newGrowing(t, storage, fmt.Sprint("s", i))
			told := []string{""}
			if !c.told {
				told = nil
			}

			g.grow(15)
			s := g.dial(c.path)
			g.turn <- struct{}{}
			same(t, s.readInto(c.path, 1000), g.texts[:1000])
			g.grow(10)
			g.keep(500)
			g.turn <- struct{}{} // this read finds that retention has overtaken it
			g.turn <- struct{}{}
			same(t, s.readInto(c.path, len(told)+500), append(told, g.texts[2000:]...))

			// Retention may drop events that the subscriber has read. That is no gap.
			g.keep(100)
			g.grow(1)
			g.turn <- struct{}{}
			same(t, s.readInto(c.path, 100), g.texts[2500:])
		}
	})
}

// Retention may also drop events between the search for a cursor and the first page.
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

// While retention and the feed run beside a subscriber, every event comes once and in order, or is
// missing; a v2 subscriber is told of missing events.
func TestI4_ASubscriberIsToldOfWhateverItMisses(t *testing.T) {
	onBothBackends(t, func(t *testing.T, storage persistence.Store) {
		for _, path := range []string{"/subscribe?cursor=0", pathV2 + "?cursor=0"} {
			g := newGrowing(t, storage, path[1:4])
			g.grow(1)
			s := g.dial(path)
			random := rand.New(rand.NewPCG(1, 2))
			fed := make(chan struct{})
			go func() {
				defer close(fed)
				for range 12 {
					g.grow(random.IntN(25))
					g.keep(int64(1 + random.IntN(1500)))
					g.turn <- struct{}{}
				}
				if err := g.stream.Close(context.Background(), "over"); err != nil {
					t.Error(err)
				}
				close(g.turn)
			}()
			texts, ending := s.rest()
			<-fed
			if ending != (websocket.CloseError{Code: websocket.StatusNormalClosure, Reason: "over"}) {
				t.Errorf("%s ends with %v", path, ending)
			}
			at, missing, told := 0, 0, false
			for _, text := range texts {
				if text == droppedFrame {
					told = true
					continue
				}
				if path[1] != 's' {
					text = unwrapped(t, text)
				}
				skipped := slices.Index(g.texts[at:], text)
				if skipped < 0 {
					t.Fatalf("%s: after event %d comes %s, which is none or was sent before", path, at, text)
				}
				if v2 := path[1] != 's'; v2 && (skipped > 0) != told {
					t.Errorf("%s: %d events before %s are missing, told of: %t", path, skipped, text, told)
				}
				at, missing, told = at+skipped+1, missing+skipped, false
			}
			if missing == 0 || at != len(g.texts) {
				t.Errorf("%s: of %d events %d were overtaken, and the last is the %d.", path, len(g.texts), missing, at)
			}
		}
	})
}

// broken is a stream with one damaged block. last is the last entry of that block.
type broken struct {
	persistence.Stream
	first, last persistence.EntryID
}

func (b broken) Tail(ctx context.Context, after persistence.StreamCursor, block time.Duration, limit int) (persistence.Page, error) {
	page, err := b.Stream.Tail(ctx, after, block, limit)
	i := slices.IndexFunc(page.Entries, func(f persistence.Entry) bool { return f.ID.Compare(b.first) >= 0 && f.ID.Compare(b.last) <= 0 })
	switch {
	case i == 0:
		return persistence.Page{}, &persistence.CorruptError{Stream: b.Name(), Block: b.last, Err: errors.New("checksum")}
	case i > 0:
		page.Behind += int64(len(page.Entries) - i)
		page.Entries = page.Entries[:i]
		page.Cursor = page.Entries[i-1].ID
	}
	return page, err
}

func TestI4_ASubscriberIsToldOfWhatCannotBeRead(t *testing.T) {
	storage := openStore(t)
	stream := openStream(t, storage, "bluesky")
	texts := events(run(firstUS, 1, 300))
	store(t, stream, texts...)
	const ms = firstUS / 1000
	d := start(t, only{stream: broken{stream, persistence.EntryID{MS: ms + 100}, persistence.EntryID{MS: ms + 199}}}, func(o *serve.Options) { o.DefaultStream = "bluesky" })
	same(t, d.dial("/subscribe?cursor=0").read(200), slices.Concat(texts[:100], texts[200:]))
	got := d.dial(pathV2 + "?cursor=0").read(201)
	if got[100] != unreadableFrame || unwrapped(t, got[99]) != texts[99] || unwrapped(t, got[101]) != texts[200] {
		t.Errorf("%s\n%s\n%s, want to be told in the place of what cannot be read", got[99], got[100], got[101])
	}
}

package oracle

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"tempestd/persistence"
)

// reader follows the stream in one way, over all processes of the daemon and all ends of its own
// connections, and keeps what it has seen.
type reader struct {
	name string
	way  way

	seen []sight
	told []notice
	// after is the position in a protocol that tells IDs, number in one that tells numbers.
	after  persistence.EntryID
	number int64
	floor  int64  // the number that it was told to go on at
	fault  string // the first thing that a reader must never see
	opened int    // how often it has connected
	client *http.Client

	cancel context.CancelFunc
	done   chan struct{}
}

// sight is an entry as a reader has seen it.
type sight struct {
	id     persistence.EntryID // zero in a protocol without IDs
	number int64               // 0 in a protocol without numbers
	event  []byte
}

// notice is that a reader was told of entries that retention has dropped.
type notice struct {
	seen int                 // entries that it had seen by then
	to   persistence.EntryID // the newest of them; zero if it was not told
}

// way is a way to follow a stream.
type way struct {
	// follow follows for the time of one connection or request. It returns the reason of its end,
	// nil if the next one should follow at once.
	follow func(context.Context, *reader, *place) error
	// shows says which entries it shows, and alters how it shows them; nil stands for all of them,
	// and for their own bytes.
	shows  func(event []byte) bool
	alters func(event []byte, number int64) []byte
	// silent says that it passes over dropped entries without a word.
	silent bool
}

// place is what a reader reads from.
type place struct {
	world *world
	store persistence.Store // without HTTP
	base  string            // of the URLs of a daemon
	rnd   *rand.Rand
}

// ways are the ways over HTTP, by the names that Setup.Readers has.
var ways = map[string]way{
	"tail":        {follow: tailPages("")},
	"filtered":    {follow: tailPages("&kinds=commit&collections=app.bsky.feed.*"), shows: isOfFeeds},
	"sse":         {follow: tailEvents(0)},
	"slow":        {follow: tailEvents(2 * time.Second)},
	"durable":     {follow: durablePages},
	"durable-sse": {follow: durableEvents},
	"v1":          {follow: subscribeV1, shows: isOfV1, alters: asV1, silent: true},
	"v2":          {follow: subscribeV2, shows: isOfV2, alters: asV2},
}

// startReaders starts the readers of the world.
func (w *world) startReaders() {
	for i := range 2 {
		w.readers = append(w.readers, w.newReader(fmt.Sprintf("reader %d", i), way{follow: tailStore([]int{1000, 7}[i])}))
	}
	for i, name := range w.Readers {
		if name == "consumer" {
			w.consumers = append(w.consumers, w.newConsumer(i))
			continue
		}
		w.readers = append(w.readers, w.newReader(fmt.Sprintf("reader %q", name), ways[name]))
	}
}

// allReaders are the readers, and the consumers as readers of what they have acknowledged.
func (w *world) allReaders() []*reader {
	all := slices.Clone(w.readers)
	for _, c := range w.consumers {
		all = append(all, c.ordered())
	}
	return all
}

func (w *world) newReader(name string, how way) *reader {
	ctx, cancel := context.WithCancel(context.Background())
	r := &reader{name: name, way: how, cancel: cancel, done: make(chan struct{})}
	r.client = w.client(r)
	at := &place{world: w, rnd: rand.New(rand.NewPCG(w.seed, 1000+uint64(len(w.readers))))}
	go func() {
		defer close(r.done)
		for ctx.Err() == nil && w.gate.pass(ctx) {
			at.store, at.base = *w.shown.Load(), w.baseURL(r.opened)
			r.opened++
			if err := how.follow(ctx, r, at); err != nil {
				rest(ctx, 500*time.Millisecond)
			}
		}
	}()
	return r
}

// rest waits, and less if the context ends.
func rest(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// tailStore follows by the Go interface, page by page.
func tailStore(limit int) func(context.Context, *reader, *place) error {
	return func(ctx context.Context, r *reader, at *place) error {
		page, err := at.store.TailStream(ctx, feedName, r.after.String(), 10*time.Second, limit)
		if err != nil {
			return r.heed(err)
		}
		for _, e := range page.Entries {
			r.see(e.ID, e.Event)
		}
		return nil
	}
}

// see keeps an entry of a protocol that tells IDs.
func (r *reader) see(id persistence.EntryID, event []byte) {
	if id.Compare(r.after) <= 0 {
		r.fail("entry %s comes after %s", id, r.after)
	}
	r.after = id
	r.seen = append(r.seen, sight{id: id, event: append([]byte(nil), event...)})
}

// moved keeps a position that a reader was told without an entry.
func (r *reader) moved(to persistence.EntryID) {
	if to.Compare(r.after) < 0 {
		r.fail("the position moves back from %s to %s", r.after, to)
	}
	r.after = to
}

// expire keeps that the entries up to one were dropped by retention. Reading goes on after it.
func (r *reader) expire(to persistence.EntryID) {
	r.told = append(r.told, notice{len(r.seen), to})
	if to.Compare(r.after) <= 0 {
		r.fail("it stands at %s, and is told that what came after it is dropped up to %s", r.after, to)
	}
	r.after = to
}

func (r *reader) fail(format string, args ...any) {
	if r.fault == "" {
		r.fault = fmt.Sprintf(format, args...)
	}
}

func (r *reader) stop() {
	r.cancel()
	<-r.done
	if r.client != nil {
		r.client.CloseIdleConnections()
	}
}

// gate holds readers back while it is closed. The zero gate is open.
type gate struct {
	mu     sync.Mutex
	closed chan struct{} // closed when the gate opens; nil while it is open
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed == nil {
		g.closed = make(chan struct{})
	}
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed != nil {
		close(g.closed)
		g.closed = nil
	}
}

// pass waits until the gate is open. It returns false when the context has ended.
func (g *gate) pass(ctx context.Context) bool {
	g.mu.Lock()
	closed := g.closed
	g.mu.Unlock()
	if closed == nil {
		return true
	}
	select {
	case <-closed:
		return true
	case <-ctx.Done():
		return false
	}
}

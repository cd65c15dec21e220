package serve_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/serve"
	"tempestd/internal/valkeytest"
	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/embedded"
	"tempestd/persistence/valkey"
)

// onBothBackends runs a test on an embedded store and on a Valkey store.
func onBothBackends(t *testing.T, run func(t *testing.T, store persistence.Store)) {
	t.Run("embedded", func(t *testing.T) { run(t, openStore(t)) })
	t.Run("valkey", func(t *testing.T) {
		server := valkeytest.Start(t, valkeytest.Options{})
		store, err := valkey.Open(t.Context(), valkey.Options{Addresses: []string{server.Addr}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { store.Close() })
		run(t, owner{store})
	})
}

// owner is a Valkey store that acquires the lease of every stream that it opens.
type owner struct{ *valkey.Store }

func (o owner) OpenStream(ctx context.Context, name string, opt persistence.StreamOptions) (persistence.Stream, error) {
	var err error
	if opt.Lease, err = o.Acquire(ctx, name, messages.Node{ID: "n", Name: "n"}, time.Hour); err != nil {
		return nil, err
	}
	return o.Store.OpenStream(ctx, name, opt)
}

// consumerAt returns the path of the consumer "c", or of one of its verbs.
func consumerAt(verb ...string) string {
	return strings.Join(append([]string{"/v1/streams/bluesky/consumers/c"}, verb...), "/")
}

// leased is the response to a request for the next batch.
type leased struct {
	Token      string
	Until      *time.Time
	UntilMS    int64 `json:"until_ms"`
	Deliveries int
	Frames     []struct {
		ID    string
		Event json.RawMessage
	}
	Count        int
	LagEntries   int64      `json:"lag_entries"`
	UpToDate     bool       `json:"up_to_date"`
	ClosedAt     *time.Time `json:"closed_at"`
	ClosedReason string     `json:"closed_reason"`
}

// numbers returns the number "n" of each event.
func (l leased) numbers() []int {
	var all []int
	for _, f := range l.Frames {
		var event struct{ N int }
		_ = json.Unmarshal(f.Event, &event)
		all = append(all, event.N)
	}
	return all
}

// decoded decodes a response's JSON.
func decoded[T any](d *daemon, r response, status int) (v T) {
	d.t.Helper()
	if err := json.Unmarshal([]byte(r.body), &v); err != nil || r.status != status {
		d.t.Errorf("answered %d, want %d; %v: %.300s", r.status, status, err, r.body)
	}
	return v
}

// next asks for a batch.
func (d *daemon) next(query string) leased {
	d.t.Helper()
	return decoded[leased](d, d.get(consumerAt("next")+"?"+query), http.StatusOK)
}

// tell sends a token, and further fields in more.
func (d *daemon) tell(verb, token string, more ...string) response {
	d.t.Helper()
	return d.send("POST", consumerAt(verb), fmt.Sprintf(`{"token":%q%s}`, token, strings.Join(more, "")))
}

// made creates the consumer "c" and returns its status.
func (d *daemon) made(definition string) messages.ConsumerStatus {
	d.t.Helper()
	return decoded[messages.ConsumerStatus](d, d.send("PUT", consumerAt(), definition), http.StatusCreated)
}

func (d *daemon) told() messages.ConsumerStatus {
	d.t.Helper()
	return decoded[messages.ConsumerStatus](d, d.get(consumerAt()), http.StatusOK)
}

// idOf returns the ID of event n.
func idOf(n int) persistence.EntryID { return persistence.EntryID{MS: firstUS/1000 + uint64(n)} }

func TestConsumersAreMadeToldAndDeleted(t *testing.T) {
	onBothBackends(t, func(t *testing.T, store persistence.Store) {
		openStream(t, store, "bluesky", numbered(0, 10)...)
		d := start(t, store)
		if r := d.get("/v1/streams/bluesky/consumers"); r.status != http.StatusOK || r.body != `{"consumers":[]}`+"\n" {
			t.Errorf("none: %d %s", r.status, r.body)
		}
		filter := `{"after":"now","filter":{"kinds":["identity","commit"],"collections":["app.bsky.graph.*","app.bsky.feed.post","app.bsky.feed.post"]}}`
		first := d.made(filter)
		if first.Stream != "bluesky" || first.Name != "c" || first.After != "now" || first.Acked != idOf(9) || first.LagEntries != 0 || first.Lease != nil ||
			!slices.Equal(first.Filter.Collections, []string{"app.bsky.feed.post", "app.bsky.graph.*"}) {
			t.Errorf("made %+v", first)
		}
		again := d.send("PUT", consumerAt(), `{"filter":{"collections":["app.bsky.feed.post","app.bsky.graph.*"],"kinds":["commit","identity"],"dids":[]},"after":"now"}`)
		if same := decoded[messages.ConsumerStatus](d, again, http.StatusOK); !same.CreatedAt.Equal(first.CreatedAt) {
			t.Errorf("made again it is %+v, want what was there: %+v", same, first)
		}
		other := d.send("PUT", consumerAt(), `{"after":"0-0","filter":{"kinds":["commit"]}}`)
		d.want(other, http.StatusConflict, "ConsumerExists")
		for _, differs := range []string{`after is \"now\" and not \"0-0\"`, "filter.collections is", "filter.kinds is", "seek"} {
			if !strings.Contains(other.body, differs) {
				t.Errorf("%s does not say %s", other.body, differs)
			}
		}

		d.send("PUT", "/v1/streams/bluesky/consumers/b.2", fmt.Sprintf(`{"after":"%v"}`, idOf(3)))
		list := decoded[struct{ Consumers []messages.ConsumerStatus }](d, d.get("/v1/streams/bluesky/consumers"), http.StatusOK)
		if len(list.Consumers) != 2 || list.Consumers[0].Name != "b.2" || list.Consumers[0].LagEntries != 6 || list.Consumers[0].LagMS != 6 || list.Consumers[1].Name != "c" {
			t.Errorf("listed %+v", list)
		}

		d.want(d.send("DELETE", consumerAt(), ""), http.StatusNoContent, "")
		d.want(d.get(consumerAt()), http.StatusNotFound, "NoSuchConsumer")
		for _, r := range []response{d.send("DELETE", consumerAt(), ""), d.get(consumerAt("next")), d.tell("ack", "x"), d.tell("nack", "x"),
			d.send("POST", consumerAt("seek"), `{"after":"now"}`)} {
			d.want(r, http.StatusNotFound, "NoSuchConsumer")
		}
		d.want(d.send("PUT", "/v1/streams/other/consumers/c", `{"after":"now"}`), http.StatusNotFound, "NoSuchStream")
		d.want(d.get("/v1/streams/other/consumers"), http.StatusNotFound, "NoSuchStream")
		d.want(d.send("PUT", "/v1/streams/bluesky/consumers/A%20b", `{"after":"now"}`), http.StatusBadRequest, "InvalidRequest")
		for n := range persistence.MaxConsumers - 1 {
			_, err := store.UpdateConsumer(t.Context(), "bluesky", fmt.Sprint("n", n), func(time.Time, *persistence.ConsumerState) (*persistence.ConsumerState, error) {
				return &persistence.ConsumerState{}, nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		d.want(d.send("PUT", consumerAt(), filter), http.StatusConflict, "TooManyConsumers")
	})
}

func TestBatchesFollowOneAnother(t *testing.T) {
	onBothBackends(t, func(t *testing.T, store persistence.Store) {
		stream := openStream(t, store, "bluesky", numbered(0, 5)...)
		d := start(t, store)
		d.made(`{"after":"0-0"}`)

		first := d.next("limit=3&lease_ms=60000")
		if !slices.Equal(first.numbers(), []int{0, 1, 2}) || first.Deliveries != 1 || first.Count != 3 || first.LagEntries != 2 || first.UpToDate ||
			first.UntilMS != 60_000 || first.Until == nil || first.Token == "" {
			t.Fatalf("the first batch is %+v", first)
		}
		if s := d.told(); s.Lease == nil || s.Lease.Last != idOf(2) || s.Lease.Deliveries != 1 || s.LagEntries != 5 || s.LagMS != 4 {
			t.Errorf("leased: %+v", s)
		}

		busy := d.get(consumerAt("next"))
		if l := decoded[leased](d, busy, http.StatusOK); l.LagEntries != 5 || l.UpToDate || l.Count != 0 || l.Token != "" || l.Frames == nil || l.UntilMS <= 0 || busy.header.Get("Retry-After") != "1" {
			t.Errorf("while the batch is out another next gave %s, %v", busy.body, busy.header)
		}
		d.want(d.tell("ack", "nonsense"), http.StatusConflict, "LeaseLost")

		for i, moved := range []bool{true, false} {
			if a := decoded[struct {
				Acked persistence.EntryID
				Moved bool
			}](d, d.tell("ack", first.Token), http.StatusOK); a.Acked != idOf(2) || a.Moved != moved {
				t.Errorf("ack %d: %+v", i+1, a)
			}
		}
		d.want(d.tell("nack", first.Token), http.StatusConflict, "LeaseLost")

		second := d.next("limit=3")
		if !slices.Equal(second.numbers(), []int{3, 4}) || second.LagEntries != 0 || !second.UpToDate || second.UntilMS != 30_000 {
			t.Fatalf("the second batch is %+v", second)
		}
		add(t, stream, numbered(5, 8)...)
		d.want(d.tell("ack", first.Token), http.StatusOK, "") // a repeated ack is no error
		d.want(d.tell("nack", second.Token), http.StatusOK, "")
		d.want(d.tell("ack", second.Token), http.StatusConflict, "LeaseLost")
		if s := d.told(); s.Lease != nil || s.Deliveries != 1 || s.Acked != idOf(2) {
			t.Errorf("given back: %+v", s)
		}

		again := d.next("limit=1&lease_ms=1000")
		if !slices.Equal(again.numbers(), []int{3, 4}) || again.Deliveries != 2 || again.LagEntries != 3 || again.Token == second.Token {
			t.Fatalf("again the second batch is %+v", again)
		}
		d.want(d.tell("ack", second.Token), http.StatusConflict, "LeaseLost")
		longer := decoded[struct{ Until time.Time }](d, d.tell("extend", again.Token, `,"lease_ms":3600000`), http.StatusOK)
		if longer.Until.Sub(*again.Until) < 59*time.Minute {
			t.Errorf("extended to %v from %v", longer.Until, again.Until)
		}
		d.want(d.tell("nack", again.Token, `,"delay_ms":3600000`), http.StatusOK, "")
		r := d.get(consumerAt("next"))
		if l := decoded[leased](d, r, http.StatusOK); l.Count != 0 || r.header.Get("Retry-After") != "3600" {
			t.Errorf("held back: %s, %v", r.body, r.header)
		}

		d.want(d.send("POST", consumerAt("seek"), fmt.Sprintf(`{"after":"%v"}`, idOf(5))), http.StatusOK, "")
		d.want(d.tell("ack", again.Token), http.StatusOK, "") // the position is past the batch
		if l := d.next(""); !slices.Equal(l.numbers(), []int{6, 7}) || l.Deliveries != 1 {
			t.Errorf("after the seek: %+v", l)
		}
	})
}

// A request that waits for its turn gets it when the batch is acknowledged or returned. A request
// that waits for entries is answered when they are appended.
func TestNextWaitsForTheTurnAndForEntries(t *testing.T) {
	onBothBackends(t, func(t *testing.T, store persistence.Store) {
		stream := openStream(t, store, "bluesky", numbered(0, 2)...)
		d := start(t, store)
		d.made(`{"after":"0-0"}`)
		first := d.next("limit=1")
		got := make(chan leased)
		wait := func() {
			go func() { got <- d.next("block_ms=30000") }()
			d.tailing("bluesky", 1)
		}
		wait()
		d.tell("nack", first.Token)
		again := <-got
		if !slices.Equal(again.numbers(), []int{0}) || again.Deliveries != 2 {
			t.Errorf("given back, it went out as %+v", again)
		}
		wait()
		d.tell("ack", again.Token)
		second := <-got
		if !slices.Equal(second.numbers(), []int{1}) || second.Deliveries != 1 {
			t.Errorf("after the ack came %+v", second)
		}
		d.tell("ack", second.Token)
		wait()
		add(t, stream, numbered(2, 3)...)
		third := <-got
		if !slices.Equal(third.numbers(), []int{2}) {
			t.Errorf("appended, and given was %+v", third)
		}
		d.tell("ack", third.Token)
		wait() // at the tip
		d.send("POST", consumerAt("seek"), `{"after":"0-0"}`)
		if l := <-got; !slices.Equal(l.numbers(), []int{0, 1, 2}) {
			t.Errorf("after a seek back came %+v", l)
		}
		d.send("POST", consumerAt("seek"), `{"after":"now"}`)
		got404 := make(chan response)
		go func() { got404 <- d.get(consumerAt("next") + "?block_ms=30000") }()
		d.tailing("bluesky", 1)
		d.send("DELETE", consumerAt(), "")
		d.want(<-got404, http.StatusNotFound, "NoSuchConsumer")
		d.tailing("bluesky", 0)
	})
}

// waits counts the readers that wait for the stream's next entry.
type waits struct {
	persistence.Store
	now, most atomic.Int64
}

type countedStream struct {
	persistence.Stream
	waits *waits
}

func (w *waits) Stream(ctx context.Context, name string) (persistence.Stream, error) {
	stream, err := w.Store.Stream(ctx, name)
	return countedStream{stream, w}, err
}

func (c countedStream) Tail(ctx context.Context, after persistence.StreamCursor, block time.Duration, limit int) (persistence.Page, error) {
	if block > 0 {
		if n := c.waits.now.Add(1); n > c.waits.most.Load() {
			c.waits.most.Store(n)
		}
		defer c.waits.now.Add(-1)
	}
	return c.Stream.Tail(ctx, after, block, limit)
}

// Of many workers that wait for one consumer's entries, only one reads the stream. Each gets its
// turn, or an answer when its time is over.
func TestI8_WaitingWorkersReadOnce(t *testing.T) {
	store := &waits{Store: openStore(t)}
	stream := openStream(t, store.Store, "bluesky", numbered(0, 1)...)
	d := start(t, store)
	d.made(`{"after":"now"}`)
	const workers = 20
	got := make(chan leased)
	for range workers {
		go func() { got <- d.next("block_ms=30000") }()
	}
	d.tailing("bluesky", workers)
	if l := d.next(""); l.Count != 0 || l.Token != "" || !l.UpToDate {
		t.Errorf("a peek at the tip gave %+v", l)
	}
	for n := range workers {
		add(t, stream, numbered(1+n, 2+n)...)
		l := <-got
		if !slices.Equal(l.numbers(), []int{1 + n}) || l.Deliveries != 1 {
			t.Errorf("batch %d is %+v", n, l)
		}
		d.want(d.tell("ack", l.Token), http.StatusOK, "")
	}
	if most := store.most.Load(); most != 1 {
		t.Errorf("%d waited for the same entries at a time", most)
	}
}

// A worker that dies blocks other workers only until its lease ends.
func TestABatchGoesOutAgainWhenItsLeaseEnds(t *testing.T) {
	clock := clockwork.NewFakeClockAt(time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC))
	dir := t.TempDir()
	open := func() persistence.Store {
		store, err := embedded.Open(t.Context(), dir, embedded.Options{SyncInterval: time.Hour, Clock: clock})
		if err != nil {
			t.Fatal(err)
		}
		return store
	}
	store := open()
	openStream(t, store, "bluesky", numbered(0, 5)...)
	d := start(t, store, func(o *serve.Options) { o.Clock = clock })
	d.made(`{"after":"0-0"}`)
	first := d.next("limit=2&lease_ms=10000")
	clock.Advance(10*time.Second - 1)
	if l := d.next(""); l.Count != 0 || l.UntilMS != 0 || !l.Until.Equal(*first.Until) {
		t.Errorf("a nanosecond before its end the lease gave way to %+v", l)
	}

	// The daemon stops too, and starts again.
	if err := d.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	store.Close()
	store = open()
	defer store.Close()
	add(t, openStream(t, store, "bluesky"), numbered(5, 6)...)
	d2 := start(t, store, func(o *serve.Options) { o.Clock = clock })
	if l := d2.next(""); l.Count != 0 {
		t.Errorf("the lease did not outlive the daemon: %+v", l)
	}
	clock.Advance(1)
	again := d2.next("")
	if !slices.Equal(again.numbers(), first.numbers()) || again.Deliveries != 2 || again.Token == first.Token {
		t.Errorf("again it is %+v, first it was %+v", again, first)
	}
	d2.want(d2.tell("ack", first.Token), http.StatusConflict, "LeaseLost")
	clock.Advance(time.Hour)
	// No other worker had the batch in the meantime.
	d2.want(d2.tell("ack", again.Token), http.StatusOK, "")
	if s := d2.told(); s.Acked != idOf(1) || s.LagEntries != 4 {
		t.Errorf("%+v", s)
	}
}

func TestAValkeysClockEndsLeasesToo(t *testing.T) {
	onBothBackends(t, func(t *testing.T, store persistence.Store) {
		openStream(t, store, "bluesky", numbered(0, 2)...)
		d := start(t, store)
		d.made(`{"after":"0-0"}`)
		first := d.next("limit=1&lease_ms=1000")
		if again := d.next("block_ms=30000"); !slices.Equal(again.numbers(), []int{0}) || again.Deliveries != 2 || again.Token == first.Token {
			t.Errorf("after %+v came %+v", first, again)
		}
	})
}

// counting counts the changes of consumers.
type counting struct {
	persistence.Store
	changes atomic.Int64
}

func (c *counting) UpdateConsumer(ctx context.Context, stream, name string, change func(time.Time, *persistence.ConsumerState) (*persistence.ConsumerState, error)) (*persistence.ConsumerState, error) {
	state, err := c.Store.UpdateConsumer(ctx, stream, name, change)
	if err == nil {
		c.changes.Add(1)
	}
	return state, err
}

// post and like return events of two collections.
func post(n int) string { return commitOf("app.bsky.feed.post", n) }
func like(n int) string { return commitOf("app.bsky.feed.like", n) }

func commitOf(collection string, n int) string {
	return fmt.Sprintf(`{"did":"did:plc:a","time_us":%d,"kind":"commit","n":%d,"commit":{"rev":"r%d","operation":"create","collection":%q,"rkey":"k","record":{}}}`,
		firstUS+n, n, n, collection)
}

func likes(from, to int) []string {
	var all []string
	for n := from; n < to; n++ {
		all = append(all, like(n))
	}
	return all
}

func TestAFilteredConsumerMovesPastWhatIsLeftOut(t *testing.T) {
	clock := clockwork.NewFakeClockAt(time.UnixMicro(firstUS))
	store, err := embedded.Open(t.Context(), t.TempDir(), embedded.Options{SyncInterval: time.Hour, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	counted := &counting{Store: store}
	stream := openStream(t, store, "bluesky", append(likes(0, 50), post(50), post(51), like(52))...)
	d := start(t, counted, func(o *serve.Options) { o.Clock = clock })
	d.made(`{"after":"0-0","filter":{"collections":["app.bsky.feed.post"]}}`)

	first := d.next("limit=1")
	d.tell("ack", first.Token)
	second := d.next("limit=5")
	if !slices.Equal(first.numbers(), []int{50}) || !slices.Equal(second.numbers(), []int{51}) || second.LagEntries != 0 {
		t.Errorf("batches %v and %v", first, second)
	}
	d.tell("ack", second.Token)
	if s := d.told(); s.Acked != idOf(52) || s.LagEntries != 0 {
		t.Errorf("after the batch the position is %v, want past the like behind it", s.Acked)
	}

	// Only likes, which the filter leaves out: a request writes nothing until a minute has passed.
	add(t, stream, likes(53, 60)...)
	before := counted.changes.Load()
	for range 10 {
		if l := d.next(""); l.Count != 0 || l.Token != "" {
			t.Errorf("filtered out, and still %+v", l)
		}
	}
	if n := counted.changes.Load() - before; n != 0 || d.told().Acked != idOf(52) {
		t.Errorf("%d writes, at %v", n, d.told().Acked)
	}
	clock.Advance(time.Minute)
	for range 10 {
		d.next("")
	}
	if n := counted.changes.Load() - before; n != 1 || d.told().Acked != idOf(59) {
		t.Errorf("%d writes, at %v; want one, at %v", n, d.told().Acked, idOf(59))
	}
	if err := stream.Close(t.Context(), "done"); err != nil {
		t.Fatal(err)
	}
	if l := d.next("block_ms=30000"); l.ClosedReason != "done" || l.Count != 0 {
		t.Errorf("closed: %+v", l)
	}
}

func TestRetentionThatOvertakesAConsumerIsNotSkipped(t *testing.T) {
	onBothBackends(t, func(t *testing.T, store persistence.Store) {
		stream := openStream(t, store, "bluesky", numbered(0, 10)...)
		d := start(t, store)
		d.made(`{"after":"0-0"}`)
		d.want(d.send("PUT", "/v1/streams/bluesky/consumers/d", fmt.Sprintf(`{"after":"%v"}`, idOf(2))), http.StatusCreated, "")
		out := d.next("limit=4")
		add(t, stream, numbered(10, 20)...)
		if _, err := stream.Trim(t.Context(), persistence.Retention{Entries: 10}); err != nil {
			t.Fatal(err)
		}
		const oldest = 9
		for _, path := range []string{consumerAt("next"), "/v1/streams/bluesky/consumers/d/next"} {
			if path == consumerAt("next") {
				d.tell("nack", out.Token)
			}
			r := d.get(path)
			d.want(r, http.StatusGone, "CursorExpired")
			if !strings.Contains(r.body, fmt.Sprintf(`"oldest_cursor":"%v"`, idOf(oldest))) {
				t.Errorf("%s does not say where to go on", r.body)
			}
		}
		if s := d.told(); s.Expired == nil || *s.Expired != idOf(oldest) || s.LagEntries != 10 {
			t.Errorf("overtaken: %+v", s)
		}
		d.want(d.send("POST", consumerAt("seek"), fmt.Sprintf(`{"after":"%v"}`, idOf(4))), http.StatusGone, "CursorExpired")
		d.want(d.send("PUT", "/v1/streams/bluesky/consumers/late", fmt.Sprintf(`{"after":"%v"}`, idOf(4))), http.StatusGone, "CursorExpired")
		d.want(d.get("/v1/streams/bluesky/consumers/late"), http.StatusNotFound, "NoSuchConsumer")
		moved := decoded[messages.ConsumerStatus](d, d.send("POST", consumerAt("seek"), `{"after":"0-0"}`), http.StatusOK)
		if moved.Acked != idOf(oldest) || moved.Expired != nil {
			t.Errorf("after the seek: %+v", moved)
		}
		if l := d.next(""); !slices.Equal(l.numbers(), []int{10, 11, 12, 13, 14, 15, 16, 17, 18, 19}) {
			t.Errorf("goes on with %v", l.numbers())
		}
	})
}

func TestAClosedStreamIsServedToItsEnd(t *testing.T) {
	onBothBackends(t, func(t *testing.T, store persistence.Store) {
		stream := openStream(t, store, "bluesky", numbered(0, 3)...)
		d := start(t, store)
		d.made(`{"after":"0-0"}`)
		if err := stream.Close(t.Context(), "moved"); err != nil {
			t.Fatal(err)
		}
		l := d.next("limit=2&block_ms=30000")
		d.tell("ack", l.Token)
		l = d.next("limit=2&block_ms=30000")
		if !slices.Equal(l.numbers(), []int{2}) {
			t.Errorf("what is left: %+v", l)
		}
		d.tell("ack", l.Token)
		if l = d.next("block_ms=30000"); l.Count != 0 || l.Token != "" || l.ClosedAt == nil || l.ClosedReason != "moved" {
			t.Errorf("at the end: %+v", l)
		}
	})
}

func TestAStopReleasesThoseWhoWait(t *testing.T) {
	store := openStore(t)
	openStream(t, store, "bluesky", numbered(0, 1)...)
	d := start(t, store)
	d.made(`{"after":"0-0"}`)
	d.send("PUT", "/v1/streams/bluesky/consumers/idle", `{"after":"now"}`)
	d.next("")
	got := make(chan leased)
	for _, path := range []string{consumerAt("next"), "/v1/streams/bluesky/consumers/idle/next"} {
		go func() { got <- decoded[leased](d, d.get(path+"?block_ms=30000"), http.StatusOK) }()
	}
	d.tailing("bluesky", 2)
	if err := d.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	for range 2 {
		if l := <-got; l.Count != 0 || l.Token != "" || l.ClosedAt != nil {
			t.Errorf("released with %+v", l)
		}
	}
}

// A client that leaves while it waits leases no batch.
func TestAWorkerThatLeavesTakesNothing(t *testing.T) {
	store := openStore(t)
	stream := openStream(t, store, "bluesky", numbered(0, 1)...)
	d := start(t, store)
	d.made(`{"after":"now"}`)
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		req, err := d.request("GET", consumerAt("next")+"?block_ms=30000")
		if err == nil {
			_, err = d.http.Do(req.WithContext(ctx))
		}
		if err == nil {
			t.Error("it was answered")
		}
	}()
	d.tailing("bluesky", 1)
	cancel()
	<-gone
	d.tailing("bluesky", 0)
	add(t, stream, numbered(1, 2)...)
	if l := d.next(""); !slices.Equal(l.numbers(), []int{1}) || l.Deliveries != 1 {
		t.Errorf("the next worker got %+v", l)
	}
}

func TestConsumersHaveMetricsThatGoWithThem(t *testing.T) {
	store := openStore(t)
	openStream(t, store, "bluesky", numbered(0, 10)...)
	d := start(t, store)
	d.made(`{"after":"0-0"}`)
	d.tell("nack", d.next("limit=3").Token)
	d.next("")
	r := d.get("/metrics")
	for _, want := range []string{
		`tempestd_consumer_lag_entries{consumer="c",stream="bluesky"} 10`,
		`tempestd_consumer_lag_seconds{consumer="c",stream="bluesky"} 0.009`,
		`tempestd_consumer_leased{consumer="c",stream="bluesky"} 1`,
		`tempestd_consumer_redeliveries_total{consumer="c",stream="bluesky"} 1`,
	} {
		if !strings.Contains(r.body, want+"\n") {
			t.Errorf("%s is missing", want)
		}
	}
	d.send("DELETE", consumerAt(), "")
	if r = d.get("/metrics"); strings.Contains(r.body, `consumer="c"`) {
		t.Error("the metrics of a consumer that was deleted stay")
	}
}

func TestWhatChangesAConsumerIsGuarded(t *testing.T) {
	store := openStore(t)
	openStream(t, store, "bluesky", numbered(0, 3)...)
	open := start(t, store)
	open.made(`{"after":"0-0"}`)
	guarded := start(t, store, func(o *serve.Options) { o.Token = "hunter2" })
	for _, c := range []struct{ method, path, body string }{
		{"PUT", consumerAt(), `{"after":"0-0"}`}, {"DELETE", consumerAt(), ""}, {"GET", consumerAt("next"), ""}, {"POST", consumerAt("ack"), `{"token":"x"}`},
		{"POST", consumerAt("nack"), `{"token":"x"}`}, {"POST", consumerAt("extend"), `{"token":"x"}`}, {"POST", consumerAt("seek"), `{"after":"now"}`},
	} {
		guarded.want(guarded.send(c.method, c.path, c.body), http.StatusUnauthorized, "Unauthorized")
		open.want(open.send(c.method, c.path, c.body, "Sec-Fetch-Site", "cross-site"), http.StatusForbidden, "Forbidden")
		open.want(open.send(c.method, c.path, c.body, "Origin", "http://evil.example"), http.StatusForbidden, "Forbidden")
	}
	if s := open.told(); s.Acked.Compare(persistence.EntryID{}) != 0 || s.Deliveries != 0 {
		t.Errorf("something was changed: %+v", s)
	}
	// A HEAD does not lease a batch.
	if r := open.do("HEAD", consumerAt("next")); r.status != http.StatusMethodNotAllowed || r.header.Get("Allow") != "GET" {
		t.Errorf("HEAD: %d, Allow %q", r.status, r.header.Get("Allow"))
	}
}

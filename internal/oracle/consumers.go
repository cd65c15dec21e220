package oracle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"tempestd/internal/serve/api"
	"tempestd/persistence"
)

// consumer is a named consumer with two workers. They acknowledge batches, return them, extend their
// leases, and let them lapse. Batches that were not acknowledged are delivered again. What was
// acknowledged is what the consumer has seen: every entry.
type consumer struct {
	*reader
	id      string
	world   *world
	workers sync.WaitGroup

	mu sync.Mutex
	// acked are the entries of the batches whose acknowledgement was answered. The value says that
	// the answer was that the position has moved.
	acked map[persistence.EntryID]bool
	// setBack says that the position may be older than what was answered: a process with a store of
	// its own was killed, and the copy of the state beside the streams was older.
	setBack bool
}

func (w *world) newConsumer(i int) *consumer {
	ctx, cancel := context.WithCancel(context.Background())
	c := &consumer{reader: &reader{name: fmt.Sprintf("consumer %d", i), cancel: cancel, done: make(chan struct{})}, id: fmt.Sprintf("c%d", i), world: w, acked: map[persistence.EntryID]bool{}}
	for worker := range 2 {
		c.workers.Go(func() { c.work(ctx, worker) })
	}
	go func() { c.workers.Wait(); close(c.done) }()
	return c
}

// work takes and acknowledges batches until the context ends.
func (c *consumer) work(ctx context.Context, worker int) {
	client := c.world.client(c)
	defer client.CloseIdleConnections()
	rnd := rand.New(rand.NewPCG(c.world.seed, 2000+uint64(worker)))
	for n := worker; ctx.Err() == nil && c.world.gate.pass(ctx); n++ {
		url := fmt.Sprintf("%s/v1/streams/%s/consumers/%s", c.world.baseURL(n), feedName, c.id)
		if err := c.batch(ctx, client, url, worker, rnd); err != nil {
			rest(ctx, 500*time.Millisecond)
		}
	}
}

// call makes a request and decodes the answer.
func call(ctx context.Context, client *http.Client, method, url string, body, answer any) error {
	resp, err := request(ctx, client, method, url, body, "Content-Type", "application/json")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return json.NewDecoder(resp.Body).Decode(answer)
}

// batch takes a batch and does something with it.
func (c *consumer) batch(ctx context.Context, client *http.Client, url string, worker int, rnd *rand.Rand) error {
	lease := between(rnd, time.Second, 20*time.Second)
	var b framesPage
	err := call(ctx, client, http.MethodGet, fmt.Sprintf("%s/next?limit=%d&block_ms=%d&lease_ms=%d", url, 1+rnd.IntN(50), rnd.IntN(10000), lease.Milliseconds()), nil, &b)
	if err != nil {
		return c.refused(ctx, client, url, worker, err)
	}
	if b.Token == "" {
		return nil
	}
	c.taken(&b)
	todo := rnd.IntN(8)
	if c.world.healed.Load() {
		todo = 7
	}
	switch todo {
	case 0: // the lease lapses
		rest(ctx, lease)
		return nil
	case 1:
		return call(ctx, client, http.MethodPost, url+"/nack", map[string]any{"token": b.Token, "delay_ms": rnd.IntN(3000)}, &struct{}{})
	case 2: // late: another worker may have the batch
		rest(ctx, lease+between(rnd, 0, time.Second))
	case 3:
		rest(ctx, lease/2)
		if err := call(ctx, client, http.MethodPost, url+"/extend", map[string]any{"token": b.Token, "lease_ms": 10000}, &struct{}{}); err != nil {
			return err
		}
		rest(ctx, lease/2)
	}
	return c.ack(ctx, client, url, &b, rnd)
}

// refused makes a consumer that does not exist, and moves one that retention has overtaken. One worker
// alone moves it: another one could move it back.
func (c *consumer) refused(ctx context.Context, client *http.Client, url string, worker int, err error) error {
	refused, ok := errors.AsType[*refusal](err)
	switch {
	case !ok:
		return err
	case refused.body.Error == api.NameNoSuchConsumer:
		return c.make(ctx, client, url)
	case refused.body.Error == api.NameCursorExpired && worker > 0:
		return err
	case refused.body.Error == api.NameCursorExpired:
		c.dropped(refused.body.OldestCursor)
		return call(ctx, client, http.MethodPost, url+"/seek", map[string]string{"after": refused.body.OldestCursor.String()}, &struct{}{})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.heed(err)
}

// dropped keeps that retention has dropped the entries up to one.
func (c *consumer) dropped(to persistence.EntryID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.way.silent = true // the judge looks whether more is missing than what was dropped
	if to.Compare(c.after) > 0 {
		c.after = to
	}
}

// make creates the consumer. One that was there before must still be there, unless the state is that
// of an older copy.
func (c *consumer) make(ctx context.Context, client *http.Client, url string) error {
	c.mu.Lock()
	if !c.setBack && !c.after.IsZero() {
		c.fail("it was at %s, and does not exist", c.after)
	}
	c.mu.Unlock()
	var status struct{ Acked persistence.EntryID }
	err := call(ctx, client, http.MethodPut, url, map[string]string{"after": "0-0"}, &status)
	if err == nil && !status.Acked.IsZero() { // it begins after what was dropped
		c.dropped(status.Acked)
	}
	return err
}

// taken checks a batch.
func (c *consumer) taken(b *framesPage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range b.Frames {
		id := b.Frames[i].ID
		if i > 0 && id.Compare(b.Frames[i-1].ID) <= 0 {
			c.fail("entry %s comes after %s in a batch", id, b.Frames[i-1].ID)
		}
		if id.Compare(c.after) <= 0 && !c.setBack {
			c.fail("entry %s is delivered, and %s is acknowledged", id, c.after)
		}
	}
}

// ack acknowledges a batch, until there is an answer.
func (c *consumer) ack(ctx context.Context, client *http.Client, url string, b *framesPage, rnd *rand.Rand) error {
	for tries := 0; tries < 3; tries++ {
		var answer struct {
			Acked persistence.EntryID
			Moved bool
		}
		err := call(ctx, client, http.MethodPost, url+"/ack", map[string]string{"token": b.Token}, &answer)
		refused, answered := errors.AsType[*refusal](err)
		switch {
		case err == nil:
			c.acknowledged(b, answer.Moved)
			if rnd.IntN(4) > 0 {
				return nil
			}
			continue // once more, without harm
		case answered && refused.body.Error == api.NameLeaseLost, answered && refused.body.Error == api.NameNoSuchConsumer:
			return nil
		case answered:
			c.mu.Lock()
			err = c.heed(err)
			c.mu.Unlock()
		}
		if ctx.Err() != nil {
			return err
		}
		rest(ctx, 300*time.Millisecond)
	}
	return nil
}

// acknowledged keeps a batch that was acknowledged.
func (c *consumer) acknowledged(b *framesPage, moved bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range b.Frames {
		before, known := c.acked[f.ID]
		if before && moved && !c.setBack {
			c.fail("entry %s is acknowledged twice as new", f.ID)
		}
		if !known {
			c.seen = append(c.seen, sight{id: f.ID, event: append([]byte(nil), f.Event...)})
		}
		c.acked[f.ID] = before || moved
		if f.ID.Compare(c.after) > 0 {
			c.after = f.ID
		}
	}
}

// killed notes that a process was killed.
func (c *consumer) killed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.setBack = true
}

// consumed says whether the consumers have acknowledged everything.
func (w *world) consumed() bool {
	all := w.all()
	for _, c := range w.consumers {
		c.mu.Lock()
		after := c.after
		c.mu.Unlock()
		if len(all) > 0 && after != all[len(all)-1].ID {
			return false
		}
	}
	return true
}

// ordered returns the reader with what was acknowledged in the order of the stream: an answer to a
// worker may arrive later than one to the other worker about what comes next.
func (c *consumer) ordered() *reader {
	slices.SortFunc(c.seen, func(a, b sight) int { return a.id.Compare(b.id) })
	return c.reader
}

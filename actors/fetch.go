package actors

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/jonboulle/clockwork"

	"tempestd/internal/backfill"
	"tempestd/internal/backfill/held"
	"tempestd/messages"
)

// fetch is one fetch of a gap, from the question to the writer until the writer has stored
// everything.
type fetch struct {
	id    uint64
	row   messages.GapRow // when it began
	began time.Time
	task  *Task // nil before the writer is ready
	over  bool  // the source has returned, or was cancelled

	interrupted bool
	result      backfill.Result
	err         error

	batches atomic.Uint64
	bytes   atomic.Int64 // downloaded
	planned atomic.Int64
}

// end cancels and awaits the source.
func (f *fetch) end() {
	f.over = true
	if f.task != nil {
		f.task.End(errInterrupted)
		f.task = nil
	}
}

// errInterrupted is the cause with which a fetch is interrupted.
var errInterrupted = errors.New("the fetch is interrupted")

// fetchEnded is a source's message to its actor that it has handed over what it has.
type fetchEnded struct {
	id     uint64
	result backfill.Result
	err    error
}

// sourceTold is a source's message to its actor that it knows how much there is to download, that it
// waits by itself, or, with the zero time, that it goes on.
type sourceTold struct {
	id    uint64
	until time.Time
	why   string
}

// courier takes a source's batches to the writer, one at a time. It runs in the fetch's task.
type courier struct {
	fetch *fetch
	cfg   *ConnectionConfig
	send  func(*actor.PID, any)
	self  *actor.PID
	pace  int       // events a second, 0 for no bound
	due   time.Time // when the next batch may be handed over
	back  chan *messages.Batch
	told  struct { // what the actor knows
		sync.Mutex
		until   time.Time
		planned int64
	}
}

// startFetch runs the source of a fetch in a task.
func (r *repairs) startFetch(ctx actor.Context, f *fetch) {
	policy := r.cfg.Policy
	c := &courier{fetch: f, cfg: &r.of.cfg, send: ctx.ActorSystem().Root.Send, self: ctx.Self(), pace: policy.Pace,
		due: r.of.cfg.Clock.Now(), back: make(chan *messages.Batch, 1)}
	o := backfill.Order{Row: f.row, Filter: r.filter, Raw: r.cfg.Raw, Failures: r.failures[f.row.ID], Tell: c.tell,
		Held: held.New(r.cfg.Stream, f.row, r.filter)}
	if policy.Budget > 0 {
		o.Budget = max(policy.Budget-f.row.Bytes, 1)
	}
	source := r.cfg.Sources[f.row.Source]
	f.task = r.of.NewTask(ctx)
	f.task.Start("backfill.source", func(ctx context.Context) any {
		result, err := source.Fetch(ctx, o, c.deliver)
		return &fetchEnded{f.id, result, err}
	})
}

// deliver implements the Deliver of a source. It returns when the writer has stored the batch, so that only
// one is under way.
func (c *courier) deliver(ctx context.Context, b *messages.Batch, at json.RawMessage) (*messages.Batch, error) {
	c.cfg.Fault.At("backfill.deliver")
	if err := c.keepPace(ctx, len(b.Events)); err != nil {
		return nil, err
	}
	f := c.fetch
	b.Number = f.batches.Add(1)
	c.send(c.cfg.Writer, &messages.AppendFetched{ID: f.id, Batch: b, At: at, Bytes: f.bytes.Load(), Planned: f.planned.Load(), Release: c.back})
	select {
	case next := <-c.back:
		return next, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// keepPace waits until n more events may be appended.
func (c *courier) keepPace(ctx context.Context, n int) error {
	if c.pace <= 0 {
		return ctx.Err()
	}
	now := c.cfg.Clock.Now()
	if c.due.Before(now) {
		c.due = now
	}
	wait := c.due.Sub(now)
	c.due = c.due.Add(time.Duration(n) * time.Second / time.Duration(c.pace))
	return sleep(ctx, c.cfg.Clock, nil, wait)
}

// shortWait is how long a source may wait by itself without being shown as waiting: between two tries
// of a request it does so often.
const shortWait = 5 * time.Second

// tell implements Order.Tell.
func (c *courier) tell(p backfill.Progress) {
	c.fetch.bytes.Store(p.Bytes)
	c.fetch.planned.Store(p.Planned)
	if p.WaitUntil.Sub(c.cfg.Clock.Now()) < shortWait {
		p.WaitUntil, p.Why = time.Time{}, ""
	}
	c.told.Lock()
	defer c.told.Unlock()
	if !p.WaitUntil.Equal(c.told.until) || p.Planned != c.told.planned {
		c.told.until, c.told.planned = p.WaitUntil, p.Planned
		c.send(c.self, &sourceTold{c.fetch.id, p.WaitUntil, p.Why})
	}
}

// priced is a task's message to its actor that a dry run is answered.
type priced struct{ task *Task }

// priceTimeout bounds a dry run.
const priceTimeout = 20 * time.Second

// price answers a dry run: what each source would cost.
func (r *repairs) price(ctx actor.Context, row messages.GapRow) {
	who, send, clock := ctx.Sender(), ctx.ActorSystem().Root.Send, r.of.cfg.Clock
	o := backfill.Order{Row: row, Filter: r.filter, Raw: r.cfg.Raw, Tell: func(backfill.Progress) {}}
	o.Row.Progress, o.Row.RestFromUS, o.Row.RestToUS = nil, 0, 0 // a repair begins anew
	policy, sources := r.cfg.Policy, r.cfg.Sources
	task := r.of.NewTask(ctx)
	task.Start("backfill.price", func(ctx context.Context) any {
		ctx, cancel := clockwork.WithTimeout(ctx, clock, priceTimeout)
		defer cancel()
		answer := &messages.GapAnswer{Row: row}
		for _, name := range policy.Sources {
			p, err := sources[name].Price(ctx, o)
			offer := messages.GapOffer{Source: name, Bytes: p.Bytes, Requests: p.Requests, Events: p.Events}
			if err != nil {
				offer.Why = err.Error()
			} else if policy.Budget > 0 && p.Bytes > policy.Budget {
				offer.Why = "it is more than repair_budget"
			}
			answer.Offers = append(answer.Offers, offer)
		}
		send(who, answer)
		return &priced{task}
	})
}

package actors

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// NewBackfill makes the props of the actor that fetches missed events while the live connection runs:
// the short spans that its parent, the feed, tells it to fetch on a connection of its own, and the
// gaps of the ledger. The writer gets the batches.
func NewBackfill(cfg ConnectionConfig, repair RepairConfig) *actor.Props {
	return Guarded(cfg.Feed, cfg.Observer, cfg.Fault, func() actor.Actor {
		b := &backfiller{cfg: cfg}
		b.repairs = newRepairs(b, repair)
		return b
	})
}

type backfiller struct {
	Tasks
	cfg     ConnectionConfig
	task    *Task // the newest backfill, nil before the first
	repairs *repairs
}

// backfillOver is a backfill's message to its actor that it has handed over everything.
type backfillOver struct{ task *Task }

// Receive implements actor.Actor.
func (b *backfiller) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *StartBackfill:
		b.stop()
		b.start(ctx, m)
		b.repairs.interrupt(ctx) // a span is short, and soon beyond reach
	case *messages.StopBackfill:
		b.stop()
		b.repairs.next(ctx)
	case *backfillOver:
		if m.task == b.task {
			b.stop()
			b.repairs.next(ctx)
		}
	case *messages.HealthCheck:
		ctx.Respond(&HealthReply{ID: m.ID, From: ctx.Self()})
	default:
		b.repairs.receive(ctx)
	}
}

func (b *backfiller) start(ctx actor.Context, m *StartBackfill) {
	task := b.NewTask(ctx)
	b.task = task
	f := &fetcher{cfg: b.cfg, order: m, task: task, send: ctx.ActorSystem().Root.Send, pool: make(Pool, backfillCredits)}
	f.pool.refill()
	task.Start("backfill.fetch", func(ctx context.Context) any { f.run(ctx); return &backfillOver{task} })
}

func (b *backfiller) stop() {
	if b.task != nil {
		b.task.End(errActorStops)
		b.task = nil
	}
}

const (
	// backfillCredits is how many batches a backfill has. Few are enough, because a backfill may be
	// slow.
	backfillCredits = 2
	// The bounds of a backfill's batches.
	backfillEvents = 1024
	backfillBytes  = 1 << 20
	// backfillIdle is the silence after which a backfill has received everything: no frame came for
	// so long.
	backfillIdle = 3 * time.Second
)

// fetcher fetches one backfill. It runs as a task, and is the sink of its connection.
type fetcher struct {
	cfg    ConnectionConfig
	order  *StartBackfill
	task   *Task
	send   func(*actor.PID, any)
	pool   Pool
	ctx    context.Context
	number uint64
}

// errFetched is the cause with which a finished backfill cancels its connection.
var errFetched = errors.New("everything was fetched")

func (f *fetcher) run(ctx context.Context) {
	f.ctx = ctx
	f.send(f.cfg.Writer, &messages.BeginBackfill{ID: f.order.ID, FromUS: f.order.FromUS, ToUS: f.order.ToUS})
	err := f.fetch(ctx)
	if context.Cause(ctx) == errFetched {
		err = nil
	}
	f.send(f.cfg.Writer, &messages.EndBackfill{ID: f.order.ID, Batches: f.number, Err: err})
}

func (f *fetcher) fetch(ctx context.Context) error {
	up, err := f.cfg.dial(ctx, f.order.Request)
	if err != nil {
		return err
	}
	defer f.task.Cancel(errOver)
	f.task.EndsWith(up.CloseNow)
	f.task.Start("backfill.close", func(ctx context.Context) any { <-ctx.Done(); up.CloseNow(); return nil })
	f.task.Start("backfill.watch", func(ctx context.Context) any { f.watch(ctx, up); return nil })
	rest, err := up.Run(<-f.pool, f, jetstream.Limits{Events: backfillEvents, Bytes: backfillBytes, Delay: f.cfg.Limits.Delay})
	if rest != nil {
		f.hand(rest)
	}
	return fmt.Errorf("fetch what is missing: %w", err)
}

// watch cancels the connection when the upstream has sent everything up to the end of the wanted
// range, or has been silent for backfillIdle.
func (f *fetcher) watch(ctx context.Context, up Upstream) {
	began := f.cfg.Clock.Now()
	every(ctx, f.cfg.Clock, time.Second, func() {
		f.cfg.Fault.At("backfill.watch")
		a, now := up.Activity(), f.cfg.Clock.Now()
		if a.Blocked {
			began = now // the silence after it is not the upstream's
		}
		last := a.LastFrame
		if last.Before(began) {
			last = began
		}
		present := f.order.present(now)
		if a.LatestUS > f.order.ToUS && (present == 0 || a.LatestUS <= present) || now.Sub(last) >= backfillIdle {
			f.task.Cancel(errFetched)
		}
	})
}

// TryHand implements jetstream.Sink.
func (f *fetcher) TryHand(b *messages.Batch) (*messages.Batch, bool) {
	select {
	case next := <-f.pool:
		f.hand(b)
		return next, true
	default:
		return b, false
	}
}

// Hand implements jetstream.Sink.
func (f *fetcher) Hand(b *messages.Batch) *messages.Batch {
	f.hand(b)
	select {
	case next := <-f.pool:
		return next
	case <-f.ctx.Done():
		return nil
	}
}

// hand sends a batch to the writer. The writer knows which of its events were asked for.
func (f *fetcher) hand(b *messages.Batch) {
	f.cfg.Fault.At("backfill.fetch")
	f.number++
	b.Number = f.number
	b.PresentUS = f.order.present(f.cfg.Clock.Now())
	f.send(f.cfg.Writer, &messages.AppendBackfill{ID: f.order.ID, Batch: b, Release: f.pool})
}

// Bad implements jetstream.Sink. It does nothing: the live connection reports bad frames.
func (f *fetcher) Bad([]byte, error) {}

// First implements jetstream.Sink. It does nothing: the first event proves nothing here, because
// the writer takes every event within the range of the backfill.
func (f *fetcher) First(messages.Event) {}

// Info implements jetstream.Sink. It does nothing.
func (f *fetcher) Info(string, string) {}

// backfillState is the committer's part in a backfill.
type backfillState struct {
	id    uint64
	next  uint64 // the batch number that comes next
	found int
	known int   // events in the wanted range that the stream held
	endUS int64 // how far the backfill has come, Unix µs

	fromUS, toUS int64
}

// narrow drops the events outside of the range that was asked for: if the stream lacks them, the
// live connection brings them. It says whether it dropped any. These events are compared with the
// stream before, because only the comparison shows what is from before the stream's first entry.
func (s *backfillState) narrow(b *messages.Batch) (dropped bool) {
	for i := range b.Events {
		e := &b.Events[i]
		switch outside := e.TimeUS < s.fromUS || e.TimeUS > s.toUS; {
		case outside && !e.Drop:
			e.Drop, dropped = true, true
		case !outside && e.Drop:
			s.known++
		}
	}
	return dropped
}

// errWriterRestarted ends a backfill whose earlier batches went to another incarnation of the
// writer.
var errWriterRestarted = errors.New("the writer was restarted meanwhile")

// beginBackfill loads the identity index. The stream may hold events that the backfill brings, and
// the backfill may bring events before the live connection does.
func (c *committer) beginBackfill(ctx context.Context, m *messages.BeginBackfill) error {
	c.backfill = backfillState{id: m.ID, next: 1, fromUS: m.FromUS, toUS: m.ToUS}
	// A proof that the live connection still owes stays required.
	_, err := c.loadIndex(ctx, false, c.epoch.needsHeld())
	c.dedupe.ExpectEarly()
	return err
}

// appendBackfill appends the events that the stream lacks. The position stays, because it belongs
// to the live connection.
func (c *committer) appendBackfill(ctx context.Context, m *messages.AppendBackfill) error {
	if m.ID != c.backfill.id || m.Batch.Number != c.backfill.next {
		return nil
	}
	c.backfill.next++
	end := c.backfill.endUS
	if t := m.Batch.TimeUS; m.Batch.PresentUS == 0 || t <= m.Batch.PresentUS {
		end = max(end, t)
	}
	c.boundTimes(m.Batch)
	marked, err := c.mark(ctx, m.Batch)
	if err == nil && c.backfill.narrow(m.Batch) {
		dups := marked.Duplicates
		marked, err = c.mark(ctx, m.Batch) // takes back the marks of the dropped events
		marked.Duplicates += dups
	}
	if err != nil {
		return err
	}
	for i := range m.Batch.Events {
		if !m.Batch.Events[i].Drop {
			c.backfill.found++
		}
	}
	if err := c.storeMarked(ctx, m.Batch, marked, false); err != nil {
		return err
	}
	c.backfill.endUS = end
	return nil
}

func (c *committer) endBackfill(m *messages.EndBackfill) {
	done := &messages.BackfillDone{ID: m.ID, Found: c.backfill.found, Known: c.backfill.known, Err: m.Err}
	if done.Err == nil && (m.ID != c.backfill.id || m.Batches != c.backfill.next-1) {
		done.Err = errWriterRestarted
	}
	if m.ID == c.backfill.id {
		done.EndUS = c.backfill.endUS
	}
	c.backfill = backfillState{}
	c.feed(done)
}

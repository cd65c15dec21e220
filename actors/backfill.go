package actors

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/jonboulle/clockwork"

	"tempestd/internal/jetstream"
	"tempestd/messages"
)

// BackfillConfig is what a backfill needs. Its parent, the feed, tells it what to fetch; the writer gets the events.
type BackfillConfig struct {
	ConnectionConfig
}

// Backfill tells the backfill to fetch what an upstream sent between two of its times, and to append what the stream lacks of it. One is done at a
// time; the feed hears of its end by a messages.BackfillDone.
type Backfill struct {
	ID           uint64
	FromUS, ToUS int64 // Unix µs, inclusive; ToUS lies in the past
	Request      jetstream.Request
}

// NewBackfill makes the props of the actor that fetches, on a connection of its own, what the live one did not bring, while that one runs.
func NewBackfill(cfg BackfillConfig) *actor.Props {
	return Guarded(cfg.Feed, cfg.Observer, cfg.Fault, func() actor.Actor { return &backfill{cfg: cfg} })
}

type backfill struct {
	Beside
	cfg  BackfillConfig
	task *Task // the backfill that was told last, nil before the first
}

// Receive is the actor's.
func (f *backfill) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *Backfill:
		f.stop()
		f.task = f.Begin(ctx)
		p := &repair{cfg: f.cfg, job: m, task: f.task, send: ctx.ActorSystem().Root.Send, pool: make(Pool, repairCredits)}
		for range repairCredits {
			p.pool <- &messages.Batch{}
		}
		f.task.Start("backfill.fetch", func(ctx context.Context) any { p.run(ctx); return nil })
	case *messages.StopBackfill:
		f.stop()
	case *messages.HealthCheck:
		ctx.Respond(&HealthReply{ID: m.ID, From: ctx.Self()})
	}
}

func (f *backfill) stop() {
	if f.task != nil {
		f.task.End(errActorStops)
		f.task = nil
	}
}

const (
	// repairCredits is how many batches a backfill has; it may take its time.
	repairCredits = 2
	repairEvents  = 1024
	// repairIdle is how long nothing must have come before a backfill counts as having been sent everything.
	repairIdle = 3 * time.Second
)

// repair is one backfill, as a task.
type repair struct {
	cfg    BackfillConfig
	job    *Backfill
	task   *Task
	send   func(*actor.PID, any)
	pool   Pool
	ctx    context.Context
	number uint64
}

// errRepaired is how a repair that is done ends its connection.
var errRepaired = errors.New("everything was fetched")

func (p *repair) run(ctx context.Context) {
	p.ctx = ctx
	p.send(p.cfg.Writer, &messages.BeginRepair{ID: p.job.ID, FromUS: p.job.FromUS, ToUS: p.job.ToUS})
	err := p.fetch(ctx)
	if context.Cause(ctx) == errRepaired {
		err = nil
	}
	p.send(p.cfg.Writer, &messages.EndRepair{ID: p.job.ID, Batches: p.number, Err: err})
}

func (p *repair) fetch(ctx context.Context) error {
	dialCtx, cancel := clockwork.WithTimeout(ctx, p.cfg.Clock, p.cfg.DialTimeout)
	up, err := p.cfg.Dial(dialCtx, p.job.Request)
	cancel()
	if err != nil {
		return err
	}
	defer p.task.Cancel(errOver)
	p.task.EndsWith(up.CloseNow)
	p.task.Start("backfill.close", func(ctx context.Context) any { <-ctx.Done(); up.CloseNow(); return nil })
	p.task.Start("backfill.watch", func(ctx context.Context) any { p.watch(ctx, up); return nil })
	rest, err := up.Run(<-p.pool, p, jetstream.Limits{Events: repairEvents, Bytes: int(keepSmall), Delay: p.cfg.Limits.Delay})
	if rest != nil {
		p.hand(rest)
	}
	return fmt.Errorf("fetch what is missing: %w", err)
}

// keepSmall bounds a backfill's batches in bytes.
const keepSmall = 1 << 20

// watch ends the connection once it has sent everything up to the end of what is wanted.
func (p *repair) watch(ctx context.Context, up Upstream) {
	tick := p.cfg.Clock.NewTicker(time.Second)
	defer tick.Stop()
	began := p.cfg.Clock.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.Chan():
		}
		p.cfg.Fault.At("backfill.watch")
		a, now := up.Activity(), p.cfg.Clock.Now()
		last := a.LastFrame
		if last.Before(began) {
			last = began
		}
		if a.NewestUS > p.job.ToUS || !a.Blocked && now.Sub(last) >= repairIdle {
			p.task.Cancel(errRepaired)
			return
		}
	}
}

// TryHand is jetstream.Sink's.
func (p *repair) TryHand(b *messages.Batch) (*messages.Batch, bool) {
	select {
	case next := <-p.pool:
		p.hand(b)
		return next, true
	default:
		return b, false
	}
}

// Hand is jetstream.Sink's.
func (p *repair) Hand(b *messages.Batch) *messages.Batch {
	p.hand(b)
	select {
	case next := <-p.pool:
		return next
	case <-p.ctx.Done():
		return nil
	}
}

// hand passes on what came; the writer knows what of it was asked for.
func (p *repair) hand(b *messages.Batch) {
	p.cfg.Fault.At("backfill.fetch")
	p.number++
	b.Number = p.number
	p.send(p.cfg.Writer, &messages.AppendRepair{ID: p.job.ID, Batch: b, Release: p.pool})
}

// Bad is jetstream.Sink's. The live connection tells of bad frames.
func (p *repair) Bad([]byte, error) {}

// First is jetstream.Sink's. Whatever comes first, what lies within the repair is taken.
func (p *repair) First(messages.Event) {}

// Info is jetstream.Sink's.
func (p *repair) Info(string, string) {}

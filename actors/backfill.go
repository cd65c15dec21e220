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

// BackfillConfig is what a backfill needs. Its parent, the feed, tells it what to fetch. The writer
// gets the batches.
type BackfillConfig struct {
	ConnectionConfig
}

// NewBackfill makes the props of the actor that fetches missed events on a connection of its own,
// while the live connection runs.
func NewBackfill(cfg BackfillConfig) *actor.Props {
	return Guarded(cfg.Feed, cfg.Observer, cfg.Fault, func() actor.Actor { return &backfill{cfg: cfg} })
}

type backfill struct {
	Beside
	cfg  BackfillConfig
	task *Task // the newest backfill, nil before the first
}

// Receive implements actor.Actor.
func (f *backfill) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *StartBackfill:
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
	// repairCredits is how many batches a backfill has. Few are enough, because a backfill may be
	// slow.
	repairCredits = 2
	repairEvents  = 1024
	// repairIdle is the silence after which a backfill has received everything: no frame came for
	// so long.
	repairIdle = 3 * time.Second
)

// repair is one backfill. It runs as a task.
type repair struct {
	cfg    BackfillConfig
	job    *StartBackfill
	task   *Task
	send   func(*actor.PID, any)
	pool   Pool
	ctx    context.Context
	number uint64
}

// errRepaired is the cause with which a finished repair cancels its connection.
var errRepaired = errors.New("everything was fetched")

func (p *repair) run(ctx context.Context) {
	p.ctx = ctx
	p.send(p.cfg.Writer, &messages.BeginBackfill{ID: p.job.ID, FromUS: p.job.FromUS, ToUS: p.job.ToUS})
	err := p.fetch(ctx)
	if context.Cause(ctx) == errRepaired {
		err = nil
	}
	p.send(p.cfg.Writer, &messages.EndBackfill{ID: p.job.ID, Batches: p.number, Err: err})
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

// keepSmall is the bound of a backfill's batches in bytes.
const keepSmall = 1 << 20

// watch cancels the connection when the upstream has sent everything up to the end of the wanted
// range, or has been silent for repairIdle.
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

// TryHand implements jetstream.Sink.
func (p *repair) TryHand(b *messages.Batch) (*messages.Batch, bool) {
	select {
	case next := <-p.pool:
		p.hand(b)
		return next, true
	default:
		return b, false
	}
}

// Hand implements jetstream.Sink.
func (p *repair) Hand(b *messages.Batch) *messages.Batch {
	p.hand(b)
	select {
	case next := <-p.pool:
		return next
	case <-p.ctx.Done():
		return nil
	}
}

// hand sends a batch to the writer. The writer knows which of its events were asked for.
func (p *repair) hand(b *messages.Batch) {
	p.cfg.Fault.At("backfill.fetch")
	p.number++
	b.Number = p.number
	p.send(p.cfg.Writer, &messages.AppendBackfill{ID: p.job.ID, Batch: b, Release: p.pool})
}

// Bad implements jetstream.Sink. It does nothing: the live connection reports bad frames.
func (p *repair) Bad([]byte, error) {}

// First implements jetstream.Sink. It does nothing: the first event proves nothing here, because
// the writer takes every event within the range of the repair.
func (p *repair) First(messages.Event) {}

// Info implements jetstream.Sink. It does nothing.
func (p *repair) Info(string, string) {}

package actors

import (
	"context"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/jonboulle/clockwork"

	"tempestd/internal/dedupe"
	"tempestd/internal/observe"
	"tempestd/messages"
	"tempestd/persistence"
)

// WriterConfig is what a writer needs. The writer reports every commit to Cursor and to its parent,
// the feed.
type WriterConfig struct {
	Feed     string
	Stream   persistence.Stream
	Dedupe   dedupe.Options
	Cursor   *actor.PID
	Clock    clockwork.Clock
	Observer *observe.Observer
	Fault    Fault
}

// NewWriter makes the props of the actor that appends to a feed's stream. No other actor appends to
// it (I6).
func NewWriter(cfg WriterConfig) *actor.Props {
	return Guarded(cfg.Feed, cfg.Observer, cfg.Fault, func() actor.Actor { return &writer{cfg: cfg, jobs: newJobs()} })
}

// writer passes its messages, in order, to the committer's goroutine. It fails when the committer
// fails.
type writer struct {
	Tasks
	cfg  WriterConfig
	jobs *jobs
	task *Task // the committer
}

// committerFailed is the committer's message to its actor that it failed.
type committerFailed struct{ err error }

// Receive implements actor.Actor.
func (w *writer) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		w.start(ctx)
	case *actor.Restarting, *actor.Stopping:
		w.stop()
	case *messages.Quiesce, *BeginEpoch, *messages.EpochOpened, *messages.Proven, *messages.SuspectGap, *messages.AppendBatch, *messages.Drain,
		*messages.BeginBackfill, *messages.AppendBackfill, *messages.EndBackfill, *messages.RecordGap, *messages.FilterChanged,
		*messages.BeginFetch, *messages.AppendFetched, *messages.EndFetch, *messages.ChangeGap, *messages.LedgerQuery:
		w.jobs.add(m)
	case *messages.HealthCheck:
		ctx.Respond(&HealthReply{ID: m.ID, From: ctx.Self()})
	case *committerFailed:
		w.stop()
		panic(m.err)
	}
}

func (w *writer) start(ctx actor.Context) {
	root, feed := ctx.ActorSystem().Root, ctx.Parent()
	opt := w.cfg.Dedupe
	opt.Ahead = w.jobs.aheadFor(w.cfg.Clock)
	c := &committer{
		cfg:    w.cfg,
		jobs:   w.jobs,
		dedupe: dedupe.New(w.cfg.Stream, opt),
		bare:   dedupe.NewBare(w.cfg.Stream, w.cfg.Dedupe.Horizon),
		feed:   func(m any) { root.Send(feed, m) },
		cursor: func(m any) { root.Send(w.cfg.Cursor, m) },
	}
	w.task = w.NewTask(ctx)
	c.beside = w.task.Start
	w.task.Start("writer.commit", func(ctx context.Context) any {
		if err := c.run(ctx); err != nil && ctx.Err() == nil {
			return &committerFailed{err}
		}
		return nil
	})
}

// stop cancels the committer and waits for it. An append that is under way is awaited, because it
// ends by itself. Waiting batches go back to the pool without being stored: the position did not
// move, so their events are read again from there.
func (w *writer) stop() {
	if w.task != nil {
		w.task.End(errActorStops)
		w.task = nil
	}
	w.jobs.clear()
}

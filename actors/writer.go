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

// WriterConfig is what a writer needs. Cursor is where it sends what it committed; its parent, the feed, is told as well.
type WriterConfig struct {
	Feed     string
	Stream   persistence.Stream
	Dedupe   dedupe.Options
	Cursor   *actor.PID
	Clock    clockwork.Clock
	Observer *observe.Observer
	Fault    Fault
}

// NewWriter makes the props of the one actor that appends to a feed's stream (I6).
func NewWriter(cfg WriterConfig) *actor.Props {
	return Guarded(cfg.Feed, cfg.Observer, cfg.Fault, func() actor.Actor { return &writer{cfg: cfg, jobs: newJobs()} })
}

// writer passes its messages, in order, to the committer's goroutine, and fails when that does.
type writer struct {
	Beside
	cfg  WriterConfig
	jobs *jobs
	task *Task // the committer
}

// committerFailed is how the committer's goroutine tells its actor.
type committerFailed struct{ err error }

// Receive is the actor's.
func (w *writer) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		w.start(ctx)
	case *actor.Restarting, *actor.Stopping:
		w.stop()
	case *messages.Quiesce, *messages.BeginEpoch, *messages.Opened, *messages.Proven, *messages.SuspectGap, *messages.AppendBatch, *messages.Drain,
		*messages.BeginRepair, *messages.AppendRepair, *messages.EndRepair, *messages.RecordGap, *messages.FilterChanged:
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
	c := &committer{
		cfg:    w.cfg,
		jobs:   w.jobs,
		dedupe: dedupe.New(w.cfg.Stream, w.cfg.Dedupe),
		feed:   func(m any) { root.Send(feed, m) },
		cursor: func(m any) { root.Send(w.cfg.Cursor, m) },
	}
	w.task = w.Begin(ctx)
	w.task.Start("writer.commit", func(ctx context.Context) any {
		if err := c.run(ctx); err != nil && ctx.Err() == nil {
			return &committerFailed{err}
		}
		return nil
	})
}

// stop cancels the committer and waits for it. An append that is being committed is awaited: it ends by
// itself. Batches that wait are given back unread; their events are read again from the position that did not move.
func (w *writer) stop() {
	if w.task != nil {
		w.task.End(errActorStops)
		w.task = nil
	}
	w.jobs.clear()
}

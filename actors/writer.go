package actors

import (
	"context"
	"fmt"
	"sync"

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
}

// NewWriter makes the props of the one actor that appends to a feed's stream (I6).
func NewWriter(cfg WriterConfig) *actor.Props {
	return Guarded(cfg.Feed, cfg.Observer, func() actor.Actor { return &writer{cfg: cfg} })
}

// writer passes its messages, in order, to the committer's goroutine, and fails when that does.
type writer struct {
	cfg    WriterConfig
	jobs   chan any
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// jobRoom is how many jobs may wait. The feed's credits bound the batches, and the feed asks one thing at a time.
const jobRoom = Credits + 16

// committerFailed is how the committer's goroutine tells its actor.
type committerFailed struct{ err error }

// Receive is the actor's.
func (w *writer) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		w.start(ctx)
	case *actor.Restarting, *actor.Stopping:
		w.stop()
	case *messages.Quiesce, *messages.BeginEpoch, *messages.EpochLive, *messages.SuspectGap, *messages.AppendBatch, *messages.Drain,
		*messages.BeginRepair, *messages.AppendRepair, *messages.EndRepair, *messages.RecordGap, *messages.FilterChanged:
		w.enqueue(m)
	case *messages.HealthCheck:
		ctx.Respond(&messages.HealthReply{ID: m.ID, From: ctx.Self()})
	case *committerFailed:
		w.stop()
		panic(m.err)
	}
}

func (w *writer) enqueue(job any) {
	select {
	case w.jobs <- job:
	default:
		panic(fmt.Errorf("writer: more than %d jobs are waiting", jobRoom))
	}
}

func (w *writer) start(ctx actor.Context) {
	run, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	w.jobs = make(chan any, jobRoom)
	root, self, feed := ctx.ActorSystem().Root, ctx.Self(), ctx.Parent()
	c := &committer{
		cfg:    w.cfg,
		dedupe: dedupe.New(w.cfg.Stream, w.cfg.Dedupe),
		feed:   func(m any) { root.Send(feed, m) },
		cursor: func(m any) { root.Send(w.cfg.Cursor, m) },
	}
	w.done.Go(func() {
		if err := c.run(run, w.jobs); err != nil && run.Err() == nil {
			root.Send(self, &committerFailed{err})
		}
	})
}

// stop cancels the committer and waits for it. An append that is being committed is awaited: it ends by
// itself. Batches that wait are given back unread; their events are read again from the position that did not move.
func (w *writer) stop() {
	if w.cancel != nil {
		w.cancel()
		w.done.Wait()
		w.cancel = nil
	}
	for {
		select {
		case job := <-w.jobs:
			switch m := job.(type) {
			case *messages.AppendBatch:
				release(m.Batch, m.Release)
			case *messages.AppendRepair:
				release(m.Batch, m.Release)
			}
		default:
			return
		}
	}
}

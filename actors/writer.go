package actors

import (
	"context"
	"math"
	"slices"
	"sync"

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
	c := &committer{
		cfg:    w.cfg,
		jobs:   w.jobs,
		dedupe: dedupe.New(w.cfg.Stream, w.cfg.Dedupe),
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

// jobs is the writer's queue: the jobs that its committer has not begun, in order.
//
// The protocol bounds the queue. Credits bound the batches. The feed begins an epoch only when the
// writer has finished the last one, so there is at most one of each step of an epoch. A request
// that may be repeated while the store takes nothing replaces the waiting one of its kind.
type jobs struct {
	mu      sync.Mutex
	waiting []any
	more    chan struct{} // holds one element when there may be a job
	// draining is closed by a Drain: what the store takes is stored, and the feed does not wait for
	// a store that takes nothing.
	draining chan struct{}
	drained  bool // draining is closed
}

func newJobs() *jobs {
	return &jobs{more: make(chan struct{}, 1), draining: make(chan struct{})}
}

// add adds a job.
func (q *jobs) add(job any) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch m := job.(type) {
	case *messages.Quiesce:
		q.drop(func(w any) bool { _, same := w.(*messages.Quiesce); return same })
	case *messages.Drain:
		q.drop(func(w any) bool { _, same := w.(*messages.Drain); return same })
		if !q.drained {
			q.drained = true
			close(q.draining)
		}
	case *messages.FilterChanged:
		// Each batch was read with one filter. Of several changes between two batches the last one
		// counts.
		if n := len(q.waiting); n > 0 {
			if _, same := q.waiting[n-1].(*messages.FilterChanged); same {
				q.waiting = q.waiting[:n-1]
			}
		}
	case *messages.RecordGap:
		q.drop(func(w any) bool { g, same := w.(*messages.RecordGap); return same && g.Gap == m.Gap })
	case *messages.BeginFetch:
		q.drop(func(w any) bool { return ofFetch(w, m.ID) })
	case *messages.LedgerQuery:
		q.drop(func(w any) bool { _, same := w.(*messages.LedgerQuery); return same })
	case *messages.BeginBackfill:
		q.drop(func(w any) bool { return ofBackfill(w, m.ID) })
	}
	q.waiting = append(q.waiting, job)
	select {
	case q.more <- struct{}{}:
	default:
	}
}

// ofBackfill says whether the job belongs to an earlier backfill than id. The feed begins a
// backfill only when it no longer waits for the earlier one.
func ofBackfill(job any, id uint64) bool {
	switch m := job.(type) {
	case *messages.BeginBackfill:
		return m.ID < id
	case *messages.AppendBackfill:
		return m.ID < id
	case *messages.EndBackfill:
		return m.ID < id
	}
	return false
}

// ofFetch says whether the job belongs to an earlier fetch than id.
func ofFetch(job any, id uint64) bool {
	switch m := job.(type) {
	case *messages.BeginFetch:
		return m.ID < id
	case *messages.AppendFetched:
		return m.ID < id
	case *messages.EndFetch:
		return m.ID < id
	}
	return false
}

// drop removes the waiting jobs that the function selects, and returns their batches to the pools.
// The caller holds q.mu.
func (q *jobs) drop(which func(job any) bool) {
	q.waiting = slices.DeleteFunc(q.waiting, func(job any) bool {
		if !which(job) {
			return false
		}
		giveBack(job)
		return true
	})
}

// giveBack returns the batch of a job that will not be done. The position did not move, so the
// batch's events are read again from there.
func giveBack(job any) {
	switch m := job.(type) {
	case *messages.AppendBatch:
		release(m.Batch, m.Release)
	case *messages.AppendBackfill:
		release(m.Batch, m.Release)
	case *messages.AppendFetched:
		release(m.Batch, m.Release)
	}
}

// next waits for a job and takes the first one. ok is false when ctx has ended.
func (q *jobs) next(ctx context.Context) (job any, ok bool) {
	for ctx.Err() == nil {
		if job, ok = q.take(); ok {
			return job, true
		}
		select {
		case <-q.more:
		case <-ctx.Done():
		}
	}
	return nil, false
}

func (q *jobs) take() (job any, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		return nil, false
	}
	// The jobs of a fetch keep their order among themselves, and wait for all others.
	first := max(slices.IndexFunc(q.waiting, func(w any) bool { return !ofFetch(w, math.MaxUint64) }), 0)
	job = q.waiting[first]
	q.waiting = slices.Delete(q.waiting, first, first+1)
	return job, true
}

// clear removes all waiting jobs and returns their batches.
func (q *jobs) clear() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.drop(func(any) bool { return true })
}

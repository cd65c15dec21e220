package actors

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/messages"
)

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

// mostAhead is how long a batch waits for the ones that follow it.
const mostAhead = time.Second

// aheadFor returns a function for dedupe.Options.Ahead. It looks at the batches of the feed's
// connection that wait, and waits for more until mostAhead has passed, and while the connection
// lasts and the writer is not to drain. The batches stay in the queue.
func (q *jobs) aheadFor(clock clockwork.Clock) func(ctx context.Context, n int) *messages.Batch {
	return func(ctx context.Context, n int) *messages.Batch {
		enough := clock.NewTimer(mostAhead)
		defer enough.Stop()
		for {
			b, over := q.ahead(n)
			if b != nil || over {
				return b
			}
			select {
			case <-q.more:
			case <-q.draining:
				return nil
			case <-enough.Chan():
				return nil
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// ahead returns the n-th batch of the feed's connection that waits, nil for none. over says that no
// more of them come.
func (q *jobs) ahead(n int) (b *messages.Batch, over bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, job := range q.waiting {
		switch m := job.(type) {
		case *messages.AppendBatch:
			if n == 0 {
				return m.Batch, false
			}
			n--
		case *messages.Quiesce, *BeginEpoch, *messages.Drain:
			return nil, true
		}
	}
	return nil, false
}

// clear removes all waiting jobs and returns their batches.
func (q *jobs) clear() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.drop(func(any) bool { return true })
}

package actors

import (
	"context"
	"slices"
	"sync"

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
	// enough is closed by a Drain: what the store takes is stored, and the feed does not wait for a
	// store that takes nothing.
	enough chan struct{}
	over   bool // enough is closed
}

func newJobs() *jobs {
	return &jobs{more: make(chan struct{}, 1), enough: make(chan struct{})}
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
		if !q.over {
			q.over = true
			close(q.enough)
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
	case *messages.BeginBackfill:
		q.drop(func(w any) bool { return ofRepair(w, m.ID) })
	}
	q.waiting = append(q.waiting, job)
	select {
	case q.more <- struct{}{}:
	default:
	}
}

// ofRepair says whether the job belongs to an earlier repair than id. The feed begins a repair only
// when it no longer waits for the earlier one.
func ofRepair(job any, id uint64) bool {
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
	job = q.waiting[0]
	q.waiting = slices.Delete(q.waiting, 0, 1)
	return job, true
}

// clear removes all waiting jobs and returns their batches.
func (q *jobs) clear() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.drop(func(any) bool { return true })
}

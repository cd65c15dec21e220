package actors

import (
	"context"
	"slices"
	"sync"

	"tempestd/messages"
)

// jobs are what a writer was given and its committer has not begun, in order.
//
// The protocol bounds them. Credits bound the batches. The feed begins an epoch only when the writer has finished the last one, so that there is at most one of
// each step of an epoch. What may be wished for again and again while the store takes nothing collapses into the newest wish.
type jobs struct {
	mu      sync.Mutex
	waiting []any
	more    chan struct{} // holds one when there may be a job
	enough  chan struct{} // closed once the feed wants what can be stored stored, and not to wait for what cannot
	over    bool          // enough is closed
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
		// Between two batches the last filter counts; each batch was read with one.
		if n := len(q.waiting); n > 0 {
			if _, same := q.waiting[n-1].(*messages.FilterChanged); same {
				q.waiting = q.waiting[:n-1]
			}
		}
	case *messages.RecordGap:
		q.drop(func(w any) bool { g, same := w.(*messages.RecordGap); return same && g.Gap == m.Gap })
	case *messages.BeginRepair:
		q.drop(func(w any) bool { return ofRepair(w, m.ID) })
	}
	q.waiting = append(q.waiting, job)
	select {
	case q.more <- struct{}{}:
	default:
	}
}

// ofRepair says whether a job is of an earlier repair than id: a later one is only begun when nobody waits for that.
func ofRepair(job any, id uint64) bool {
	switch m := job.(type) {
	case *messages.BeginRepair:
		return m.ID < id
	case *messages.AppendRepair:
		return m.ID < id
	case *messages.EndRepair:
		return m.ID < id
	}
	return false
}

// drop drops waiting jobs. q.mu is held.
func (q *jobs) drop(which func(job any) bool) {
	q.waiting = slices.DeleteFunc(q.waiting, func(job any) bool {
		if !which(job) {
			return false
		}
		giveBack(job)
		return true
	})
}

// giveBack returns the batch of a job that is not done. Its events are read again from the position that did not move.
func giveBack(job any) {
	switch m := job.(type) {
	case *messages.AppendBatch:
		release(m.Batch, m.Release)
	case *messages.AppendRepair:
		release(m.Batch, m.Release)
	}
}

// next takes the first job, once there is one; false when ctx has ended.
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

// clear gives back everything that waits.
func (q *jobs) clear() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.drop(func(any) bool { return true })
}

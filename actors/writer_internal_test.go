package actors

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/jonboulle/clockwork"

	"tempestd/messages"
)

// names lists the jobs that wait, in order.
func (q *jobs) names() (names []string) {
	for _, job := range q.waiting {
		name := fmt.Sprintf("%T", job)[len("*messages."):]
		switch m := job.(type) {
		case *messages.Quiesce:
			name += fmt.Sprint(m.Epoch)
		case *messages.FilterChanged:
			name += fmt.Sprint(m.Hash)
		case *messages.BeginBackfill:
			name += fmt.Sprint(m.ID)
		}
		names = append(names, name)
	}
	return names
}

func TestJobsCollapseIntoTheNewestWish(t *testing.T) {
	pool := make(Pool, 8)
	batch := func() *messages.AppendBatch { return &messages.AppendBatch{Batch: &messages.Batch{}, Release: pool} }
	backfillOf := func(id uint64) *messages.AppendBackfill {
		return &messages.AppendBackfill{ID: id, Batch: &messages.Batch{}, Release: pool}
	}
	q := newJobs()
	for _, job := range []any{
		batch(), &messages.Quiesce{Epoch: 2}, &messages.Quiesce{Epoch: 3},
		&messages.FilterChanged{Hash: 1}, &messages.FilterChanged{Hash: 2}, batch(), &messages.FilterChanged{Hash: 3},
		&messages.BeginBackfill{ID: 1}, backfillOf(1), backfillOf(1), &messages.EndBackfill{ID: 1}, &messages.BeginBackfill{ID: 2}, backfillOf(2),
		&messages.Drain{}, batch(), &messages.Drain{},
	} {
		q.add(job)
	}
	want := []string{"AppendBatch", "Quiesce3", "FilterChanged2", "AppendBatch", "FilterChanged3", "BeginBackfill2", "AppendBackfill", "AppendBatch", "Drain"}
	if got := q.names(); !slices.Equal(got, want) {
		t.Errorf("waiting %v\nwant    %v", got, want)
	}
	if len(pool) != 2 {
		t.Errorf("%d batches were given back, want the two of the first backfill", len(pool))
	}
	select {
	case <-q.draining:
	default:
		t.Error("a drain that waits is to end the waiting for the store")
	}
	first, ok := q.next(context.Background())
	if _, isBatch := first.(*messages.AppendBatch); !ok || !isBatch {
		t.Errorf("the first job is %T", first)
	}
	q.clear()
	if len(q.waiting) > 0 || len(pool) != 5 {
		t.Errorf("%v wait, %d batches were given back in all, want 5", q.names(), len(pool))
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if job, ok := q.next(ctx); ok {
		t.Errorf("got %v after the end", job)
	}
}

func TestWaitsGrowWithWhatIsNotKnown(t *testing.T) {
	var waits []string
	for wait, n := nextWait(0, errors.New("unknown")), 0; n < 11; wait, n = nextWait(wait, errors.New("unknown")), n+1 {
		waits = append(waits, wait.String())
	}
	want := []string{"100ms", "200ms", "400ms", "800ms", "1.6s", "3.2s", "6.4s", "12.8s", "25.6s", "30s", "30s"}
	if !slices.Equal(waits, want) {
		t.Errorf("waits %v, want %v", waits, want)
	}
}

// A repair's jobs wait for all others, and keep their order.
func TestAFetchWaitsForTheLiveFeed(t *testing.T) {
	q := newJobs()
	for _, job := range []any{
		&messages.BeginFetch{ID: 1}, &messages.AppendFetched{ID: 1, Batch: &messages.Batch{}}, &messages.AppendBatch{Batch: &messages.Batch{}},
		&messages.EndFetch{ID: 1}, &messages.RecordGap{},
	} {
		q.add(job)
	}
	var got []string
	for len(q.waiting) > 0 {
		job, _ := q.take()
		got = append(got, fmt.Sprintf("%T", job)[len("*messages."):])
	}
	if want := []string{"AppendBatch", "RecordGap", "BeginFetch", "AppendFetched", "EndFetch"}; !slices.Equal(got, want) {
		t.Errorf("the order is %v, want %v", got, want)
	}
}

// What waits is looked at and stays; what comes is waited for, until it is clear that nothing does.
func TestTheBatchesAheadAreLookedAt(t *testing.T) {
	for name, end := range map[string]func(q *jobs, clock *clockwork.FakeClock, cancel func()){
		"time":           func(_ *jobs, clock *clockwork.FakeClock, _ func()) { clock.Advance(mostAhead) },
		"the connection": func(q *jobs, _ *clockwork.FakeClock, _ func()) { q.add(&messages.Quiesce{}) },
		"the next epoch": func(q *jobs, _ *clockwork.FakeClock, _ func()) { q.add(&BeginEpoch{}) },
		"the daemon":     func(q *jobs, _ *clockwork.FakeClock, _ func()) { q.add(&messages.Drain{}) },
		"the writer":     func(_ *jobs, _ *clockwork.FakeClock, cancel func()) { cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			clock, q := clockwork.NewFakeClock(), newJobs()
			ahead := q.aheadFor(clock)
			batches := []*messages.Batch{{Number: 1}, {Number: 2}}
			q.add(&messages.AppendBatch{Batch: batches[0]})
			q.add(&messages.Proven{})
			got := make(chan *messages.Batch)
			look := func(n int) { go func() { got <- ahead(ctx, n) }() }
			if look(0); <-got != batches[0] {
				t.Error("the batch that waits is not the first")
			}
			look(1)
			if err := clock.BlockUntilContext(ctx, 1); err != nil {
				t.Fatal(err)
			}
			if q.add(&messages.AppendBatch{Batch: batches[1]}); <-got != batches[1] {
				t.Error("the batch that came is not the second")
			}
			look(2)
			if err := clock.BlockUntilContext(ctx, 1); err != nil {
				t.Fatal(err)
			}
			if end(q, clock, cancel); <-got != nil {
				t.Error("a batch came from nowhere")
			}
			if job, _ := q.take(); job.(*messages.AppendBatch).Batch != batches[0] {
				t.Errorf("the next job is %T", job)
			}
		})
	}
}

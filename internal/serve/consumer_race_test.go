package serve_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"

	"tempestd/persistence"
)

// ledger records what the workers of one consumer see, in that order.
type ledger struct {
	t  testing.TB
	mu sync.Mutex

	holder string // the token of the batch that is out, "" once it is given up
	batch  []int  // the last batch that was handed out
	dealt  int    // acknowledged entries
	again  int    // batches that went out again
}

// took records a batch. No worker may hold another one. The batch must be the returned one, or the
// entries after the last acknowledged one.
func (l *ledger) took(b leased) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.holder != "" {
		l.t.Errorf("two leases at a time: %s while %s has one", b.Token, l.holder)
	}
	got := b.numbers()
	if b.Deliveries > 1 {
		l.again++
		if fmt.Sprint(got) != fmt.Sprint(l.batch) {
			l.t.Errorf("%v went out again as %v", l.batch, got)
		}
	}
	for i, n := range got {
		if n != l.dealt+i {
			l.t.Errorf("I3: after %d entries came %v", l.dealt, got)
			break
		}
	}
	l.holder, l.batch = b.Token, got
}

// gives records that the worker is about to give up the batch, before it tells the daemon: from
// then on another worker may get the batch.
func (l *ledger) gives(acked bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.holder = ""
	if acked {
		l.dealt += len(l.batch)
	}
}

// Many workers, at two daemons that share the store, work on one consumer. There is one lease at a
// time, and every entry is acknowledged once and in order, although workers return batches.
func TestI3_ManyWorkersOfOneConsumer(t *testing.T) {
	onBothBackends(t, func(t *testing.T, store persistence.Store) {
		const total, workers = 300, 6
		stream := openStream(t, store, "bluesky", numbered(0, 1)...)
		daemons := []*daemon{start(t, store), start(t, store)}
		daemons[0].made(`{"after":"0-0"}`)
		l := &ledger{t: t}
		var all sync.WaitGroup
		for w := range workers {
			d, r := daemons[w%2], rand.New(rand.NewPCG(uint64(w), 1))
			all.Go(func() {
				for {
					b := d.next(fmt.Sprintf("block_ms=30000&limit=%d", 1+r.IntN(9)))
					if b.Token == "" {
						if b.ClosedAt != nil && b.UntilMS == 0 {
							return
						}
						continue
					}
					l.took(b)
					verb := "ack"
					if r.IntN(4) == 0 {
						verb = "nack"
					}
					l.gives(verb == "ack")
					d.want(d.tell(verb, b.Token), http.StatusOK, "")
				}
			})
		}
		for n := 1; n < total; n += 5 {
			add(t, stream, numbered(n, min(n+5, total))...)
		}
		if err := stream.Close(t.Context(), "done"); err != nil {
			t.Fatal(err)
		}
		all.Wait()
		if l.dealt != total || l.again == 0 {
			t.Errorf("%d entries were dealt with, want %d; %d batches went out again", l.dealt, total, l.again)
		}
		t.Logf("%d batches went out again", l.again)
	})
}

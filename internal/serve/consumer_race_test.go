package serve_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"

	"tempestd/persistence"
)

// ledger is what the workers of one consumer see, written down as they see it.
type ledger struct {
	t  testing.TB
	mu sync.Mutex

	holder string // the token that is out, "" when it was given up
	batch  []int  // what was handed out last
	dealt  int    // entries that were acknowledged
	again  int    // batches that went out again
}

// took writes down a batch. Nobody may hold one, and it must be the one that came back or what follows the last that was acknowledged.
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

// gives notes that the worker is about to give the batch up, before the daemon is told: from then on somebody else may have it.
func (l *ledger) gives(acked bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.holder = ""
	if acked {
		l.dealt += len(l.batch)
	}
}

// Many workers, at two daemons that share the store, on one consumer: one lease at a time, every entry once acknowledged, in order, whoever gives what back.
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

package integration_test

import (
	"context"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"tempestd/internal/client"
	"tempestd/messages"
	"tempestd/persistence"
)

// Two daemons that share a feed also share its consumers: every entry is delivered, in order, at
// either daemon, even when one of them is killed.
func TestI2_I3_AConsumerOfTwoDaemons(t *testing.T) {
	t.Parallel()
	sim := simulate(t, 500)
	p := startPair(t, sim.url(), settings{"valkey.command_timeout": `"10s"`}) // no call may fail because the machine is busy
	owner, standby := p.roles()
	x := newIndexer(t, standby)
	if _, made, err := owner.CreateConsumer(t.Context(), feed, indexerName, "0-0", messages.ConsumerFilter{}); err != nil || made {
		t.Errorf("made at the other daemon again: %v, %v", made, err)
	}
	x.takeTurns(owner, standby)
	x.outlive(owner, standby)
	owner.start()
	owner.await("daemon.ready")
	x.share(p, sim)
}

// takeTurns gets batches from each daemon and acknowledges them at the other one.
func (x *indexer) takeTurns(one, two *daemon) {
	x.t.Helper()
	for range 2 {
		x.ack(two, x.next(one, time.Minute))
		x.ack(one, x.next(two, time.Minute))
	}
	given := x.next(one, time.Minute)
	if err := two.Nack(x.t.Context(), feed, indexerName, given.Token, 0); err != nil {
		x.t.Fatal(err)
	}
	held := x.again(two, given)
	x.waits(one)
	turn := make(chan client.Batch)
	go func() {
		b, err := one.Next(x.t.Context(), feed, indexerName, client.NextOptions{Limit: 20, Block: 30 * time.Second, Lease: time.Minute})
		if err != nil || len(b.Frames) == 0 {
			x.t.Errorf("who waits for a batch that is out at the other daemon is given %+v, %v", b, err)
		}
		turn <- b
	}()
	x.ack(two, held)
	x.ack(two, <-turn)
}

// outlive kills a daemon twice while a batch from it is leased. When the lease has ended, the other
// daemon delivers the batch again. Before that, the other daemon accepts its token.
func (x *indexer) outlive(killed, other *daemon) {
	x.t.Helper()
	held := x.next(killed, time.Second)
	killed.kill()
	x.ack(other, x.again(other, held))
	killed.start()
	killed.await("daemon.ready")
	held = x.next(killed, time.Hour)
	killed.kill()
	x.waits(other)
	x.ack(other, held)
}

// share runs four workers at both daemons over the whole stream, while the daemon that reads the
// feed is killed. Each batch is acknowledged in its order, and a batch that is delivered again is
// the same batch.
func (x *indexer) share(p *pair, sim *simulator) {
	x.t.Helper()
	var mu sync.Mutex
	acked := map[persistence.EntryID]client.Batch{} // by the first entry of the batch
	asking, stop := context.WithCancel(x.t.Context())
	acking, cancel := context.WithTimeout(x.t.Context(), deadline)
	var workers sync.WaitGroup
	defer workers.Wait()
	defer cancel()
	defer stop()
	for at := range 4 {
		workers.Go(func() {
			last := messages.EntryID{}
			for asking.Err() == nil {
				b, err := p.daemons[at%2].Next(asking, feed, indexerName, client.NextOptions{Limit: 20, Block: time.Second, Lease: time.Second})
				if err != nil {
					at++ // the daemon is down
				}
				if b.Token == "" {
					continue
				}
				first := b.Frames[0].ID
				if first.Compare(last) < 0 {
					x.t.Errorf("I3: after the batch from %v on a worker is given the one from %v on", last, first)
				}
				last = first
				// A daemon that is killed may not have answered whether the acknowledgement counts.
				// The other daemon knows.
				for ; acking.Err() == nil; at++ {
					if err = p.daemons[at%2].Ack(acking, feed, indexerName, b.Token); err == nil {
						mu.Lock()
						acked[first] = b
						mu.Unlock()
					}
					if err == nil || isLeaseLost(err) {
						break
					}
				}
			}
		})
	}
	more := func(what string) {
		x.t.Helper()
		mu.Lock()
		before := len(acked)
		mu.Unlock()
		eventually(x.t, what, func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(acked) > before+5
		})
	}
	more("batches are dealt with at either daemon")
	owner, standby := p.roles()
	owner.kill()
	more("batches are dealt with at the other daemon")
	owner.start()
	owner.await("daemon.ready")
	owner, standby = p.roles()
	owner.exact(sim)
	eventually(x.t, "all of it is dealt with", func() bool {
		status := x.status(standby)
		return status.LagEntries == 0 && status.Deliveries == 0
	})
	stop()
	workers.Wait()
	for _, first := range slices.SortedFunc(maps.Keys(acked), messages.EntryID.Compare) {
		x.dealt = append(x.dealt, acked[first].Frames...)
	}
	if missing := x.check(standby); missing != 0 {
		x.t.Errorf("%d entries of the stream were not dealt with", missing)
	}
}

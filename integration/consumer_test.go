package integration_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"tempestd/internal/client"
	"tempestd/messages"
	"tempestd/persistence"
)

// indexer is the named consumer of the tests. dealt holds the entries that its workers have
// acknowledged, in order, at any daemon.
type indexer struct {
	t     *testing.T
	dealt []persistence.Entry
}

const indexerName = "indexer"

// newIndexer creates the consumer at the beginning of the stream.
func newIndexer(t *testing.T, at *daemon) *indexer {
	t.Helper()
	if _, made, err := at.CreateConsumer(t.Context(), feed, indexerName, "0-0", messages.ConsumerFilter{}); err != nil || !made {
		t.Fatalf("made %v, %v", made, err)
	}
	return &indexer{t: t}
}

// next waits for the next batch and leases it.
func (x *indexer) next(at *daemon, lease time.Duration) client.Batch {
	x.t.Helper()
	b, err := at.Next(x.t.Context(), feed, indexerName, client.NextOptions{Limit: 20, Block: 20 * time.Second, Lease: lease})
	if err != nil || len(b.Frames) == 0 {
		x.t.Fatalf("no batch: %+v, %v", b, err)
	}
	return b
}

// again waits until the batch is delivered again after the end of its lease. Then the token of the
// first delivery is invalid.
func (x *indexer) again(at *daemon, held client.Batch) client.Batch {
	x.t.Helper()
	b := x.next(at, time.Minute)
	if b.Deliveries != held.Deliveries+1 || len(b.Frames) != len(held.Frames) || b.Frames[0].ID != held.Frames[0].ID {
		x.t.Fatalf("%d entries at delivery %d, want the %d that were held", len(b.Frames), b.Deliveries, len(held.Frames))
	}
	if err := at.Ack(x.t.Context(), feed, indexerName, held.Token); !isLeaseLost(err) {
		x.t.Errorf("an ack of the first delivery: %v", err)
	}
	return b
}

func isLeaseLost(err error) bool {
	refusal, ok := errors.AsType[*client.APIError](err)
	return ok && refusal.Name == "LeaseLost"
}

// waits checks that a batch is leased and that no other batch is delivered meanwhile.
func (x *indexer) waits(at *daemon) {
	x.t.Helper()
	if b, err := at.Next(x.t.Context(), feed, indexerName, client.NextOptions{}); err != nil || b.Token != "" || b.Left <= 0 {
		x.t.Errorf("while a batch is out: %+v, %v", b, err)
	}
}

func (x *indexer) ack(at *daemon, b client.Batch) {
	x.t.Helper()
	if err := at.Ack(x.t.Context(), feed, indexerName, b.Token); err != nil {
		x.t.Fatal(err)
	}
	x.dealt = append(x.dealt, b.Frames...)
}

// status returns the consumer's status.
func (x *indexer) status(at *daemon) messages.ConsumerStatus {
	x.t.Helper()
	status, err := at.Consumer(x.t.Context(), feed, indexerName)
	if err != nil {
		x.t.Fatal(err)
	}
	return status
}

// check compares the acknowledged entries with the stream from its beginning on. It returns the
// number of further entries in the stream.
func (x *indexer) check(at *daemon) (more int) {
	x.t.Helper()
	i := 0
	for event, err := range at.entries() {
		if err != nil {
			x.t.Fatal(err)
		}
		if i < len(x.dealt) && string(x.dealt[i].Event) != string(event) {
			x.t.Fatalf("entry %d of the consumer is not the stream's", i)
		}
		i++
	}
	return i - len(x.dealt)
}

// A consumer's position and leases survive a kill of the daemon: acknowledged entries are not
// delivered again, the others are, and all come in order.
func TestAConsumerOutlivesKills(t *testing.T) {
	t.Parallel()
	sim := simulate(t, 500)
	d := newDaemon(t, sim.url(), nil)
	d.startLive()
	d.awaitStored(50)
	x := newIndexer(t, d)
	for range 2 {
		x.ack(d, x.next(d, time.Minute))
		held := x.next(d, time.Second)
		d.kill()
		d.startLive()
		if status := x.status(d); status.Acked != x.dealt[len(x.dealt)-1].ID || status.Deliveries != 1 {
			t.Fatalf("after the kill it is %+v; acknowledged was %v", status, x.dealt[len(x.dealt)-1].ID)
		}
		x.ack(d, x.again(d, held))
	}
	held := x.next(d, time.Hour)
	d.kill()
	d.startLive()
	if status := x.status(d); status.Lease == nil || !status.Lease.Until.Equal(held.Until) {
		t.Errorf("the lease until %v became %+v", held.Until, status.Lease)
	}
	x.waits(d)
	x.ack(d, held) // with the token from before the kill
	if more := x.check(d); more < 0 {
		t.Errorf("%d entries came that the stream does not have", -more)
	}
}

// The consumer commands do all the steps of a consumer's work.
func TestConsumersOnTheCommandLine(t *testing.T) {
	t.Parallel()
	sim := simulate(t, 500)
	d := newDaemon(t, sim.url(), nil)
	d.startLive()
	d.awaitStored(10)
	command := func(args ...string) (out, log string) {
		t.Helper()
		code, p := run(t, append(append([]string{"consumer"}, args...), "--addr", d.addr)...)
		if code != 0 {
			t.Fatalf("tempestd consumer %s: exit code %d\n%s", strings.Join(args, " "), code, p.log)
		}
		return p.out.String(), p.log.String()
	}
	command("create", feed, "c", "--after", "0-0")
	first, log := command("next", feed, "c", "-n", "3", "--wait", "20s")
	token := strings.TrimSuffix(strings.Fields(log)[1], ",")
	// The last line of the output has no line break here.
	if strings.Count(first, "\n") != 2 || !strings.Contains(log, "delivery 1") {
		t.Errorf("next printed\n%s%s", first, log)
	}
	if _, log := command("next", feed, "c"); !strings.Contains(log, "not the turn") {
		t.Errorf("while it is out: %s", log)
	}
	command("nack", feed, "c", token)
	again, log := command("next", feed, "c")
	if again != first || !strings.Contains(log, "delivery 2") {
		t.Errorf("given back, it is\n%s%s", again, log)
	}
	command("ack", feed, "c", strings.TrimSuffix(strings.Fields(log)[1], ","))
	if more, _ := command("next", feed, "c", "-n", "2", "--wait", "20s", "--ack"); more == first {
		t.Errorf("after the ack came\n%s", more)
	}
	command("seek", feed, "c", "--after", "now")
	if list, _ := command("list", feed); !strings.Contains(list, "CONSUMER") || !strings.Contains(list, feed) {
		t.Errorf("listed\n%s", list)
	}
	if out, _ := command("delete", feed, "c"); out != "" {
		t.Errorf("delete printed %s", out)
	}
	if code, p := run(t, "consumer", "next", feed, "c", "--addr", d.addr); code != 1 || !strings.Contains(p.log.String(), "no such consumer") {
		t.Errorf("deleted: exit code %d\n%s", code, p.log)
	}
}

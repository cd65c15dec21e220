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

// A consumer's position and its leases outlive the daemon's being killed: what was acknowledged does not come again, what was not does, and every entry
// comes in its place.
func TestAConsumerOutlivesKills(t *testing.T) {
	t.Parallel()
	sim := simulate(t, 500)
	d := newDaemon(t, sim.url(), nil)
	d.startLive()
	d.awaitStored(50)
	const name = "indexer"
	ctx := t.Context()
	if _, made, err := d.CreateConsumer(ctx, feed, name, "0-0", messages.ConsumerFilter{}); err != nil || !made {
		t.Fatalf("made %v, %v", made, err)
	}
	var dealt []persistence.Frame
	next := func(lease time.Duration) client.Batch {
		t.Helper()
		b, err := d.Next(ctx, feed, name, client.NextOptions{Limit: 20, Block: 20 * time.Second, Lease: lease})
		if err != nil || len(b.Frames) == 0 {
			t.Fatalf("no batch: %+v, %v", b, err)
		}
		return b
	}
	ack := func(b client.Batch) {
		t.Helper()
		if err := d.Ack(ctx, feed, name, b.Token); err != nil {
			t.Fatal(err)
		}
		dealt = append(dealt, b.Frames...)
	}
	told := func() messages.ConsumerStatus {
		t.Helper()
		status, err := d.Consumer(ctx, feed, name)
		if err != nil {
			t.Fatal(err)
		}
		return status
	}

	for range 2 {
		ack(next(time.Minute))
		held := next(time.Second)
		d.kill()
		d.startLive()
		if status := told(); status.Acked != dealt[len(dealt)-1].ID || status.Deliveries != 1 {
			t.Fatalf("after the kill it is %+v; acknowledged was %v", status, dealt[len(dealt)-1].ID)
		}
		again := next(time.Minute)
		if again.Deliveries != 2 || len(again.Frames) != len(held.Frames) || again.Frames[0].ID != held.Frames[0].ID {
			t.Fatalf("%d entries at delivery %d, want the %d that were held", len(again.Frames), again.Deliveries, len(held.Frames))
		}
		err := d.Ack(ctx, feed, name, held.Token)
		if refusal, ok := errors.AsType[*client.APIError](err); !ok || refusal.Name != "LeaseLost" {
			t.Errorf("an ack of the first delivery: %v", err)
		}
		ack(again)
	}
	held := next(time.Hour)
	d.kill()
	d.startLive()
	if status := told(); status.Lease == nil || !status.Lease.Until.Equal(held.Until) {
		t.Errorf("the lease until %v became %+v", held.Until, status.Lease)
	}
	if b, err := d.Next(ctx, feed, name, client.NextOptions{}); err != nil || b.Token != "" || b.Left < time.Minute {
		t.Errorf("while it lasts: %+v, %v", b, err)
	}
	ack(held) // by the token of another life

	i := 0
	for event, err := range d.entries() {
		if err != nil {
			t.Fatal(err)
		}
		if i == len(dealt) {
			break
		}
		if string(dealt[i].Event) != string(event) {
			t.Fatalf("entry %d of the consumer is not the stream's", i)
		}
		i++
	}
}

// The whole of it on the command line.
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
	if strings.Count(first, "\n") != 2 || !strings.Contains(log, "delivery 1") { // the last line has no end here
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

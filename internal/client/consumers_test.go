package client_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"tempestd/internal/client"
	"tempestd/messages"
	"tempestd/persistence"
)

func TestConsumers(t *testing.T) {
	c, _, stream, _ := daemon(t)
	ctx := t.Context()
	refused := func(what string, err error, status int, name string) {
		t.Helper()
		if refusal, ok := errors.AsType[*client.APIError](err); !ok || refusal.Status != status || refusal.Name != name {
			t.Errorf("%s: %v, want %d %s", what, err, status, name)
		}
	}
	if all, err := c.Consumers(ctx, "bluesky"); err != nil || len(all) != 0 {
		t.Errorf("none: %+v, %v", all, err)
	}
	for _, want := range []bool{true, false} {
		status, made, err := c.CreateConsumer(ctx, "bluesky", "c", "0-0", messages.ConsumerFilter{})
		if err != nil || made != want || status.Name != "c" || status.LagEntries != 2 {
			t.Errorf("created: %+v, made %v, %v", status, made, err)
		}
	}
	_, _, err := c.CreateConsumer(ctx, "bluesky", "c", "now", messages.ConsumerFilter{Kinds: []string{"commit"}})
	refused("another of that name", err, http.StatusConflict, "ConsumerExists")

	first, err := c.Next(ctx, "bluesky", "c", client.NextOptions{Limit: 1, Lease: time.Minute})
	if err != nil || first.Token == "" || first.Left != time.Minute || first.Deliveries != 1 || len(first.Frames) != 1 || first.LagEntries != 1 {
		t.Fatalf("the first batch: %+v, %v", first, err)
	}
	if busy, err := c.Next(ctx, "bluesky", "c", client.NextOptions{}); err != nil || busy.Token != "" || busy.Left <= 0 || len(busy.Frames) != 0 {
		t.Errorf("while it is out: %+v, %v", busy, err)
	}
	if err := c.Extend(ctx, "bluesky", "c", first.Token, time.Hour); err != nil {
		t.Error(err)
	}
	if status, err := c.Consumer(ctx, "bluesky", "c"); err != nil || status.Lease == nil || time.Until(status.Lease.Until) < 59*time.Minute {
		t.Errorf("extended: %+v, %v", status, err)
	}
	if err := c.Nack(ctx, "bluesky", "c", first.Token, 0); err != nil {
		t.Error(err)
	}
	refused("an ack of what was given back", c.Ack(ctx, "bluesky", "c", first.Token), http.StatusConflict, "LeaseLost")
	again, err := c.Next(ctx, "bluesky", "c", client.NextOptions{})
	if err != nil || again.Deliveries != 2 || len(again.Frames) != 1 || string(again.Frames[0].Event) != string(first.Frames[0].Event) {
		t.Errorf("again: %+v, %v", again, err)
	}
	for range 2 {
		if err := c.Ack(ctx, "bluesky", "c", again.Token); err != nil {
			t.Error(err)
		}
	}
	if status, err := c.SeekConsumer(ctx, "bluesky", "c", "now"); err != nil || status.Acked.String() != "6-0" || status.LagEntries != 0 {
		t.Errorf("moved: %+v, %v", status, err)
	}
	if err := stream.Close(ctx, "finished"); err != nil {
		t.Fatal(err)
	}
	if end, err := c.Next(ctx, "bluesky", "c", client.NextOptions{Block: 30 * time.Second}); err != nil || end.ClosedReason != "finished" || end.ClosedAt.IsZero() {
		t.Errorf("at the end: %+v, %v", end, err)
	}
	if err := c.DeleteConsumer(ctx, "bluesky", "c"); err != nil {
		t.Error(err)
	}
	if _, err := c.Consumer(ctx, "bluesky", "c"); !errors.Is(err, persistence.ErrNoConsumer) {
		t.Errorf("deleted: %v", err)
	}
	if err := c.DeleteConsumer(ctx, "other", "c"); !errors.Is(err, persistence.ErrNoStream) {
		t.Errorf("of no stream: %v", err)
	}
}

package valkey_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/valkey"
)

// batchOf makes a batch of events, like the connection of a feed.
func batchOf(timeUS int64, events ...string) *messages.Batch {
	b := new(messages.Batch)
	for i, event := range events {
		b.Events = append(b.Events, messages.Event{
			Off: uint32(len(b.Buf)), Len: uint32(len(event)), Kind: messages.KindCommit,
			// The fingerprint is that of the event's identity.
			TimeUS: timeUS + int64(i), Fingerprint: uint64(timeUS) + uint64(i),
		})
		b.Buf = append(b.Buf, event...)
	}
	return b
}

// A store in Valkey or Redis. A writer holds the stream's lease; a reader needs none. The example
// is compiled and not run, because it needs a server at its address.
// TestI8_TailHoldsUpNoAppendOfItsProcess does the same with a real server.
func ExampleStore() {
	ctx := context.Background()
	store, err := valkey.Open(ctx, valkey.Options{Addresses: []string{"127.0.0.1:6379"}})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()

	// One process appends at a time. A process that takes the lease over gets a greater epoch. From
	// then on appends under an older epoch are refused.
	lease, err := store.Acquire(ctx, "bluesky", messages.Node{ID: "indexer-1", Name: "indexer-1"}, 15*time.Second)
	if err != nil {
		log.Fatal(err) // a *HeldError names the holder
	}
	stream, err := store.OpenStream(ctx, "bluesky", persistence.StreamOptions{Lease: lease})
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		// A tail may wait for half a minute. It uses another connection than the appends.
		page, err := store.TailStream(ctx, "bluesky", "0-0", persistence.MaxBlock, 100)
		fmt.Println(len(page.Entries), err)
	}()
	batch := batchOf(time.Now().UnixMicro(), `{"kind":"commit"}`)
	for {
		_, err := stream.Append(ctx, batch, messages.Checkpoint{})
		if err == nil {
			break
		}
		if !persistence.Temporary(err) {
			log.Fatal(err) // a *FencedError names the present owner
		}
		// The server is away, and the batch may be stored or not. The same batch again finds out,
		// and is never stored twice.
		time.Sleep(time.Second)
	}
}

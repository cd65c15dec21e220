package persistence_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"tempestd/messages"
	"tempestd/persistence"
)

// batchOf makes a batch of events, as the connection of a feed does of frames.
func batchOf(timeUS int64, events ...string) *messages.Batch {
	b := new(messages.Batch)
	for i, event := range events {
		b.Events = append(b.Events, messages.Event{
			Off: uint32(len(b.Buf)), Len: uint32(len(event)), Kind: messages.KindCommit,
			TimeUS: timeUS + int64(i), Fingerprint: uint64(timeUS) + uint64(i), // of the event's identity
		})
		b.Buf = append(b.Buf, event...)
	}
	return b
}

// What is wrong with arguments is told for all of them at once, each by its name.
func ExampleConfigError() {
	ctx := context.Background()
	store, err := persistence.OpenValkey(ctx, persistence.ValkeyOptions{Addresses: []string{"127.0.0.1:6379"}}) // connects when it is first used
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	_, err = store.TailStream(ctx, "bluesky", "$", time.Hour, 1)
	fmt.Println(err)
	if wrong, ok := errors.AsType[*persistence.ConfigError](err); ok {
		fmt.Println("the first one:", wrong.Field)
	}
	// Output:
	// malformed cursor: after is "$", not an unsigned 64-bit decimal; accepted: <ms> or <ms>-<seq> (0-0 is from the beginning)
	// argument out of bounds: block is 1h0m0s; accepted: 0s to 30s
	// the first one: after
}

// A store in Valkey or Redis: who appends holds the stream's lease, who reads needs none. The example is compiled and not run, for it needs a server at
// the address that it names; TestI8_TailHoldsUpNoAppendOfItsProcess does the same against one.
func ExampleValkey() {
	ctx := context.Background()
	store, err := persistence.OpenValkey(ctx, persistence.ValkeyOptions{Addresses: []string{"127.0.0.1:6379"}})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()

	// One process appends at a time. Whoever takes the lease over has a greater epoch, and appends under an older one are refused from then on.
	lease, err := store.Acquire(ctx, "bluesky", messages.Node{ID: "indexer-1", Name: "indexer-1"}, 15*time.Second)
	if err != nil {
		log.Fatal(err) // a *HeldError says who has it
	}
	stream, err := store.OpenStream(ctx, "bluesky", persistence.StreamOptions{Lease: lease})
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		// A tail may wait for half a minute: its connection is not the one that the appends go over.
		page, err := store.TailStream(ctx, "bluesky", "0-0", persistence.MaxBlock, 100)
		fmt.Println(len(page.Frames), err)
	}()
	batch := batchOf(time.Now().UnixMicro(), `{"kind":"commit"}`)
	for {
		_, err := stream.Append(ctx, batch, messages.Checkpoint{})
		if err == nil {
			break
		}
		if !persistence.Temporary(err) {
			log.Fatal(err) // a *FencedError says who owns the stream now
		}
		// The server is away, and the batch may have landed or not. The same batch again finds out, and is never stored twice.
		time.Sleep(time.Second)
	}
}

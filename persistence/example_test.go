package persistence_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
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

// The embedded store needs nothing but a directory.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "tempestd")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	store, err := persistence.OpenEmbedded(ctx, dir, persistence.EmbeddedOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()

	stream, err := store.OpenStream(ctx, "bluesky", persistence.StreamOptions{Retention: persistence.Retention{Age: 7 * 24 * time.Hour}})
	if err != nil {
		log.Fatal(err)
	}
	// The events and the position up to which they were read are stored together, or not at all.
	batch := batchOf(1_795_327_636_563_030, `{"kind":"commit","n":1}`, `{"kind":"commit","n":2}`)
	if _, err := stream.Append(ctx, batch, messages.Checkpoint{Position: messages.Position{Seq: 2}}); err != nil {
		log.Fatal(err)
	}

	page, err := store.TailStream(ctx, "bluesky", "0-0", 0, 100)
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range page.Frames {
		fmt.Printf("%s %s\n", f.ID, f.Event)
	}
	// Output:
	// 1795327636563-30000 {"kind":"commit","n":1}
	// 1795327636563-31000 {"kind":"commit","n":2}
}

// A consumer asks for what comes after the last entry it has dealt with. A time-out is an empty page of an open stream, and a closed stream says so.
func ExampleEmbedded_TailStream() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "tempestd")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	store, err := persistence.OpenEmbedded(ctx, dir, persistence.EmbeddedOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	stream, err := store.OpenStream(ctx, "bluesky", persistence.StreamOptions{})
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		for i := range int64(3) {
			if _, err := stream.Append(ctx, batchOf(1_795_327_636_563_030+i, fmt.Sprintf(`{"n":%d}`, i)), messages.Checkpoint{}); err != nil {
				log.Fatal(err)
			}
		}
		if err := stream.Close(ctx, "the run is over"); err != nil {
			log.Fatal(err)
		}
	}()

	for after := "0-0"; ; {
		page, err := store.TailStream(ctx, "bluesky", after, persistence.MaxBlock, 1)
		if err != nil {
			log.Fatal(err)
		}
		for _, f := range page.Frames {
			fmt.Printf("%s\n", f.Event)
			after = f.ID.String() // kept where it survives a crash, that is all there is to resuming
		}
		if len(page.Frames) == 0 && page.IsClosed() {
			fmt.Println("closed:", page.ClosedReason)
			return
		}
	}
	// Output:
	// {"n":0}
	// {"n":1}
	// {"n":2}
	// closed: the run is over
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

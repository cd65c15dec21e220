package embedded_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"tempestd/messages"
	"tempestd/persistence"
	"tempestd/persistence/embedded"
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

// The embedded store only needs a directory.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "tempestd")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	store, err := embedded.Open(ctx, dir, embedded.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()

	stream, err := store.OpenStream(ctx, "bluesky", persistence.StreamOptions{Retention: persistence.Retention{Age: 7 * 24 * time.Hour}})
	if err != nil {
		log.Fatal(err)
	}
	// The events and the upstream position after them are stored together, or not at all.
	batch := batchOf(1_795_327_636_563_030, `{"kind":"commit","n":1}`, `{"kind":"commit","n":2}`)
	if _, err := stream.Append(ctx, batch, messages.Checkpoint{Position: messages.Position{Seq: 2}}); err != nil {
		log.Fatal(err)
	}

	page, err := store.TailStream(ctx, "bluesky", "0-0", 0, 100)
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range page.Entries {
		fmt.Printf("%s %s\n", f.ID, f.Event)
	}
	// Output:
	// 1795327636563-30000 {"kind":"commit","n":1}
	// 1795327636563-31000 {"kind":"commit","n":2}
}

// A consumer asks for the entries after the last entry that it has dealt with. A time-out is an
// empty page of an open stream. The page of a closed stream says that it is closed.
func ExampleStore_TailStream() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "tempestd")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	store, err := embedded.Open(ctx, dir, embedded.Options{})
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
		for _, f := range page.Entries {
			fmt.Printf("%s\n", f.Event)
			// To resume after a crash, it is enough to keep this ID durably.
			after = f.ID.String()
		}
		if len(page.Entries) == 0 && page.IsClosed() {
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

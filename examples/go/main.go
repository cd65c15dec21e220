// Command go follows a stream in a Valkey or Redis server, at least once: the position is saved after a page was handled.
//
//	go run ./examples/go [127.0.0.1:6379 [bluesky [position]]]
package main

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"tempestd/persistence"
	"tempestd/persistence/valkey"
)

func main() {
	args := append(os.Args[1:], []string{"127.0.0.1:6379", "bluesky", "position"}[len(os.Args)-1:]...)
	saved, _ := os.ReadFile(args[2])
	after := cmp.Or(string(saved), "0-0") // from the beginning
	// It connects when it is first used.
	store, err := valkey.Open(context.Background(), valkey.Options{Addresses: args[:1]})
	for err == nil {
		page, failure := store.TailStream(context.Background(), args[1], after, persistence.MaxBlock, 1000)
		if persistence.Temporary(failure) { // the server is away, or full
			time.Sleep(time.Second)
			continue
		} else if failure != nil || len(page.Entries) == 0 && page.IsClosed() { // a *CursorExpiredError: retention was faster than we were
			log.Fatalf("%s ended: %v %s", args[1], failure, page.ClosedReason)
		}
		for _, frame := range page.Entries {
			fmt.Printf("%s\n", frame.Event) // your work
			after = frame.ID.String()
		}
		if err = os.WriteFile(args[2]+".new", []byte(after), 0o600); err == nil {
			err = os.Rename(args[2]+".new", args[2]) // all of it or nothing, whenever we are killed
		}
	}
	log.Fatal(err)
}

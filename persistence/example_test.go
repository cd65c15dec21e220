package persistence_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"tempestd/persistence"
	"tempestd/persistence/valkey"
)

// All wrong arguments are reported at once, each with its name.
func ExampleConfigError() {
	ctx := context.Background()
	// The store connects when it is first used.
	store, err := valkey.Open(ctx, valkey.Options{Addresses: []string{"127.0.0.1:6379"}})
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

package actors

import (
	"context"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/persistence"
)

// The waits between two attempts of what a store could not do for now: a full disk is cheap to look at, and so is a server that is away.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = time.Second
)

// patiently calls do until it succeeds, fails for good, or ctx ends. Before each wait away is told why.
func patiently(ctx context.Context, clock clockwork.Clock, away func(err error, wait time.Duration), do func() error) error {
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		err := do()
		if err == nil || ctx.Err() != nil || !persistence.Temporary(err) {
			return err
		}
		away(err, wait)
		if err := sleep(ctx, clock, wait); err != nil {
			return err
		}
	}
}

package actors

import (
	"context"
	"errors"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/persistence"
)

// The waits between two attempts. What a store says of itself passes (a full disk, a server that is away) is cheap to look at. What it refuses in words that we do
// not know is for an operator to mend, and not to be asked for a thousand times meanwhile.
const (
	firstRetry  = 100 * time.Millisecond
	lastRetry   = time.Second
	lastUnknown = 30 * time.Second
)

// nextWait is the wait after one of that length and then err; the first follows 0.
func nextWait(wait time.Duration, err error) time.Duration {
	limit := lastUnknown
	if persistence.Temporary(err) {
		limit = lastRetry
	}
	return min(max(2*wait, firstRetry), limit)
}

// errEnough ends the patience with a store that takes nothing, when the feed is not to wait for it any more.
var errEnough = errors.New("the store takes nothing, and is not waited for")

// refusedError is an append's failure that we do not know: it landed or it did not, so that it is not simply tried again.
type refusedError struct{ err error }

func (e *refusedError) Error() string { return e.err.Error() }
func (e *refusedError) Unwrap() error { return e.err }

// refused marks an append's failure that is neither one that passes, after which the store knows what became of it, nor one that is final.
func refused(err error) error {
	if err == nil || persistence.Temporary(err) || final(err) {
		return err
	}
	return &refusedError{err}
}

// final says whether no attempt helps: the stream is another's, or somewhere else, or closed for good. Whatever else a store answers is a state it is in.
func final(err error) bool {
	_, isFenced := errors.AsType[*persistence.FencedError](err)
	_, isMoved := errors.AsType[*persistence.ConflictError](err)
	_, isRefused := errors.AsType[*refusedError](err)
	return isFenced || isMoved || isRefused || errors.Is(err, persistence.ErrStreamClosed) || errors.Is(err, errEnough)
}

// patiently calls do until it succeeds, fails for good, or ctx ends. Before each wait away is told why. Where enough is closed it does not wait.
func patiently(ctx context.Context, clock clockwork.Clock, enough <-chan struct{}, away func(err error, wait time.Duration), do func() error) error {
	for wait := time.Duration(0); ; {
		err := do()
		if err == nil || ctx.Err() != nil || final(err) {
			return err
		}
		wait = nextWait(wait, err)
		away(err, wait)
		if err := sleep(ctx, clock, enough, wait); err != nil {
			return err
		}
	}
}

// sleep waits for d; errEnough or the context's error when that is cut short.
func sleep(ctx context.Context, clock clockwork.Clock, enough <-chan struct{}, d time.Duration) error {
	t := clock.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.Chan():
		return nil
	case <-enough:
		return errEnough
	case <-ctx.Done():
		return ctx.Err()
	}
}

// StoreReason is why a store does not do what it was asked to, in words that do not change with every attempt.
func StoreReason(err error) string {
	if away, ok := errors.AsType[*persistence.UnavailableError](err); ok {
		switch away.Reason {
		case "refused", "full", "readonly", "io": // an answer, whose words say what is to be mended
			return away.Error()
		}
		return away.Store + " is unavailable (" + away.Reason + ")"
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "the store does not answer"
	case persistence.Temporary(err):
		return err.Error()
	}
	return "the store refuses: " + err.Error()
}

package actors

import (
	"context"
	"errors"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/persistence"
)

// The waits between two attempts. A temporary state that the store names (a full disk, a server
// that is away) is cheap to check, so the waits stay short. An operator has to repair the cause of
// an unknown error, so the store is not asked a thousand times meanwhile.
const (
	firstRetry  = 100 * time.Millisecond
	lastRetry   = time.Second
	lastUnknown = 30 * time.Second
)

// nextWait returns the wait after the error err, which followed the given wait (0 before the first
// error). The waits double, up to lastRetry for a temporary error and lastUnknown for any other.
func nextWait(wait time.Duration, err error) time.Duration {
	limit := lastUnknown
	if persistence.Temporary(err) {
		limit = lastRetry
	}
	return min(max(2*wait, firstRetry), limit)
}

// errGivenUp ends the waiting for a store that takes nothing, when the feed does not want to wait
// any more.
var errGivenUp = errors.New("the store takes nothing, and is not waited for")

// refusedError is an unknown failure of an append. The append may be durable or not, so it is not
// simply tried again.
type refusedError struct{ err error }

func (e *refusedError) Error() string { return e.err.Error() }
func (e *refusedError) Unwrap() error { return e.err }

// refused marks an unknown failure of an append. It leaves a temporary one as it is, because after
// it the store itself knows the outcome, and a final one.
func refused(err error) error {
	if err == nil || persistence.Temporary(err) || final(err) {
		return err
	}
	return &refusedError{err}
}

// final says whether no attempt can help: the stream belongs to another daemon, has another end
// than expected, or is closed for good. Every other answer is a state of the store.
func final(err error) bool {
	_, isFenced := errors.AsType[*persistence.FencedError](err)
	_, isMoved := errors.AsType[*persistence.ConflictError](err)
	_, isRefused := errors.AsType[*refusedError](err)
	return isFenced || isMoved || isRefused || errors.Is(err, persistence.ErrStreamClosed) || errors.Is(err, errGivenUp)
}

// retry calls do until it succeeds, fails for good, or ctx ends. Before each wait it calls failed
// with the reason. It does not wait once giveUp is closed.
func retry(ctx context.Context, clock clockwork.Clock, giveUp <-chan struct{}, failed func(err error, wait time.Duration), do func() error) error {
	for wait := time.Duration(0); ; {
		err := do()
		if err == nil || ctx.Err() != nil || final(err) {
			return err
		}
		wait = nextWait(wait, err)
		failed(err, wait)
		if err := sleep(ctx, clock, giveUp, wait); err != nil {
			return err
		}
	}
}

// sleep waits for d. It returns errGivenUp or the context's error if the wait is cut short.
func sleep(ctx context.Context, clock clockwork.Clock, giveUp <-chan struct{}, d time.Duration) error {
	t := clock.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.Chan():
		return nil
	case <-giveUp:
		return errGivenUp
	case <-ctx.Done():
		return ctx.Err()
	}
}

// StoreReason is why a store does not do what it was asked, in words that do not change with every
// attempt.
func StoreReason(err error) string {
	if away, ok := errors.AsType[*persistence.UnavailableError](err); ok {
		if away.Repairable() {
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

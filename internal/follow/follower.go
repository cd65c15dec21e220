package follow

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/accounts"
	"tempestd/internal/jetstream"
	"tempestd/internal/observe"
	"tempestd/internal/plain"
	"tempestd/messages"
)

const (
	// firstAgain is the wait after a failure; it doubles up to the refresh.
	firstAgain = 30 * time.Second
	// maxReason bounds a reason, bytes.
	maxReason = 300
)

// Options are of a Follower. All are required.
type Options struct {
	Feed     string
	Account  string // handle or DID, for people
	Follows  func(context.Context) ([]string, accounts.Listing, error)
	File     string // where the follows are kept
	Refresh  time.Duration
	Clock    clockwork.Clock
	Observer *observe.Observer
	// Use has the feed use these follows.
	Use func(ctx context.Context, dids []string) error
	// Told is told of each change of the status.
	Told func(ctx context.Context, s messages.FollowStatus)
}

// Follower follows one account for one feed.
type Follower struct {
	opt Options

	mu     sync.Mutex
	dids   []string
	status messages.FollowStatus
}

// New returns a Follower with the follows that are kept.
func New(opt Options) (*Follower, error) {
	f := &Follower{opt: opt, status: messages.FollowStatus{Account: opt.Account}}
	kept, err := load(opt.File)
	if err != nil {
		return nil, err
	}
	if kept != nil && kept.Account == opt.Account {
		f.dids = kept.DIDs
		f.status.Follows, f.status.RefreshedAt = len(kept.DIDs), kept.At
	}
	return f, nil
}

// DIDs returns the follows as they are known, or jetstream.Nobody. They must not be changed.
func (f *Follower) DIDs() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.dids) == 0 {
		return []string{jetstream.Nobody}
	}
	return f.dids
}

// Status returns how the follows stand.
func (f *Follower) Status() messages.FollowStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

// Run reads the follows when they are due, until ctx ends.
func (f *Follower) Run(ctx context.Context) {
	f.opt.Told(ctx, f.Status())
	wait, again := f.due(), firstAgain
	for {
		timer := f.opt.Clock.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.Chan():
		}
		err := f.refresh(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			wait, again = f.opt.Refresh, firstAgain
		} else {
			wait = min(again, f.opt.Refresh)
			again = min(2*again, f.opt.Refresh)
			f.failed(err, wait)
		}
		f.opt.Told(ctx, f.Status())
	}
}

// due is how long the follows that are kept are good.
func (f *Follower) due() time.Duration {
	if f.status.RefreshedAt.IsZero() {
		return 0
	}
	return min(max(f.opt.Refresh-f.opt.Clock.Since(f.status.RefreshedAt), 0), f.opt.Refresh)
}

// refresh reads the follows, keeps them, and has the feed use them.
func (f *Follower) refresh(ctx context.Context) error {
	dids, listing, err := f.opt.Follows(ctx)
	switch {
	case err != nil:
		return err
	case listing.State != accounts.Active:
		return fmt.Errorf("the account is %v", listing.State)
	case !listing.Complete():
		return fmt.Errorf("the list ended early: %v", listing.End)
	}
	slices.Sort(dids)
	now := f.opt.Clock.Now()
	if err := save(f.opt.File, kept{Account: f.opt.Account, At: now, DIDs: dids}); err != nil {
		return err
	}
	f.mu.Lock()
	before := f.dids
	f.dids = dids
	f.mu.Unlock()
	if err := f.opt.Use(ctx, f.DIDs()); err != nil {
		return fmt.Errorf("use the follows: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status.Follows, f.status.RefreshedAt, f.status.Trouble, f.status.Since = len(dids), now, "", time.Time{}
	added, removed := changes(before, dids)
	f.opt.Observer.Emit(observe.FollowsRead, f.opt.Feed, "account", f.opt.Account, "follows", len(dids), "added", added, "removed", removed)
	return nil
}

// failed notes why the follows could not be read.
func (f *Follower) failed(err error, wait time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	reason := plain.Line(fmt.Sprintf("%.*s", maxReason, err.Error()))
	if f.status.Trouble == "" {
		f.status.Since = f.opt.Clock.Now()
	}
	f.status.Trouble = reason
	f.opt.Observer.Emit(observe.FollowsFailed, f.opt.Feed, "account", f.opt.Account, "error", reason, "follows", len(f.dids), "retry_in", wait.String())
}

// changes counts what is new and what is gone, of sorted lists.
func changes(before, now []string) (added, removed int) {
	for len(before) > 0 && len(now) > 0 {
		switch c := strings.Compare(before[0], now[0]); {
		case c == 0:
			before, now = before[1:], now[1:]
		case c < 0:
			before = before[1:]
			removed++
		default:
			now = now[1:]
			added++
		}
	}
	return added + len(now), removed + len(before)
}

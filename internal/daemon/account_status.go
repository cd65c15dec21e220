package daemon

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"tempestd/internal/observe"
	"tempestd/internal/plain"
	"tempestd/internal/timeline"
	"tempestd/messages"
)

// accountStatus is how the account of a feed stands. What follows it and what logs in as it tell it,
// and it tells the feed and the metrics.
type accountStatus struct {
	d    *daemon
	feed string

	mu     sync.Mutex
	status messages.FollowStatus
}

// maxTrouble bounds a reason, bytes.
const maxTrouble = 300

// tell changes the status and tells the feed of it.
func (a *accountStatus) tell(ctx context.Context, change func(*messages.FollowStatus)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(&a.status)
	s, m := a.status, a.d.observer.Metrics()
	m.Follows.WithLabelValues(a.feed).Set(float64(s.Follows))
	if !s.RefreshedAt.IsZero() {
		m.FollowsAt.WithLabelValues(a.feed).Set(float64(s.RefreshedAt.Unix()))
	}
	failed := 0.0
	if s.SessionTrouble != "" {
		failed = 1
	}
	m.NoSession.WithLabelValues(a.feed).Set(failed)
	if a.d.supervised() {
		// A feed that does not answer now is told with the next change.
		_ = a.d.tree.UpdateFollows(ctx, a.feed, s)
	}
}

// follows takes over how the follows stand.
func (a *accountStatus) follows(ctx context.Context, f messages.FollowStatus) {
	a.tell(ctx, func(s *messages.FollowStatus) {
		s.Follows, s.RefreshedAt, s.Trouble, s.Since = f.Follows, f.RefreshedAt, f.Trouble, f.Since
	})
}

// session takes over how getting a session ended.
func (a *accountStatus) session(ctx context.Context, err error, next time.Time) {
	a.tell(ctx, func(s *messages.FollowStatus) {
		if err == nil {
			s.SessionTrouble, s.SessionSince, s.NextLoginAt = "", time.Time{}, time.Time{}
			a.d.observer.Emit(observe.SessionOpened, a.feed, "account", s.Account)
			return
		}
		reason := plain.Line(fmt.Sprintf("%.*s", maxTrouble, err.Error()))
		var wait *timeline.LoginWait
		if !errors.As(err, &wait) { // a wait was told with what it is for
			at := ""
			if !next.IsZero() {
				at = next.UTC().Format(time.RFC3339)
			}
			a.d.observer.Emit(observe.SessionFailed, a.feed, "account", s.Account, "error", reason, "retry_at", at)
		}
		if s.SessionTrouble == "" {
			s.SessionSince = a.d.clock.Now()
		}
		s.SessionTrouble, s.NextLoginAt = reason, next
	})
}

package systemd

import (
	"context"
	"errors"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/jonboulle/clockwork"

	"tempestd/internal/observe"
)

// errLate is why a check that answers too late does not count.
var errLate = errors.New("no answer in time")

// RunWatchdog feeds the service manager's watchdog until ctx ends; it returns at once where there is none. At half of the watchdog's period it
// calls check, which must return when its context ends, a quarter of a period later. Only a check that returns nil by then is followed by a ping; any other is
// a health.unanswered event. One late check alone is survived: the next comes before the period is over.
func (n *Notifier) RunWatchdog(ctx context.Context, clock clockwork.Clock, check func(ctx context.Context) error) {
	period, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		n.observer.Emit(observe.SystemdFailed, "", "error", err)
	}
	if period == 0 {
		return
	}
	ticker := clock.NewTicker(period / 2)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.Chan():
		}
		if err := within(ctx, clock, period/4, check); err == nil {
			n.notify(daemon.SdNotifyWatchdog)
		} else if ctx.Err() == nil {
			n.observer.Emit(observe.HealthUnanswered, "", "timeout", period/4, "error", err)
		}
	}
}

// within is check's answer, or errLate when it took limit or longer.
func within(ctx context.Context, clock clockwork.Clock, limit time.Duration, check func(ctx context.Context) error) error {
	began := clock.Now()
	ctx, cancel := clockwork.WithTimeout(ctx, clock, limit)
	defer cancel()
	err := check(ctx)
	if clock.Since(began) >= limit {
		return errLate
	}
	return err
}

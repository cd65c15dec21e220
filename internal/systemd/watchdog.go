package systemd

import (
	"context"
	"errors"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/jonboulle/clockwork"

	"tempestd/internal/observe"
)

// errLate is the error of a check that returns too late.
var errLate = errors.New("no answer in time")

// RunWatchdog feeds the service manager's watchdog until ctx ends. It returns at once if there is
// no watchdog. Twice per period of the watchdog it calls check. The context of check ends a quarter
// of a period later, and check must return then. If check returns nil before that, RunWatchdog
// sends a ping; otherwise it emits a health.unanswered event. A single late check does no harm,
// because the next one comes before the period is over.
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

// within returns the result of check, or errLate if check took limit or longer.
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

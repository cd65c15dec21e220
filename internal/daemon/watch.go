package daemon

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/observe"
)

const (
	statusEvery = 10 * time.Second
	askTimeout  = 5 * time.Second
	retryEvery  = time.Second
	// longestStart is how long a start may take that still works. systemd ends one that takes longer.
	longestStart = time.Hour
)

// watch starts the goroutines that run beside the actor tree until ctx ends.
func (d *daemon) watch(ctx context.Context, listener net.Listener) {
	addr := ""
	if listener != nil {
		addr = listener.Addr().String()
	}
	d.crew.Keep(ctx, "daemon.ready", func(ctx context.Context) { d.awaitReady(ctx, addr) })
	d.crew.Keep(ctx, "daemon.watchdog", func(ctx context.Context) { d.notifier.RunWatchdog(ctx, d.clock, d.works) })
	d.crew.Keep(ctx, "daemon.status", d.tellStatus)
	d.crew.Keep(ctx, "daemon.reload", d.awaitReload)
	d.crew.Keep(ctx, "daemon.repeats", d.observer.TellRepeats)
}

// awaitReady waits until the whole tree answers for the first time, and then reports that the
// daemon is ready. A disk that is nearly full does not delay it: the daemon is then ready, and
// /readyz says why it stores no events.
func (d *daemon) awaitReady(ctx context.Context, addr string) {
	for d.healthy(ctx) != nil {
		select {
		case <-ctx.Done():
			return
		case <-d.clock.After(retryEvery):
		}
	}
	d.atReady()
	d.ready.Store(true)
	d.notifier.Ready()
	d.observer.Emit(observe.DaemonReady, "")
	if d.opt.Ready != nil {
		d.opt.Ready(addr)
	}
}

// reloading tells the service manager that the configuration is being read again. The caller calls
// done afterwards.
func (d *daemon) reloading() (done func()) {
	if !d.ready.Load() {
		return func() {} // to say ready then would be too early
	}
	d.notifier.Reloading()
	return d.notifier.Ready
}

func (d *daemon) healthy(ctx context.Context) error {
	ctx, cancel := clockwork.WithTimeout(ctx, d.clock, askTimeout)
	defer cancel()
	return d.tree.Healthy(ctx)
}

// longestAppend is how long no append may end while one is under way. A disk that is slow or full
// ends its appends, and one that spins up or is throttled takes seconds.
const longestAppend = 2 * time.Minute

// works says why the daemon does not do its work, as far as starting it anew may mend that: its
// actors do not answer, or its store does not. A server that is away ends every append.
func (d *daemon) works(ctx context.Context) error {
	if err := d.tree.Healthy(ctx); err != nil {
		return err
	}
	if stream, since := d.stuck(); since > longestAppend {
		return fmt.Errorf("the store is stuck: no append to the stream %s has ended for %s", stream, since.Round(time.Second))
	}
	return nil
}

// tellStatus updates the line that systemctl status shows.
func (d *daemon) tellStatus(ctx context.Context) {
	ticker := d.clock.NewTicker(statusEvery)
	defer ticker.Stop()
	for {
		ask, cancel := clockwork.WithTimeout(ctx, d.clock, askTimeout)
		feeds, err := d.tree.Feeds(ask)
		cancel()
		if err == nil && ctx.Err() == nil {
			d.notifier.Status(statusLine(feeds))
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.Chan():
		}
	}
}

package daemon

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/observe"
)

const (
	statusEvery = 10 * time.Second
	askTimeout  = 5 * time.Second
	retryEvery  = time.Second
)

// watch starts what runs beside the daemon until ctx ends.
func (d *daemon) watch(ctx context.Context, listener net.Listener) {
	addr := ""
	if listener != nil {
		addr = listener.Addr().String()
	}
	d.crew.Keep(ctx, "daemon.ready", func(ctx context.Context) { d.awaitReady(ctx, addr) })
	d.crew.Keep(ctx, "daemon.watchdog", func(ctx context.Context) { d.notifier.RunWatchdog(ctx, d.clock, d.tree.Healthy) })
	d.crew.Keep(ctx, "daemon.status", d.tellStatus)
	d.crew.Keep(ctx, "daemon.reload", d.awaitReload)
}

// awaitReady waits for the first answer of the whole tree and tells everyone. A disk that is nearly full does not delay it: the daemon is
// up then, and says on /readyz why it takes no events.
func (d *daemon) awaitReady(ctx context.Context, addr string) {
	for d.healthy(ctx) != nil {
		select {
		case <-ctx.Done():
			return
		case <-d.clock.After(retryEvery):
		}
	}
	d.notifier.Ready()
	d.observer.Emit(observe.DaemonReady, "")
	if d.opt.Ready != nil {
		d.opt.Ready(addr)
	}
}

func (d *daemon) healthy(ctx context.Context) error {
	ctx, cancel := clockwork.WithTimeout(ctx, d.clock, askTimeout)
	defer cancel()
	return d.tree.Healthy(ctx)
}

// tellStatus keeps the line that systemctl status shows.
func (d *daemon) tellStatus(ctx context.Context) {
	ticker := d.clock.NewTicker(statusEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.Chan():
			if line := d.statusLine(ctx); line != "" {
				d.notifier.Status(line)
			}
		}
	}
}

// statusLine is one clause a feed, "" when the tree does not answer.
func (d *daemon) statusLine(ctx context.Context) string {
	ctx, cancel := clockwork.WithTimeout(ctx, d.clock, askTimeout)
	defer cancel()
	feeds, err := d.tree.Feeds(ctx)
	if err != nil {
		return ""
	}
	clauses := make([]string, len(feeds))
	for i, f := range feeds {
		clauses[i] = fmt.Sprintf("%s %s, %.0f events/s", f.Feed, f.State, f.EventsPerSec)
	}
	return strings.Join(clauses, "; ")
}

package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"tempestd/internal/config"
	"tempestd/internal/crashpoint"
	"tempestd/internal/observe"
	"tempestd/messages"
)

// reloadRequest asks for a reload. The answer is sent to done, which has room for it.
type reloadRequest struct{ done chan<- reloadAnswer }

type reloadAnswer struct {
	result messages.Reloaded
	err    error
}

// errFixed refuses a reload of a daemon that was not started from a configuration that can be read
// again.
var errFixed = fmt.Errorf("%w: this daemon's configuration cannot be read again", messages.ErrNotNow)

// Reload implements serve.Reloader. It returns when the configuration is in force or rejected. A
// reload that has begun goes on to its end, also when ctx ends before.
func (d *daemon) Reload(ctx context.Context) (messages.Reloaded, error) {
	if d.opt.Load == nil {
		return messages.Reloaded{}, errFixed
	}
	done := make(chan reloadAnswer, 1)
	select {
	case d.reloads <- reloadRequest{done}:
	case <-ctx.Done():
		return messages.Reloaded{}, fmt.Errorf("another reload is under way: %w", ctx.Err())
	}
	select {
	case answer := <-done:
		return answer.result, answer.err
	case <-ctx.Done():
		return messages.Reloaded{}, ctx.Err()
	}
}

// awaitReload reads the configuration again at every request, one after the other, until ctx ends.
func (d *daemon) awaitReload(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.opt.Reload:
			_, _ = d.reload(ctx) // it has told
		case r := <-d.reloads:
			r.answer(func() (messages.Reloaded, error) { return d.reload(ctx) })
		}
	}
}

// errFault is the answer of a reload that a fault of ours ended.
var errFault = errors.New("the reload failed because of a fault in the daemon; its log says more")

func (r reloadRequest) answer(reload func() (messages.Reloaded, error)) {
	answer := reloadAnswer{err: errFault}
	defer func() { r.done <- answer }()
	answer.result, answer.err = reload()
}

// reload takes over a changed configuration: all of it that can change while the daemon runs, or
// nothing. What can fail is done before anything changes.
func (d *daemon) reload(ctx context.Context) (messages.Reloaded, error) {
	defer d.reloading()()
	result, err := d.takeOver(ctx)
	if err != nil {
		d.observer.Metrics().ConfigOK.Set(0)
		d.observer.Emit(observe.ConfigRejected, "", "config", d.config().Path, "error", err)
		return result, err
	}
	d.observer.Metrics().ConfigOK.Set(1)
	feeds := slices.Concat(result.Added, result.Removed, result.Changed)
	slices.Sort(feeds)
	d.observer.Emit(observe.ConfigReloaded, "", "config", d.config().Path, "feeds", strings.Join(feeds, ","), "keys", strings.Join(result.Keys, ","))
	if len(result.Restart) > 0 {
		d.observer.Emit(observe.ConfigRestart, "", "config", d.config().Path, "keys", strings.Join(result.Restart, ","))
	}
	return result, nil
}

func (d *daemon) takeOver(ctx context.Context) (messages.Reloaded, error) {
	read, err := d.opt.Load()
	if err != nil {
		return messages.Reloaded{}, &messages.RejectedError{Err: err}
	}
	diff, cfg := config.Diff(d.config(), read)
	result := messages.Reloaded{Config: read.Path, Added: diff.Added, Removed: diff.Removed, Changed: slices.Concat(diff.Anew, diff.Filtered, diff.Kept),
		Keys: slices.Concat(diff.Keys, diff.FeedKeys), Restart: diff.Restart}
	slices.Sort(result.Changed)
	result.Changed = slices.Compact(result.Changed)
	if d.shared {
		// A stream in a server gets what it keeps with its lease.
		diff.Anew, diff.Kept = union(diff.Anew, diff.Kept), nil
	}
	begin := union(diff.Anew, diff.Added)
	accounts, err := d.makeAccounts(cfg, begin)
	if err != nil {
		return messages.Reloaded{}, &messages.RejectedError{Err: err}
	}
	change, err := d.tree.Prepare(ctx, d.effective(cfg, accounts), diff.Anew, diff.Filtered, diff.Kept, d.sources(cfg, accounts, begin))
	if err != nil {
		return messages.Reloaded{}, &messages.RejectedError{Err: err}
	}
	// From here on the change is carried through. Only the end of the daemon can come in between.
	d.leaveAccounts(union(diff.Anew, diff.Removed))
	if err := change.Apply(ctx, cfg.ShutdownTimeout); err != nil {
		return messages.Reloaded{}, err
	}
	crashpoint.Pass(crashpoint.Reloaded)
	d.cfg.Store(cfg)
	for _, name := range diff.Filtered {
		if a := d.accounts[name]; a != nil {
			a.configure(ctx, *cfg.Feed(name))
		}
	}
	d.enterAccounts(ctx, accounts)
	d.server.Configure(serveLimits(cfg))
	if d.opt.Reloaded != nil {
		d.opt.Reloaded(cfg)
	}
	return result, nil
}

// union returns the names of both lists, sorted.
func union(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

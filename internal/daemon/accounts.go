package daemon

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"tempestd/internal/accounts"
	"tempestd/internal/accounts/guard"
	"tempestd/internal/backfill"
	"tempestd/internal/config"
	"tempestd/internal/follow"
	"tempestd/internal/timeline"
	"tempestd/internal/version"
	"tempestd/messages"
)

// account is the account of one feed, from the feed's beginning to its end or its next
// configuration.
type account struct {
	d        *daemon
	status   *accountStatus
	follower *follow.Follower // nil if the feed's dids are not its follows
	leave    context.CancelFunc

	mu   sync.Mutex
	feed config.Feed // as it is configured, without the follows
	over bool
}

// dids are those of a feed: the configured ones and the follows.
func dids(feed config.Feed, follows []string) []string {
	all := slices.Concat(feed.DIDs, follows)
	slices.Sort(all)
	return slices.Compact(all)
}

// openNetwork makes the client of accounts' servers.
func (d *daemon) openNetwork() {
	c := d.config().Network
	opt := accounts.NetworkOptions{Clock: d.clock, UserAgent: version.UserAgent(d.opt.Version), PLC: c.PLC}
	if c.Local {
		opt.Policy = guard.Policy{Local: func(netip.AddrPort) bool { return true }}
	}
	if d.opt.Network != nil {
		d.opt.Network(&opt)
	}
	d.network = accounts.NewNetwork(opt)
}

// makeAccounts makes the accounts of those of the named feeds that have one. Nothing of them runs
// yet.
func (d *daemon) makeAccounts(cfg *config.Config, names []string) (map[string]*account, error) {
	all := map[string]*account{}
	for _, feed := range cfg.Feeds {
		if feed.Account.Identifier == "" || !slices.Contains(names, feed.Name) {
			continue
		}
		// What is kept here can log in as the account, and tells whom it follows.
		if err := os.MkdirAll(d.accountsDir(), 0o700); err != nil {
			return nil, fmt.Errorf("data_dir: %w", err)
		}
		a := &account{d: d, feed: feed, leave: func() {},
			status: &accountStatus{d: d, feed: feed.Name, status: messages.FollowStatus{Account: feed.Account.Identifier}}}
		all[feed.Name] = a
		if !feed.Account.Follows {
			continue
		}
		var err error
		a.follower, err = follow.New(follow.Options{
			Feed: feed.Name, Account: feed.Account.Identifier, Follows: a.timeline().Follows, Refresh: feed.Account.Refresh,
			File: filepath.Join(d.accountsDir(), feed.Name+".follows.json"), Clock: d.clock, Observer: d.observer,
			Use: a.use, Told: a.status.follows,
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (d *daemon) accountsDir() string { return filepath.Join(d.config().DataDir, "accounts") }

// timeline makes the account's timeline, with its session.
func (a *account) timeline() *timeline.Account {
	d := a.d
	return timeline.New(timeline.Options{
		Identifier: a.feed.Account.Identifier, Password: a.feed.Account.Password, Store: timeline.FileStore(filepath.Join(d.accountsDir(), a.feed.Name+".session.json")),
		Calls: d.network.Calls, Directory: d.network.Directory, Accounts: d.network.Client, Clock: d.clock,
		Told: a.status.session,
	})
}

// use has the feed use the follows beside what is configured.
func (a *account) use(ctx context.Context, follows []string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		return nil // the feed has another account now, or is gone
	}
	feed := a.feed
	feed.DIDs = dids(feed, follows)
	return a.d.tree.UpdateFilter(ctx, feed)
}

// configure takes over a changed filter. The tree has it already, with the follows of that moment.
func (a *account) configure(ctx context.Context, feed config.Feed) {
	a.mu.Lock()
	a.feed = feed
	a.mu.Unlock()
	if a.follower != nil {
		// A feed that does not answer now has got the order.
		_ = a.use(ctx, a.follower.DIDs())
	}
}

// effective returns a configuration with the follows among the feeds' dids. made are the accounts of
// feeds that begin.
func (d *daemon) effective(cfg *config.Config, made map[string]*account) *config.Config {
	c := *cfg
	c.Feeds = slices.Clone(c.Feeds)
	for i := range c.Feeds {
		a := made[c.Feeds[i].Name]
		if a == nil {
			a = d.accounts[c.Feeds[i].Name]
		}
		if a != nil && a.follower != nil {
			c.Feeds[i].DIDs = dids(c.Feeds[i], a.follower.DIDs())
		}
	}
	return &c
}

// sources makes the sources of repairs that need the accounts' servers, of the named feeds.
func (d *daemon) sources(cfg *config.Config, made map[string]*account, names []string) map[string][]backfill.Source {
	all := map[string][]backfill.Source{}
	for _, feed := range cfg.Feeds {
		if !slices.Contains(names, feed.Name) {
			continue
		}
		all[feed.Name] = []backfill.Source{backfill.NewAccounts(backfill.AccountsOptions{
			Network: d.network, Relay: cfg.Network.Relay, Clock: d.clock, Crew: &d.crew})}
		if !feed.Account.Password.IsEmpty() {
			all[feed.Name] = append(all[feed.Name], backfill.NewTimeline(backfill.TimelineOptions{
				Account: made[feed.Name].timeline(), Received: d.network.Calls.Received, Clock: d.clock}))
		}
	}
	return all
}

// enterAccounts begins to keep the follows of feeds that have begun, until ctx ends.
func (d *daemon) enterAccounts(ctx context.Context, made map[string]*account) {
	maps.Copy(d.accounts, made)
	for _, a := range made {
		a.status.tell(ctx, func(*messages.FollowStatus) {})
		if a.follower == nil {
			continue
		}
		var during context.Context
		during, a.leave = context.WithCancel(ctx)
		d.crew.Keep(during, "daemon.follow", a.follower.Run)
	}
}

// leaveAccounts ends the accounts of feeds that end.
func (d *daemon) leaveAccounts(names []string) {
	for _, name := range names {
		a := d.accounts[name]
		if a == nil {
			continue
		}
		delete(d.accounts, name)
		a.leave()
		a.mu.Lock()
		a.over = true
		a.mu.Unlock()
	}
}

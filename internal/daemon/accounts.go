package daemon

import (
	"context"
	"fmt"
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

// followed is a feed that follows an account.
type followed struct {
	follower *follow.Follower
	mu       sync.Mutex
	feed     config.Feed // as it is configured, without the follows
}

// dids are those of a feed: the configured ones and the follows.
func dids(feed config.Feed, follows []string) []string {
	all := slices.Concat(feed.DIDs, follows)
	slices.Sort(all)
	return slices.Compact(all)
}

// openNetwork makes the client of accounts' servers, and all that is made of it.
func (d *daemon) openNetwork() error {
	c := d.cfg.Network
	opt := accounts.NetworkOptions{Clock: d.clock, UserAgent: version.UserAgent(d.opt.Version), PLC: c.PLC}
	if c.Local {
		opt.Policy = guard.Policy{Local: func(netip.AddrPort) bool { return true }}
	}
	if d.opt.Network != nil {
		d.opt.Network(&opt)
	}
	d.network = accounts.NewNetwork(opt)
	d.followed, d.accounts = map[string]*followed{}, map[string]*accountStatus{}
	for _, feed := range d.cfg.Feeds {
		if feed.Account.Identifier == "" {
			continue
		}
		// What is kept here can log in as the account, and tells whom it follows.
		if err := os.MkdirAll(d.accountsDir(), 0o700); err != nil {
			return fmt.Errorf("data_dir: %w", err)
		}
		status := &accountStatus{d: d, feed: feed.Name, status: messages.FollowStatus{Account: feed.Account.Identifier}}
		d.accounts[feed.Name] = status
		if !feed.Account.Follows {
			continue
		}
		entry := &followed{feed: feed}
		var err error
		entry.follower, err = follow.New(follow.Options{
			Feed: feed.Name, Account: feed.Account.Identifier, Follows: d.account(feed).Follows, Refresh: feed.Account.Refresh,
			File: filepath.Join(d.accountsDir(), feed.Name+".follows.json"), Clock: d.clock, Observer: d.observer,
			Use:  func(ctx context.Context, follows []string) error { return entry.use(ctx, d, follows) },
			Told: status.follows,
		})
		if err != nil {
			return err
		}
		d.followed[feed.Name] = entry
	}
	return nil
}

func (d *daemon) accountsDir() string { return filepath.Join(d.cfg.DataDir, "accounts") }

// account makes the account of a feed, with its session.
func (d *daemon) account(feed config.Feed) *timeline.Account {
	return timeline.New(timeline.Options{
		Identifier: feed.Account.Identifier, Password: feed.Account.Password, Store: timeline.FileStore(filepath.Join(d.accountsDir(), feed.Name+".session.json")),
		Calls: d.network.Calls, Directory: d.network.Directory, Accounts: d.network.Client, Clock: d.clock,
		Told: d.accounts[feed.Name].session,
	})
}

// use has a feed use the follows beside what is configured.
func (e *followed) use(ctx context.Context, d *daemon, follows []string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	feed := e.feed
	feed.DIDs = dids(feed, follows)
	return d.tree.UpdateFilter(ctx, feed)
}

// updateFilter has a feed use the filter of a configuration that was read again.
func (d *daemon) updateFilter(ctx context.Context, feed config.Feed) error {
	e := d.followed[feed.Name]
	if e == nil {
		return d.tree.UpdateFilter(ctx, feed)
	}
	e.mu.Lock()
	e.feed = feed
	e.mu.Unlock()
	return e.use(ctx, d, e.follower.DIDs())
}

// effective returns the configuration with the follows among the feeds' dids.
func (d *daemon) effective() *config.Config {
	c := *d.cfg
	c.Feeds = slices.Clone(c.Feeds)
	for i := range c.Feeds {
		if e := d.followed[c.Feeds[i].Name]; e != nil {
			c.Feeds[i].DIDs = dids(c.Feeds[i], e.follower.DIDs())
		}
	}
	return &c
}

// sources makes the sources of repairs that need the accounts' servers, by feed.
func (d *daemon) sources() map[string][]backfill.Source {
	all := map[string][]backfill.Source{}
	for _, feed := range d.cfg.Feeds {
		all[feed.Name] = []backfill.Source{backfill.NewAccounts(backfill.AccountsOptions{
			Network: d.network, Relay: d.cfg.Network.Relay, Clock: d.clock, Crew: &d.crew})}
		if !feed.Account.Password.IsEmpty() {
			all[feed.Name] = append(all[feed.Name], backfill.NewTimeline(backfill.TimelineOptions{
				Account: d.account(feed), Received: d.network.Calls.Received, Clock: d.clock}))
		}
	}
	return all
}

// follow keeps the follows of every feed until ctx ends.
func (d *daemon) follow(ctx context.Context) {
	for _, s := range d.accounts {
		s.tell(ctx, func(*messages.FollowStatus) {})
	}
	for _, e := range d.followed {
		d.crew.Keep(ctx, "daemon.follow", e.follower.Run)
	}
}

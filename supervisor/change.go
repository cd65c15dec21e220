package supervisor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"tempestd/internal/backfill"
	"tempestd/internal/config"
	"tempestd/messages"
	"tempestd/persistence"
)

// Change is another configuration of the feeds, made ready to be applied. Whatever can fail has
// been done by then, and nothing is in force yet.
type Change struct {
	daemon  *Daemon
	to      *feeds
	root    feedChange
	filters []config.Feed // the feeds whose filter alone has changed
	keep    []config.Feed // the feeds whose retention changes
	created []string      // streams that Prepare has made
}

// Prepare makes a change of the feeds ready. cfg has the feeds as they are to be. anew names those
// that are to begin anew with another configuration, beside those that are added. filtered and kept
// name those of which only the filter or the retention changes. sources are as in Options, for the
// feeds that begin. After an error nothing has changed. Otherwise the caller must call Apply or
// Discard, before it makes another change.
func (d *Daemon) Prepare(ctx context.Context, cfg *config.Config, anew, filtered, kept []string, sources map[string][]backfill.Source) (*Change, error) {
	if err := d.hold(ctx); err != nil {
		return nil, err
	}
	was := d.feeds.Load()
	c := &Change{daemon: d, to: &feeds{cfg: cfg, dicts: make(map[string]dictionaries, len(cfg.Feeds))}}
	for _, fc := range was.cfg.Feeds {
		if !c.to.has(fc.Name) || slices.Contains(anew, fc.Name) {
			c.root.end = append(c.root.end, fc.Name)
		}
	}
	ready := false
	defer func() {
		if !ready { // an error, or a fault of ours
			c.Discard(ctx)
		}
	}()
	o := d.opt
	o.Config, o.Sources = cfg, sources
	if cfg.HA.Candidate {
		o.Node.Streams = nil
		for _, fc := range cfg.Feeds {
			o.Node.Streams = append(o.Node.Streams, fc.Name)
		}
		c.root.streams = o.Node.Streams
	}
	for _, fc := range cfg.Feeds {
		if err := c.add(ctx, o, fc, was, anew, filtered, kept); err != nil {
			return nil, fmt.Errorf("feed %s: %w", fc.Name, err)
		}
	}
	ready = true
	return c, nil
}

// add makes one feed of the change ready.
func (c *Change) add(ctx context.Context, o Options, fc config.Feed, was *feeds, anew, filtered, kept []string) (err error) {
	if was.has(fc.Name) && !slices.Contains(anew, fc.Name) {
		c.to.dicts[fc.Name] = was.dicts[fc.Name]
		if slices.Contains(filtered, fc.Name) {
			c.filters = append(c.filters, fc)
		}
		if slices.Contains(kept, fc.Name) {
			c.keep = append(c.keep, fc)
		}
		return nil
	}
	if c.to.dicts[fc.Name], err = newDictionaries(fc, c.daemon.negotiator); err != nil {
		return err
	}
	cfg, err := newFeedConfig(ctx, o, fc, c.to.dicts[fc.Name], c.open)
	if err != nil {
		return err
	}
	c.root.begin = append(c.root.begin, cfg)
	if cfg.Lease == nil {
		c.keep = append(c.keep, fc)
	}
	return nil
}

// open opens a stream without a change of what it keeps, if it is there.
func (c *Change) open(ctx context.Context, store persistence.Store, fc config.Feed, lease messages.Lease) (persistence.Stream, error) {
	s, err := store.Stream(ctx, fc.Name)
	if !errors.Is(err, persistence.ErrNoStream) {
		return s, err
	}
	if s, err = openStream(ctx, store, fc, lease); err == nil {
		c.created = append(c.created, fc.Name)
	}
	return s, err
}

// Discard gives the change up.
func (c *Change) Discard(ctx context.Context) {
	for _, name := range c.created {
		// A stream that stays is empty, and is shown as one without a feed.
		_ = c.daemon.store.DeleteStream(context.WithoutCancel(ctx), name)
	}
	c.daemon.release()
}

// Apply puts the change in force. It returns when the feeds that end have stored what they had read,
// which may take up to patience, and the others have begun. The feeds that did not change are left
// alone. After an error nothing has changed, or the daemon stops.
func (c *Change) Apply(ctx context.Context, patience time.Duration) error {
	d := c.daemon
	defer d.release()
	if len(c.root.end)+len(c.root.begin) > 0 {
		was := d.feeds.Load()
		d.feeds.Store(c.without(was)) // nobody asks those that go
		c.root.patience = patience
		// The root ends the feeds at once when the patience is over.
		limited, cancel := context.WithTimeout(ctx, patience+askTimeout)
		defer cancel()
		reply, err := ask(limited, d.system, d.root, &c.root)
		if changed, ok := reply.(*feedsChanged); ok {
			err = changed.err
		}
		if err != nil {
			d.feeds.Store(was)
			return err
		}
	}
	d.feeds.Store(c.to)
	for _, fc := range c.keep {
		// The stream is open, so this only sets what it keeps.
		if _, err := openStream(ctx, d.store, fc, messages.Lease{}); err != nil {
			return err
		}
		d.tell(fc.Name, &retentionUpdate{fc.Retention})
	}
	for _, fc := range c.filters {
		d.tell(fc.Name, &filterUpdate{filterOf(fc)})
	}
	return nil
}

// without returns the feeds of before without those that the change removes.
func (c *Change) without(was *feeds) *feeds {
	cfg := *was.cfg
	cfg.Feeds = slices.DeleteFunc(slices.Clone(cfg.Feeds), func(fc config.Feed) bool { return !c.to.has(fc.Name) })
	return &feeds{cfg: &cfg, dicts: was.dicts}
}

// tell sends an order to a feed. The feed takes it even if it is being restarted.
func (d *Daemon) tell(feed string, order any) {
	if pid := d.feed(feed); pid != nil {
		d.system.Root.Send(pid, order)
	}
}

// hold waits until no change of the feeds is under way, and keeps others off until release.
func (d *Daemon) hold(ctx context.Context) error {
	select {
	case d.changing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("a change of the feeds is under way: %w", ctx.Err())
	}
}

func (d *Daemon) release() { <-d.changing }

// DeleteStream removes a stream for good, with its consumers and its ledger of gaps. The error
// matches persistence.ErrNoStream if no stream has that name, and messages.ErrNotNow if a feed fills
// it, here or at another daemon.
func (d *Daemon) DeleteStream(ctx context.Context, stream string) error {
	if err := d.hold(ctx); err != nil {
		return err
	}
	defer d.release()
	if d.feeds.Load().has(stream) {
		return fmt.Errorf("%w: the feed %s fills it; take it out of the configuration first", messages.ErrNotNow, stream)
	}
	if leases, shared := d.store.(persistence.LeaseStore); shared {
		nodes, err := leases.Nodes(ctx)
		if err != nil {
			return err
		}
		for i := range nodes {
			if slices.Contains(nodes[i].Streams, stream) {
				return fmt.Errorf("%w: %.64q has the feed %s, which fills it", messages.ErrNotNow, nodes[i].Name, stream)
			}
		}
	}
	return d.store.DeleteStream(ctx, stream)
}

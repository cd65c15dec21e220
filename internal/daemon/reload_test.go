package daemon_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"tempestd/internal/client"
	"tempestd/internal/config"
	"tempestd/internal/daemon"
	"tempestd/messages"
)

// reloading is a daemon whose configuration can be read again.
type reloading struct {
	*running
	dir, url string
	hangup   chan os.Signal
	load     chan func() (*config.Config, error)
	config   chan *config.Config // those that were taken over
}

func startReloading(t *testing.T, url string) *reloading {
	t.Helper()
	r := &reloading{dir: t.TempDir(), url: url, hangup: make(chan os.Signal), load: make(chan func() (*config.Config, error), 1), config: make(chan *config.Config, 100)}
	r.running = startWith(t, configure(r.dir, url), daemon.Options{Reload: r.hangup, Load: func() (*config.Config, error) { return (<-r.load)() },
		Reloaded: func(cfg *config.Config) { r.config <- cfg }})
	return r
}

// offer makes the next reload read the default configuration of the tests with a change.
func (r *reloading) offer(change func(*config.Config)) {
	r.load <- func() (*config.Config, error) {
		cfg := configure(r.dir, r.url)
		change(cfg)
		return cfg, nil
	}
}

// addFeed adds a feed that reads the same upstream.
func addFeed(c *config.Config, name string) *config.Feed {
	feed := c.Feeds[0]
	feed.Name = name
	c.Feeds = append(c.Feeds, feed)
	slices.SortFunc(c.Feeds, func(a, b config.Feed) int { return strings.Compare(a.Name, b.Name) })
	return &c.Feeds[slices.IndexFunc(c.Feeds, func(f config.Feed) bool { return f.Name == name })]
}

func TestReloadBySignalTakesOverAFilterAndNamesWhatNeedsARestart(t *testing.T) {
	d := startReloading(t, newSim(t).URL())
	defer d.finish(t)
	d.log.await(t, "feed.live", 1)

	d.offer(func(c *config.Config) { c.Feeds[0].Collections = []string{"app.bsky.feed.post"} })
	d.hangup <- syscall.SIGHUP
	d.log.await(t, "config.reloaded", 1)
	d.log.await(t, "feed.filter_changed", 1)

	d.load <- func() (*config.Config, error) { return nil, errors.New("line 3 is wrong") }
	d.hangup <- syscall.SIGHUP
	d.log.await(t, "config.rejected", 1)

	d.offer(func(c *config.Config) { // the filter is that of the first reload
		c.DataDir, c.HTTP.AllowedOrigins = "elsewhere", []string{"https://app.example"}
		c.Feeds[0].Collections = []string{"app.bsky.feed.post"}
	})
	d.hangup <- syscall.SIGHUP
	d.log.await(t, "config.restart_needed", 1)
	if got := len(d.log.of("feed.filter_changed")); got != 1 {
		t.Errorf("the filter changed %d times, want once", got)
	}
	d.log.mu.Lock()
	defer d.log.mu.Unlock()
	if want := []string{"feeds.sky.collections", "", "data_dir,http.allowed_origins"}; !slices.Equal(d.log.keys, want) {
		t.Errorf("keys %q, want %q", d.log.keys, want)
	}
}

func TestReloadAddsChangesAndRemovesFeeds(t *testing.T) {
	d := startReloading(t, newSim(t).URL())
	defer d.finish(t)
	ctx := t.Context()
	d.log.await(t, "feed.live", 1)
	reload := func(change func(*config.Config)) messages.Reloaded {
		t.Helper()
		d.offer(change)
		changed, err := d.Reload(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return changed
	}
	live := func(name string) messages.FeedStatus {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
			if s, err := d.Feed(ctx, name); err == nil && s.State == messages.StateLive || time.Now().After(deadline) {
				return s
			}
		}
	}
	before := live("sky").Epoch

	if got := reload(func(c *config.Config) { addFeed(c, "two") }); !slices.Equal(got.Added, []string{"two"}) || len(got.Restart) > 0 {
		t.Errorf("after the addition of a feed: %+v", got)
	}
	first := live("two")
	got := reload(func(c *config.Config) {
		two := addFeed(c, "two")
		two.BatchDelay, two.Repair.Policy = 40*time.Millisecond, config.GapsRecord
		c.HTTP.MaxTails, c.HTTP.Listen = 7, "127.0.0.1:1"
	})
	if !slices.Equal(got.Changed, []string{"two"}) || !slices.Equal(got.Restart, []string{"http.listen"}) ||
		!slices.Equal(got.Keys, []string{"http.max_tails", "feeds.two.batch_delay", "feeds.two.gap_policy"}) {
		t.Errorf("after a change: %+v", got)
	}
	if second := live("two"); second.Epoch <= first.Epoch || len(second.History) <= len(first.History) {
		t.Errorf("the feed that changed was not connected anew, or has forgotten: epochs %d and %d", first.Epoch, second.Epoch)
	}
	// What a stream keeps changes without a connection.
	epoch := live("two").Epoch
	reload(func(c *config.Config) {
		two := addFeed(c, "two")
		two.BatchDelay, two.Repair.Policy, two.Retention = 40*time.Millisecond, config.GapsRecord, config.Retention{Entries: 500}
		c.HTTP.MaxTails = 7
	})
	if s := live("two"); s.Epoch != epoch || s.Retention.Entries != 500 {
		t.Errorf("after another retention the epoch is %d, want %d; it keeps %+v", s.Epoch, epoch, s.Retention)
	}
	if err := d.DeleteStream(ctx, "two"); refusal(err) != "NotNow" {
		t.Errorf("deleting the stream of a feed gives %v", err)
	}
	if got := reload(func(*config.Config) {}); !slices.Equal(got.Removed, []string{"two"}) {
		t.Errorf("after the removal: %+v", got)
	}
	if _, err := d.Feed(ctx, "two"); !errors.Is(err, messages.ErrNoFeed) {
		t.Errorf("the removed feed: %v", err)
	}
	streams, err := d.StreamStatuses(ctx)
	if err != nil || len(streams) != 2 || !streams[0].Feed || streams[1].Feed || streams[1].Retention.Entries != 500 {
		t.Errorf("the streams are %+v, %v", streams, err)
	}
	if err := d.DeleteStream(ctx, "two"); err != nil {
		t.Error(err)
	}
	if streams, err := d.StreamStatuses(ctx); err != nil || len(streams) != 1 {
		t.Errorf("the streams are %+v, %v", streams, err)
	}
	if after := live("sky").Epoch; after != before {
		t.Errorf("the feed that did not change went from epoch %d to %d", before, after)
	}
	if got := reload(func(*config.Config) {}); !got.IsNothing() {
		t.Errorf("a reload without a change gives %+v", got)
	}
}

func TestReloadIsAllOrNothing(t *testing.T) {
	d := startReloading(t, newSim(t).URL())
	defer d.finish(t)
	d.log.await(t, "feed.live", 1)
	d.offer(func(c *config.Config) {
		c.Feeds[0].BatchDelay = time.Second
		addFeed(c, "first")
		addFeed(c, "zlast").ZstdDictionary = d.dir + "/gone" // it was there when the file was checked
	})
	if _, err := d.Reload(t.Context()); refusal(err) != "ConfigRejected" {
		t.Errorf("got %v", err)
	}
	d.load <- func() (*config.Config, error) { // as far as it could be read
		c := configure(d.dir, d.url)
		addFeed(c, "first")
		return c, errors.New("line 3 is wrong")
	}
	if _, err := d.Reload(t.Context()); refusal(err) != "ConfigRejected" {
		t.Errorf("got %v", err)
	}
	feeds, err := d.Feeds(t.Context())
	if err != nil || len(feeds) != 1 || feeds[0].Epoch != 1 {
		t.Errorf("the feeds are %+v, %v", feeds, err)
	}
	if streams, err := d.Streams(t.Context()); err != nil || len(streams) != 1 {
		t.Errorf("the streams are %+v, %v", streams, err)
	}
}

// refusal is the name of the daemon's error.
func refusal(err error) string {
	var e *client.APIError
	if !errors.As(err, &e) {
		return ""
	}
	return e.Name
}

func TestReloadOfADaemonWithoutAFileIsRefused(t *testing.T) {
	d := start(t, configure(t.TempDir(), newSim(t).URL()))
	defer d.finish(t)
	if _, err := d.Reload(context.Background()); refusal(err) != "NotNow" {
		t.Errorf("got %v", err)
	}
}

package daemon_test

import (
	"errors"
	"os"
	"slices"
	"syscall"
	"testing"

	"tempestd/internal/config"
	"tempestd/internal/daemon"
)

func TestReloadTakesOverFiltersAndNamesTheRest(t *testing.T) {
	sim := newSim(t)
	dir := t.TempDir()
	ask := make(chan os.Signal)
	load := make(chan func() (*config.Config, error), 1)
	d := startWith(t, configure(dir, sim.URL()), daemon.Options{Reload: ask, Load: func() (*config.Config, error) { return (<-load)() }})
	defer d.finish(t)
	d.log.await(t, "feed.live", 1)

	reload := func(change func(*config.Config), err error) {
		load <- func() (*config.Config, error) {
			cfg := configure(dir, sim.URL())
			change(cfg)
			return cfg, err
		}
		ask <- syscall.SIGHUP
	}
	reload(func(c *config.Config) { c.Feeds[0].Collections = []string{"app.bsky.feed.post"} }, nil)
	d.log.await(t, "config.reloaded", 1)
	d.log.await(t, "feed.filter_changed", 1)

	reload(func(*config.Config) {}, errors.New("line 3 is wrong"))
	d.log.await(t, "config.rejected", 1)

	reload(func(c *config.Config) { // these keys need a restart, and the filter is unchanged
		c.DataDir, c.Feeds[0].Rewind = "elsewhere", 1
		c.HTTP.AllowedOrigins = []string{"https://app.example"}
		c.Feeds[0].Collections = []string{"app.bsky.feed.post"}
	}, nil)
	d.log.await(t, "config.reloaded", 2)
	if got := len(d.log.of("feed.filter_changed")); got != 1 {
		t.Errorf("the filter changed %d times, want once", got)
	}
	d.log.mu.Lock()
	defer d.log.mu.Unlock()
	if want := []string{"", "data_dir,http,feeds.sky"}; !slices.Equal(d.log.ignored, want) {
		t.Errorf("ignored %q, want %q", d.log.ignored, want)
	}
}

package daemon_test

import (
	"errors"
	"os"
	"reflect"
	"slices"
	"strings"
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
	reload(func(c *config.Config) { // every section, those of later versions among them
		all := reflect.ValueOf(c).Elem()
		for i := range all.NumField() {
			if name := all.Type().Field(i).Name; name != "Path" && name != "Feeds" {
				change(t, name, all.Field(i))
			}
		}
		c.Feeds[0].Collections = []string{"app.bsky.feed.post"}
	}, nil)
	d.log.await(t, "config.reloaded", 3)
	d.log.mu.Lock()
	defer d.log.mu.Unlock()
	every := "data_dir,ha,http,log,network,repair,shutdown_timeout,stream,valkey"
	if n := reflect.TypeFor[config.Config]().NumField(); strings.Count(every, ",")+1 != n-2 {
		t.Errorf("a configuration has %d parts, and these are tried: %s", n, every)
	}
	if want := []string{"", "data_dir,http,feeds.sky", every}; !slices.Equal(d.log.ignored, want) {
		t.Errorf("ignored %q, want %q", d.log.ignored, want)
	}
}

// change changes a value, or the first part of it that it can.
func change(t *testing.T, name string, v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Int, reflect.Int64:
		v.SetInt(v.Int() + 1)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() && change(t, "", v.Field(i)) {
				return true
			}
		}
		fallthrough
	default:
		if name != "" {
			t.Errorf("nothing of %s can be changed", name)
		}
		return false
	}
	return true
}

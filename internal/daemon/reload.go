package daemon

import (
	"context"
	"reflect"
	"slices"
	"strings"

	"tempestd/internal/config"
	"tempestd/internal/crashpoint"
	"tempestd/internal/observe"
)

// awaitReload reads the configuration again at every request, until ctx ends.
func (d *daemon) awaitReload(ctx context.Context) {
	if d.feeds == nil { // it is kept when the loop starts again after a panic
		d.feeds = slices.Clone(d.cfg.Feeds)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.opt.Reload:
			d.reload(ctx)
		}
	}
}

// reload takes over the part of the configuration that can change while feeds run: their filters.
// It reports other changes, which need a restart. An invalid configuration changes nothing.
func (d *daemon) reload(ctx context.Context) {
	cfg, err := d.opt.Load()
	if err != nil {
		d.observer.Emit(observe.ConfigRejected, "", "config", d.cfg.Path, "error", err)
		return
	}
	ignored := changedSections(d.cfg, cfg)
	var changed []string
	for i := range d.feeds {
		was := &d.feeds[i]
		at := slices.IndexFunc(cfg.Feeds, func(f config.Feed) bool { return f.Name == was.Name })
		if at < 0 {
			ignored = append(ignored, "feeds."+was.Name)
			continue
		}
		is := cfg.Feeds[at]
		if !reflect.DeepEqual(withoutFilter(*was), withoutFilter(is)) {
			ignored = append(ignored, "feeds."+was.Name)
		}
		if sameFilter(*was, is) {
			continue
		}
		if err := d.updateFilter(ctx, is); err != nil {
			d.observer.Emit(observe.ConfigRejected, "", "config", d.cfg.Path, "error", err)
			return
		}
		was.Collections, was.DIDs, was.Kinds = is.Collections, is.DIDs, is.Kinds
		changed = append(changed, was.Name)
		crashpoint.Pass(crashpoint.Reloaded)
	}
	for _, f := range cfg.Feeds {
		if !slices.ContainsFunc(d.feeds, func(was config.Feed) bool { return was.Name == f.Name }) {
			ignored = append(ignored, "feeds."+f.Name)
		}
	}
	d.observer.Emit(observe.ConfigReloaded, "", "config", d.cfg.Path, "feeds", strings.Join(changed, ","), "ignored", strings.Join(ignored, ","))
}

// changedSections names the sections outside of the feeds that have changed.
func changedSections(was, is *config.Config) (names []string) {
	for name, same := range map[string]bool{
		"data_dir":         was.DataDir == is.DataDir,
		"shutdown_timeout": was.ShutdownTimeout == is.ShutdownTimeout,
		"repair":           was.Repair == is.Repair,
		"log":              was.Log == is.Log,
		"http":             reflect.DeepEqual(was.HTTP, is.HTTP),
		"stream":           was.Stream == is.Stream,
		"valkey":           reflect.DeepEqual(was.Valkey, is.Valkey),
		"ha":               was.HA == is.HA,
		"network":          was.Network == is.Network,
	} {
		if !same {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func withoutFilter(f config.Feed) config.Feed {
	f.Collections, f.DIDs, f.Kinds = nil, nil, nil
	return f
}

func sameFilter(a, b config.Feed) bool {
	return slices.Equal(a.Collections, b.Collections) && slices.Equal(a.DIDs, b.DIDs) && slices.Equal(a.Kinds, b.Kinds)
}

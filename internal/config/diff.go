package config

import (
	"reflect"
	"slices"
	"strings"
)

// Difference is what another configuration changes.
type Difference struct {
	// Keys are the keys that can change while the daemon runs, without those of feeds.
	Keys []string
	// Restart are the keys of which a change needs a restart.
	Restart []string
	// The names of the feeds. Anew are those that change in more than a filter or a retention.
	Added, Removed, Anew, Filtered, Kept []string
	// FeedKeys are the keys that change in feeds that stay, "feeds.<name>.<key>".
	FeedKeys []string
}

// Diff compares two configurations. It also returns the configuration that can be in force without
// a restart: that of is, with the values of was for the keys that need one. Neither is changed.
func Diff(was, is *Config) (Difference, *Config) {
	var d Difference
	merged := &draft{Config: *is}
	before, after := place{draft: &draft{Config: *was}}, place{draft: merged}
	for _, k := range keys() {
		if strings.HasPrefix(k.path, feedsTable) || k.same == nil || k.same(before, after) {
			continue
		}
		if !k.fixed {
			d.Keys = append(d.Keys, k.path)
			continue
		}
		d.Restart = append(d.Restart, k.path)
		k.copy(before, after)
	}
	for i := range was.Feeds {
		if is.Feed(was.Feeds[i].Name) == nil {
			d.Removed = append(d.Removed, was.Feeds[i].Name)
		}
	}
	for i := range is.Feeds {
		if f := was.Feed(is.Feeds[i].Name); f != nil {
			d.feed(f, &is.Feeds[i])
			continue
		}
		d.Added = append(d.Added, is.Feeds[i].Name)
	}
	return d, &merged.Config
}

// feed compares the configurations of a feed.
func (d *Difference) feed(was, is *Feed) {
	if reflect.DeepEqual(was, is) {
		return
	}
	a, b := place{feed: &feedDraft{Feed: *was}}, place{feed: &feedDraft{Feed: *is}}
	filter, keep, other := false, false, false
	for _, k := range keys() {
		name, ofFeed := strings.CutPrefix(k.path, feedsTable+".")
		if !ofFeed || k.same == nil || k.same(a, b) {
			continue
		}
		d.FeedKeys = append(d.FeedKeys, showPath(append([]string{"feeds", is.Name}, strings.Split(name, ".")...)))
		switch table, _, _ := strings.Cut(name, "."); table {
		case "collections", "dids", "kinds":
			filter = true
		case "retention":
			keep = true
		default:
			other = true
		}
	}
	if other {
		d.Anew = append(d.Anew, is.Name)
		return
	}
	if filter {
		d.Filtered = append(d.Filtered, is.Name)
	}
	if keep {
		d.Kept = append(d.Kept, is.Name)
	}
}

// Feed returns the feed of that name, nil if there is none. It must not be changed.
func (c *Config) Feed(name string) *Feed {
	if i := slices.IndexFunc(c.Feeds, func(f Feed) bool { return f.Name == name }); i >= 0 {
		return &c.Feeds[i]
	}
	return nil
}

// fixedKeys returns the keys of which a change needs a restart. The keys of a section that has no
// others are named by the section.
func fixedKeys() []string {
	mixed := map[string]bool{}
	section := func(k key) string { name, _, _ := strings.Cut(k.path, "."); return name }
	for _, k := range keys() {
		if !k.fixed {
			mixed[section(k)] = true
		}
	}
	var names []string
	for _, k := range keys() {
		name := k.path
		if !mixed[section(k)] && strings.Contains(name, ".") {
			name = "[" + section(k) + "]"
		}
		if k.fixed && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

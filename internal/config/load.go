package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// builtin is the configuration of a daemon without a file. All other defaults are in keys.go.
const builtin = `
[feeds.bluesky]
endpoints = ["jetstream.us-east.bsky.network", "jetstream.us-west.bsky.network"]
`

// builtinName replaces the file name in errors about the built-in defaults. Such an error can come
// from the environment.
const builtinName = "built-in defaults"

// maxFile bounds the size of the configuration file. It has room for several times 10 000 DIDs.
const maxFile = 4 * mib

// Find returns the file that a daemon reads: explicit if it is given, else ./config.toml, else
// /etc/tempestd/config.toml, else "", which means the built-in defaults. When a file exists but
// cannot be accessed, Find returns an error and does not try the next one.
func Find(explicit string) (string, error) {
	if explicit != "" {
		return explicit, nil
	}
	for _, name := range []string{"config.toml", "/etc/tempestd/config.toml"} {
		switch _, err := os.Stat(name); {
		case err == nil:
			return name, nil
		case !errors.Is(err, fs.ErrNotExist):
			return "", fmt.Errorf("looking for a configuration: %w", err)
		}
	}
	return "", nil
}

// Default returns the configuration of a daemon without a file, for the environment of this
// process.
func Default() *Config {
	c, err := Load("", os.LookupEnv)
	if err != nil {
		panic(err) // a default is invalid, which a test would find
	}
	return c
}

// Load reads and validates a file. The path "" means the built-in defaults. Every error that it
// returns is an *Errors with all faults.
func Load(path string, env func(string) (string, bool)) (*Config, error) {
	if path == "" {
		return parse(builtinName, []byte(builtin), env)
	}
	data, err := readBounded(path, maxFile)
	if err != nil {
		return nil, &Errors{[]*Error{{File: path, Found: "cannot be read: " + reason(err), Want: "want a TOML file, or no -c for the built-in defaults"}}}
	}
	return parse(path, data, env)
}

// reason returns the text of an error without the path, because the path comes before it in the
// message.
func reason(err error) string {
	var perr *fs.PathError
	if errors.As(err, &perr) {
		return perr.Err.Error()
	}
	return err.Error()
}

func parse(file string, data []byte, env func(string) (string, bool)) (*Config, error) {
	l := &loader{
		file:   file,
		source: source{dir: absolute(filepath.Dir(file)), env: env},
		keys:   keys(),
		lines:  map[string]int{},
		feeds:  map[string]*feedDraft{},
	}
	if file != builtinName {
		l.draft.Path = absolute(file)
	}
	l.setDefaults(place{draft: &l.draft}, false)
	l.draft.DataDir = defaultDataDir(env)

	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	entries, syntax := parseDocument(data)
	l.reportSyntax(syntax)
	for _, e := range entries {
		l.apply(e)
	}
	l.readFiles()
	l.finish(len(syntax) > 0)
	if len(l.errs.List) == 0 {
		l.reportSyntax(strictErrors(data))
	}
	if len(l.errs.List) > 0 {
		return nil, l.errs.sorted(file)
	}
	for _, name := range slices.Sorted(maps.Keys(l.feeds)) {
		l.draft.Feeds = append(l.draft.Feeds, l.feeds[name].Feed)
	}
	l.advise()
	return &l.draft.Config, nil
}

// absolute returns the absolute form of a path, so that it means the same in a log and in another
// working directory.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path // the working directory is gone
}

// defaultDataDir returns systemd's state directory, else the XDG data directory, else the usual
// directory of a service without a home.
func defaultDataDir(env func(string) (string, bool)) string {
	state, _ := env("STATE_DIRECTORY")
	state, _, _ = strings.Cut(state, ":") // systemd separates several directories by colons
	xdg, _ := env("XDG_DATA_HOME")
	home, _ := env("HOME")
	switch {
	case state != "":
		return state
	case filepath.IsAbs(xdg):
		return filepath.Join(xdg, "tempestd")
	case filepath.IsAbs(home):
		return filepath.Join(home, ".local", "share", "tempestd")
	}
	return "/var/lib/tempestd"
}

// loader turns entries into a draft and collects the faults.
type loader struct {
	file   string
	source source
	keys   []key
	draft  draft
	feeds  map[string]*feedDraft
	lines  map[string]int // the line at which each key and table was first set
	errs   Errors
	// literal are the keys of secrets that are written in the file itself.
	literal []string
}

func (l *loader) report(line int, key, found, want string) {
	l.errs.List = append(l.errs.List, &Error{File: l.file, Line: line, Key: key, Found: found, Want: want})
}

// unresolved notes a secret that this process cannot read.
func (l *loader) unresolved(line int, key, found, want string) {
	l.draft.Unresolved = append(l.draft.Unresolved, &Error{File: l.file, Line: line, Key: key, Found: found, Want: want})
}

// reportAll reports the problems of a key's value. A secret that this process lacks is none.
func (l *loader) reportAll(key string, bad []problem, secret bool) {
	for _, p := range bad {
		if p.unset == credentials || secret && p.unset != "" {
			l.unresolved(p.line, key, p.found, p.want)
			continue
		}
		l.report(p.line, key, p.found, p.want)
	}
}

func (l *loader) reportSyntax(bad []syntaxError) {
	for _, e := range bad {
		l.report(e.line, e.key, "not TOML: "+e.message, "want key = value; text, durations and sizes stand in quotes")
	}
}

// setDefaults sets the keys of a place to their defaults: the keys of a feed, or all others.
func (l *loader) setDefaults(at place, feed bool) {
	for _, k := range l.keys {
		if k.value == "" || strings.HasPrefix(k.path, "feeds.") != feed {
			continue
		}
		entries, bad := parseDocument([]byte("v = " + k.value))
		if len(bad) > 0 || k.set(&l.source, at, entries[0].value) != nil {
			panic(fmt.Sprintf("config: the default of %s is not acceptable: %s", k.path, k.value))
		}
	}
}

// apply looks up an entry in the vocabulary and sets the value of its key.
func (l *loader) apply(e entry) {
	if l.archiveKey(e) {
		return
	}
	name := showPath(e.path)
	known := l.within(e.path)
	if len(known) == 0 {
		l.unknown(e)
		return
	}
	feed, ok := l.feedOf(e)
	if !ok {
		return
	}
	leaf := slices.ContainsFunc(known, func(k key) bool { return len(k.segments()) == len(e.path) })
	switch {
	case e.array:
		l.report(e.line, name, "found a table in double brackets", "want single ones: ["+name+"]")
	case l.again(e.line, name):
	case e.table && leaf:
		l.report(e.line, name, "found a table", known[0].want)
	case e.table:
	case !leaf:
		l.report(e.line, name, "found "+e.value.String(), "want a table: "+wantTable(e.path))
	default:
		value, bad := l.source.expandAll(e.value)
		if bad == nil {
			bad = known[0].set(&l.source, place{&l.draft, feed}, value)
		}
		l.reportAll(name, bad, known[0].secret)
		if known[0].secret && !e.value.hasVariable() {
			l.literal = append(l.literal, name)
		}
		l.warnOfRepeats(name, value)
	}
}

// within returns the keys that path names or is a prefix of.
func (l *loader) within(path []string) []key {
	var found []key
	for _, k := range l.keys {
		if len(path) <= len(k.segments()) && k.matches(path) {
			found = append(found, k)
		}
	}
	return found
}

// again reports a key or table that was set before.
func (l *loader) again(line int, name string) bool {
	first, repeated := l.lines[name]
	if repeated {
		l.report(line, name, "set a second time", fmt.Sprintf("want it once: the first is on line %d", first))
	} else {
		l.lines[name] = line
	}
	return repeated
}

// feedOf returns the feed that an entry belongs to, or nil for none. It creates the feed if it is
// new. It returns false when the feed's name is invalid.
func (l *loader) feedOf(e entry) (*feedDraft, bool) {
	if len(e.path) < 2 || e.path[0] != "feeds" {
		return nil, true
	}
	name := e.path[1]
	if f, ok := l.feeds[name]; ok {
		return f, f != nil
	}
	if !feedName.MatchString(name) {
		l.report(e.line, showPath(e.path[:2]), "found the feed name "+showName(name), wantFeedName)
		l.feeds[name] = nil // report it once
		return nil, false
	}
	f := &feedDraft{Feed: Feed{Name: name}}
	l.setDefaults(place{&l.draft, f}, true)
	l.feeds[name] = f
	l.lines["feed "+name] = e.line
	return f, true
}

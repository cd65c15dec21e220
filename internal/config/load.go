package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"tempestd/internal/jetstream"
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

// secretFile reads the file that the key names, if it names one. what says what the file holds.
func (l *loader) secretFile(key, file, what string) Secret {
	return l.readSecret(l.lines[key], key, file, what)
}

func (l *loader) readSecret(line int, key, file, what string) Secret {
	if file == "" {
		return Secret{}
	}
	secret, err := ReadToken(file)
	want := "want a readable file that holds the " + what
	dir, _ := l.source.env(credentials)
	switch {
	// systemd 252 sets the variable for a unit's other processes too, but gives them no credentials.
	case errors.Is(err, fs.ErrPermission), errors.Is(err, fs.ErrNotExist) && dir != "" && filepath.Dir(file) == filepath.Clean(dir):
		l.unresolved(line, key, reason(err), want)
	case err != nil:
		l.report(line, key, reason(err), want)
	}
	return secret
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

// unknown reports the first part of a path that is not in the vocabulary, once for all entries
// below it.
func (l *loader) unknown(e entry) {
	depth := 1
	for depth < len(e.path) && len(l.within(e.path[:depth])) > 0 {
		depth++
	}
	name := showPath(e.path[:depth])
	if _, told := l.lines["unknown "+name]; told {
		return
	}
	l.lines["unknown "+name] = e.line
	parent := e.path[:depth-1]
	if of := l.within(parent); len(of) == 1 && len(of[0].segments()) == len(parent) {
		l.report(e.line, showPath(parent), "found a table", of[0].want)
		return
	}
	what := "unknown key"
	if e.table && depth == len(e.path) {
		what = "unknown table"
	}
	l.report(e.line, name, what, l.meant(parent, e.path[depth-1]))
}

// meant returns a hint about the word that an unknown word below parent may stand for.
func (l *loader) meant(parent []string, word string) string {
	var siblings []string
	for _, k := range l.within(parent) {
		siblings = append(siblings, k.segments()[len(parent)])
	}
	siblings = withoutRepeats(siblings)
	if near := suggest(word, siblings); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	for _, k := range l.keys {
		if parts := k.segments(); len(parts) > 1 && parts[len(parts)-1] == word {
			return fmt.Sprintf("it belongs in [%s]", strings.ReplaceAll(strings.Join(parts[:len(parts)-1], "."), anyFeed, "<name>"))
		}
	}
	return "known here are " + strings.Join(siblings, ", ")
}

// wantTable names the table that the path must be.
func wantTable(path []string) string {
	if len(path) == 1 && path[0] == "feeds" {
		return "[feeds.<name>]"
	}
	return "[" + showPath(path) + "]"
}

// readFiles reads the files that the configuration names.
func (l *loader) readFiles() {
	if name := l.draft.tokenFile; name != "" {
		secret := l.secretFile("http.token_file", name, "token")
		if at, both := l.lines["http.token"]; both {
			l.report(max(at, l.lines["http.token_file"]), "http.token_file", "found http.token as well", "want one of the two")
		}
		l.draft.HTTP.Token = cmp.Or(l.draft.HTTP.Token, secret)
	}
	l.readPasswords()
	l.readAccountPasswords()
	for name, f := range l.feeds {
		if f == nil || f.didsFile == "" {
			continue
		}
		key := showPath([]string{"feeds", name, "dids_file"})
		more, bad, err := readDIDs(f.didsFile)
		if err != nil {
			l.report(l.lines[key], key, reason(err), "want a readable file of DIDs, one a line")
		}
		for _, p := range bad {
			l.errs.List = append(l.errs.List, &Error{File: p.file, Line: p.line, Key: key, Found: p.found, Want: p.want})
		}
		f.DIDs = withoutRepeats(slices.Concat(f.DIDs, more))
	}
}

// wrong reports whether something is already said about a key.
func (l *loader) wrong(key string) bool {
	is := func(e *Error) bool { return e.Key == key }
	return slices.ContainsFunc(l.errs.List, is) || slices.ContainsFunc(l.draft.Unresolved, is)
}

// finish checks the rules that involve several keys. incomplete is true when syntax errors may have
// hidden a part of the document.
func (l *loader) finish(incomplete bool) {
	l.finishValkey()
	if len(l.feeds) == 0 && !incomplete && !l.wrong("feeds") && l.draft.HA.Candidate {
		l.report(0, "feeds", "no feed is configured", `want at least one [feeds.<name>] with endpoints = ["host"]`)
	}
	if l.draft.DataDir == "" {
		l.report(l.lines["data_dir"], "data_dir", `found ""`, "want a path, or no data_dir for the default")
	}
	http := l.draft.HTTP
	if http.Listen != "" && !isLoopback(http.Listen) && http.Token.IsEmpty() && !l.wrong("http.token") && !l.wrong("http.token_file") {
		l.report(l.lines["http.listen"], "http.listen", "found "+Shown(http.Listen)+", which others can reach, and no token",
			`want http.token or http.token_file, or a loopback address such as "127.0.0.1:7077"`)
	}
	for name, f := range l.feeds {
		if f != nil {
			l.finishFeed(name, f)
		}
	}
}

func (l *loader) finishFeed(name string, f *feedDraft) {
	report := func(key, found, want string) {
		full := showPath([]string{"feeds", name, key})
		if !l.wrong(full) {
			l.report(cmp.Or(l.lines[full], l.lines["feed "+name]), full, found, want)
		}
	}
	if len(f.Endpoints) == 0 {
		report("endpoints", "missing", `want an array of hosts or URLs, such as ["jetstream.us-east.bsky.network"]`)
	}
	if len(f.DIDs) > maxDIDs {
		report("dids_file", fmt.Sprintf("found %d DIDs together with dids", len(f.DIDs)), fmt.Sprintf("want %d at most", maxDIDs))
	}
	for _, err := range jetstream.ValidateFilter(jetstream.Filter{Collections: f.Collections, DIDs: f.DIDs, Kinds: f.Kinds}, f.Protocol) {
		if bad, ok := errors.AsType[*jetstream.FilterError](err); ok {
			report(bad.List, "servers say: "+bad.Reason, "want a filter that servers accept")
		}
	}
	if _, archive := f.Start.(StartArchive); archive && !slices.ContainsFunc(f.Endpoints, func(e Endpoint) bool { return MayHaveArchive(f.Protocol, e.Protocol()) }) && len(f.Endpoints) > 0 {
		report("start", `found "archive", and no endpoint of v2, which alone has one`, `want a v2 endpoint, or "earliest"`)
	}
	if f.ZstdDictionary != "" {
		if _, err := readBounded(f.ZstdDictionary, maxDictionary); err != nil {
			report("zstd_dictionary", reason(err), "want a readable file with a zstd dictionary")
		}
	}
	finishRepair(f, report)
	finishAccount(f, report)
	if f.Rewind >= f.ReplayWindow {
		report("rewind", "found "+showDuration(f.Rewind), "want less than replay_window, which is "+showDuration(f.ReplayWindow))
	}
}

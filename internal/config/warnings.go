package config

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
)

// wantPrivate says how a file with a secret should be.
const wantPrivate = "want a file that only its owner can read: chmod 600, or 640 with the daemon's group"

// warn notes something that is allowed and unwise.
func (l *loader) warn(key, found, want string) {
	feed, _, _ := strings.Cut(strings.TrimPrefix(key, "feeds."), ".")
	line := cmp.Or(l.lines[key], l.lines["feed "+feed])
	l.draft.Warnings = append(l.draft.Warnings, &Error{File: l.file, Line: line, Key: key, Found: found, Want: want})
}

// advise finds what is allowed and unwise. The configuration has no errors.
func (l *loader) advise() {
	c := &l.draft.Config
	l.adviseTokens()
	if c.HTTP.Token.IsEmpty() && slices.Contains(c.HTTP.AllowedOrigins, "*") {
		l.warn("http.allowed_origins", `found "*" and no token: every web page can command this daemon`, "want the origins that read, or a token")
	}
	files := map[string]string{"http.token_file": l.draft.tokenFile, "http.read_token_file": l.draft.readTokenFile, "valkey.password_file": l.draft.passwordFile, "valkey.sentinel_password_file": l.draft.sentinelPasswordFile}
	for name, f := range l.feeds {
		files[showPath([]string{"feeds", name, "account", "password_file"})] = f.accountPasswordFile
	}
	for key, file := range files {
		if file != "" && othersRead(file) {
			l.warn(key, "found a file that every user can read", wantPrivate)
		}
	}
	if len(l.literal) > 0 && othersRead(l.file) {
		for _, key := range l.literal {
			l.warn(key, "found it in a file that every user can read", wantPrivate)
		}
	}
	for i := range c.Feeds {
		l.adviseFeed(&c.Feeds[i], c.Feeds[:i])
	}
	slices.SortStableFunc(c.Warnings, func(a, b *Error) int { return cmp.Or(a.Line-b.Line, strings.Compare(a.Key, b.Key)) })
}

func (l *loader) adviseFeed(f *Feed, before []Feed) {
	key := func(name string) string {
		return showPath(append([]string{"feeds", f.Name}, strings.Split(name, ".")...))
	}
	hosts := map[string]bool{}
	for _, e := range f.Endpoints {
		if hosts[e.Host()] {
			l.warn(key("endpoints"), "found "+e.Host()+" twice", "want servers that do not fail together")
		}
		hosts[e.Host()] = true
	}
	if len(hosts) == 1 && len(f.Endpoints) == 1 {
		l.warn(key("endpoints"), "found only one: while it is away, nothing comes", "want two or more")
	}
	same := func(o Feed) bool { return o.Endpoints[0].Host() == f.Endpoints[0].Host() && sameFilter(&o, f) }
	if i := slices.IndexFunc(before, same); i >= 0 {
		l.warn(key("endpoints"), "found the same server and filter as in feed "+before[i].Name+": every event is stored twice", "want one feed; any number of readers can share it")
	}
	switch {
	case l.draft.Stream.Backend == BackendValkey && (f.Retention.Bytes == 0 && f.Retention.Entries == 0 || f.Retention.Bytes >= bigInMemory):
		found := "found no bound in bytes"
		if f.Retention.Bytes > 0 {
			found = "found " + strings.Trim(showSize(f.Retention.Bytes), `"`)
		}
		l.warn(key("retention.bytes"), found+`, which backend = "valkey" keeps in the server's memory`, "want what its maxmemory can hold")
	case f.Retention == Retention{}:
		l.warn(key("retention"), "found no bound: the stream grows until the disk is full", "want an age, bytes or entries")
	}
}

// warnOfRepeats notes an item that is written twice. Only the first counts.
func (l *loader) warnOfRepeats(key string, v value) {
	seen := map[string]bool{}
	for i, item := range v.items {
		what := item.String()
		if what == notShown {
			what = fmt.Sprintf("item %d", i+1)
		}
		if text := item.text; seen[text] {
			l.warn(key, "found "+what+" twice", "want it once")
		} else {
			seen[text] = true
		}
	}
}

// bigInMemory is how much of one stream is a lot for a server's memory, in bytes.
const bigInMemory = 8 << 30

// sameFilter says whether two feeds want the same events.
func sameFilter(a, b *Feed) bool {
	same := func(x, y []string) bool {
		x, y = slices.Sorted(slices.Values(x)), slices.Sorted(slices.Values(y))
		return slices.Equal(x, y)
	}
	return same(a.Kinds, b.Kinds) && same(a.Collections, b.Collections) && same(a.DIDs, b.DIDs) && a.Account.Identifier == b.Account.Identifier
}

// othersRead says whether every user of the machine can read a file.
func othersRead(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o004 != 0
}

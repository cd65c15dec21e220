package jetsim

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Caps of a subscription's filter.
const (
	maxKinds       = 4
	maxCollections = 100
	maxDIDs        = 10_000
)

// filter is what a subscriber wants. It never changes: an options_update replaces it.
type filter struct {
	kinds       kinds
	filtered    bool // a collection was named: commits must match
	collections map[string]bool
	prefixes    []string // "app.bsky.graph."
	dids        map[string]bool
	maxBytes    int // of a frame's JSON; 0 is no limit
}

// The syntax of identifiers, as far as a server checks it.
var (
	nsidSyntax = regexp.MustCompile(`^[a-zA-Z]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)+(\.[a-zA-Z][a-zA-Z0-9]{0,62})$`)
	didSyntax  = regexp.MustCompile(`^did:[a-z]+:[a-zA-Z0-9._:%-]*[a-zA-Z0-9._-]$`)
)

func isNSID(s string) bool { return len(s) <= 317 && nsidSyntax.MatchString(s) }

func invalidOptions(format string, args ...any) error {
	return errors.New("subscribe: invalid options: " + fmt.Sprintf(format, args...))
}

// parseFilterV1 reads a v1 filter with a server's own error texts (PROTOCOL.md, 4).
func parseFilterV1(q url.Values) (filter, error) {
	f, err := newFilterV1(q["wantedCollections"], q["wantedDids"])
	// Anything that is no size, a negative number included, silently means no limit.
	if n, err := strconv.Atoi(q.Get("maxMessageSizeBytes")); err == nil && n > 0 && n <= math.MaxUint32 {
		f.maxBytes = n
	}
	return f, err
}

// newFilterV1 is the filter of a v1 query or options_update.
func newFilterV1(collections, dids []string) (filter, error) {
	f := filter{kinds: kindsV1}
	if err := f.addCollections(collections); err != nil {
		return filter{}, err
	}
	return f, f.addDIDs(dids)
}

// parseFilterV2 reads a v2 filter with a server's own error texts (PROTOCOL.md, 4). Unlike v1 it refuses whatever can be no more than a mistake.
func parseFilterV2(q url.Values) (filter, error) {
	for _, old := range []struct{ name, advice string }{
		{"wantedDids", "wantedDids is the legacy /subscribe parameter; use dids"},
		{"wantedCollections", "wantedCollections is the legacy /subscribe parameter; use collections"},
		{"requireHello", "requireHello is not supported on this endpoint; it is server-push only (subscriber-sourced messages were removed)"},
	} {
		if q.Has(old.name) {
			return filter{}, invalidOptions("%s", old.advice)
		}
	}
	f := filter{kinds: kindsV2}
	if err := f.setKinds(q["kinds"]); err != nil {
		return filter{}, err
	}
	if n := len(q["dids"]); n > maxDIDs {
		return filter{}, invalidOptions("too many dids values: %d > %d", n, maxDIDs)
	}
	if n := len(q["collections"]); n > maxCollections {
		return filter{}, invalidOptions("too many collections values: %d > %d", n, maxCollections)
	}
	if err := f.addDIDs(q["dids"]); err != nil {
		return filter{}, err
	}
	for _, c := range q["collections"] {
		if head, ok := strings.CutSuffix(c, ".*"); ok && !isNSID(head+".x") {
			return filter{}, invalidOptions("invalid collection wildcard: %s", c)
		}
	}
	if err := f.addCollections(q["collections"]); err != nil {
		return filter{}, err
	}
	if f.filtered && f.kinds&kindCommit == 0 {
		return filter{}, invalidOptions("collections filter can never apply: kinds excludes commit")
	}
	if sizes, ok := q["maxMessageSizeBytes"]; ok {
		if len(sizes) != 1 || sizes[0] == "" {
			return filter{}, invalidOptions("maxMessageSizeBytes must be one unsigned 32-bit integer")
		}
		n, err := strconv.ParseUint(sizes[0], 10, 32)
		if err != nil {
			return filter{}, invalidOptions("invalid maxMessageSizeBytes %q", sizes[0])
		}
		f.maxBytes = int(n)
	}
	return f, nil
}

func (f *filter) setKinds(names []string) error {
	if n := len(names); n > maxKinds {
		return invalidOptions("too many kinds values: %d > %d", n, maxKinds)
	}
	for i, name := range names {
		kind, ok := map[string]kinds{"commit": kindCommit, "identity": kindIdentity, "account": kindAccount, "sync": kindSync}[name]
		if !ok {
			return invalidOptions("unknown kind %q (valid: commit, identity, account, sync)", name)
		}
		if i == 0 {
			f.kinds = 0
		}
		f.kinds |= kind
	}
	return nil
}

func (f *filter) addCollections(names []string) error {
	for _, c := range names {
		f.filtered = true
		if prefix, ok := strings.CutSuffix(c, "*"); ok && strings.HasSuffix(prefix, ".") {
			if !slices.Contains(f.prefixes, prefix) {
				f.prefixes = append(f.prefixes, prefix)
			}
		} else if isNSID(c) {
			if f.collections == nil {
				f.collections = map[string]bool{}
			}
			f.collections[c] = true
		} else {
			return invalidOptions("invalid collection: %s", c)
		}
		if len(f.collections)+len(f.prefixes) > maxCollections {
			return invalidOptions("too many wanted collections: > %d", maxCollections)
		}
	}
	return nil
}

func (f *filter) addDIDs(dids []string) error {
	for _, d := range dids {
		if !didSyntax.MatchString(d) || len(d) > 2048 {
			return invalidOptions("invalid DID: %s", d)
		}
		if f.dids == nil {
			f.dids = map[string]bool{}
		}
		f.dids[d] = true
	}
	if len(f.dids) > maxDIDs {
		return invalidOptions("too many wanted DIDs: %d > %d", len(f.dids), maxDIDs)
	}
	return nil
}

// wants says whether the subscriber wants an event of that kind, account and collection. The collections apply to commits only;
// the size, which needs the rendered frame, is checked by fits.
func (f *filter) wants(kind kinds, did []byte, collection string) bool {
	if f.kinds&kind == 0 || f.dids != nil && !f.dids[string(did)] {
		return false
	}
	if !f.filtered || kind != kindCommit || f.collections[collection] {
		return true
	}
	return slices.ContainsFunc(f.prefixes, func(p string) bool { return strings.HasPrefix(collection, p) })
}

func (f *filter) fits(n int) bool { return f.maxBytes == 0 || n <= f.maxBytes }

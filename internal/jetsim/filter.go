package jetsim

import (
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
	maxWantedCollections = 100
	maxWantedDIDs        = 10_000
)

// filter is what a subscriber wants. The zero filter wants everything.
type filter struct {
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

// parseFilter reads a filter with a server's own error texts (PROTOCOL.md, 4).
func parseFilter(q url.Values) (filter, error) {
	var f filter
	for _, c := range q["wantedCollections"] {
		f.filtered = true
		if prefix, ok := strings.CutSuffix(c, ".*"); ok {
			if p := prefix + "."; !slices.Contains(f.prefixes, p) {
				f.prefixes = append(f.prefixes, p)
			}
		} else if nsidSyntax.MatchString(c) && len(c) <= 317 {
			if f.collections == nil {
				f.collections = map[string]bool{}
			}
			f.collections[c] = true
		} else {
			return filter{}, fmt.Errorf("subscribe: invalid options: invalid collection: %s", c)
		}
		if len(f.collections)+len(f.prefixes) > maxWantedCollections {
			return filter{}, fmt.Errorf("subscribe: invalid options: too many wanted collections: > %d", maxWantedCollections)
		}
	}
	for _, d := range q["wantedDids"] {
		if !didSyntax.MatchString(d) || len(d) > 2048 {
			return filter{}, fmt.Errorf("subscribe: invalid options: invalid DID: %s", d)
		}
		if f.dids == nil {
			f.dids = map[string]bool{}
		}
		f.dids[d] = true
	}
	if len(f.dids) > maxWantedDIDs {
		return filter{}, fmt.Errorf("subscribe: invalid options: too many wanted DIDs: %d > %d", len(f.dids), maxWantedDIDs)
	}
	// Anything that is no size, a negative number included, silently means no limit.
	if n, err := strconv.Atoi(q.Get("maxMessageSizeBytes")); err == nil && n > 0 && n <= math.MaxUint32 {
		f.maxBytes = n
	}
	return f, nil
}

// all says whether the filter lets everything pass.
func (f *filter) all() bool { return !f.filtered && f.dids == nil && f.maxBytes == 0 }

// wants says whether the subscriber wants an event of that account and collection. The collections apply to commits only;
// the size, which needs the rendered frame, is checked by fits.
func (f *filter) wants(did []byte, collection string) bool {
	if f.dids != nil && !f.dids[string(did)] {
		return false
	}
	if !f.filtered || collection == "" || f.collections[collection] {
		return true
	}
	return slices.ContainsFunc(f.prefixes, func(p string) bool { return strings.HasPrefix(collection, p) })
}

func (f *filter) fits(n int) bool { return f.maxBytes == 0 || n <= f.maxBytes }

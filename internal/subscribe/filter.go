package subscribe

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"tempestd/internal/atproto"
)

// Kinds is a set of the kinds of events.
type Kinds uint8

// The kinds that servers send.
const (
	Commit Kinds = 1 << iota
	Identity
	Account
	Sync
	Other // a kind that this version does not know

	KindsV1 = Commit | Identity | Account // what v1 servers send
	KindsV2 = KindsV1 | Sync | Other      // what a v2 subscriber gets if it names no kinds
)

// Filter is what a subscriber wants. It is immutable after parsing: an options_update replaces it.
type Filter struct {
	Kinds       Kinds
	MaxBytes    int  // of a frame's JSON; 0 is no limit
	filtered    bool // a collection was named: commits must match
	collections map[string]bool
	prefixes    []string // "app.bsky.graph."
	dids        *atproto.DIDSet
}

func invalidOptions(format string, args ...any) error {
	return errors.New("subscribe: invalid options: " + fmt.Sprintf(format, args...))
}

// ParseFilterV1 reads a v1 filter. Its errors have the text of a server.
func ParseFilterV1(q url.Values) (Filter, error) {
	f, err := FilterV1(q["wantedCollections"], q["wantedDids"])
	// A value that is not a size, negative numbers included, silently means no limit.
	if n, err := strconv.Atoi(q.Get("maxMessageSizeBytes")); err == nil && n > 0 && n <= math.MaxUint32 {
		f.MaxBytes = n
	}
	return f, err
}

// FilterV1 makes the filter of a v1 query or options_update.
func FilterV1(collections, dids []string) (Filter, error) {
	f := Filter{Kinds: KindsV1}
	if err := f.addCollections(collections); err != nil {
		return Filter{}, err
	}
	return f, f.addDIDs(dids)
}

// ParseFilterV2 reads a v2 filter. Its errors have the text of a server. Unlike v1 it refuses
// values that can only be mistakes.
func ParseFilterV2(q url.Values) (Filter, error) {
	for _, old := range []struct{ name, advice string }{
		{"wantedDids", "wantedDids is the legacy /subscribe parameter; use dids"},
		{"wantedCollections", "wantedCollections is the legacy /subscribe parameter; use collections"},
		{"requireHello", "requireHello is not supported on this endpoint; it is server-push only (subscriber-sourced messages were removed)"},
	} {
		if q.Has(old.name) {
			return Filter{}, invalidOptions("%s", old.advice)
		}
	}
	f := Filter{Kinds: KindsV2}
	if err := f.SetKinds(q["kinds"]); err != nil {
		return Filter{}, err
	}
	if n := len(q["dids"]); n > atproto.MaxDIDs {
		return Filter{}, invalidOptions("too many dids values: %d > %d", n, atproto.MaxDIDs)
	}
	if n := len(q["collections"]); n > atproto.MaxCollections {
		return Filter{}, invalidOptions("too many collections values: %d > %d", n, atproto.MaxCollections)
	}
	if err := f.addDIDs(q["dids"]); err != nil {
		return Filter{}, err
	}
	for _, c := range q["collections"] {
		if head, ok := strings.CutSuffix(c, ".*"); ok && atproto.PrefixSegments(head) < atproto.MinPrefixSegments {
			return Filter{}, invalidOptions("invalid collection wildcard: %s", c)
		}
	}
	if err := f.addCollections(q["collections"]); err != nil {
		return Filter{}, err
	}
	if f.filtered && f.Kinds&Commit == 0 {
		return Filter{}, invalidOptions("collections filter can never apply: kinds excludes commit")
	}
	if sizes, ok := q["maxMessageSizeBytes"]; ok {
		if len(sizes) != 1 || sizes[0] == "" {
			return Filter{}, invalidOptions("maxMessageSizeBytes must be one unsigned 32-bit integer")
		}
		n, err := strconv.ParseUint(sizes[0], 10, 32)
		if err != nil {
			return Filter{}, invalidOptions("invalid maxMessageSizeBytes %q", sizes[0])
		}
		f.MaxBytes = int(n)
	}
	return f, nil
}

// SetKinds sets the wanted kinds to the named ones. No names leave the kinds unchanged.
func (f *Filter) SetKinds(names []string) error {
	if n := len(names); n > atproto.MaxKinds {
		return invalidOptions("too many kinds values: %d > %d", n, atproto.MaxKinds)
	}
	for i, name := range names {
		kind, ok := map[string]Kinds{"commit": Commit, "identity": Identity, "account": Account, "sync": Sync}[name]
		if !ok {
			return invalidOptions("unknown kind %q (valid: commit, identity, account, sync)", name)
		}
		if i == 0 {
			f.Kinds = 0
		}
		f.Kinds |= kind
	}
	return nil
}

func (f *Filter) addCollections(names []string) error {
	for _, c := range names {
		f.filtered = true
		if prefix, ok := strings.CutSuffix(c, "*"); ok && strings.HasSuffix(prefix, ".") {
			if !slices.Contains(f.prefixes, prefix) {
				f.prefixes = append(f.prefixes, strings.Clone(prefix))
			}
		} else if atproto.IsNSID(c) {
			if f.collections == nil {
				f.collections = map[string]bool{}
			}
			f.collections[strings.Clone(c)] = true // a copy: c is a part of the request's text
		} else {
			return invalidOptions("invalid collection: %s", c)
		}
		if len(f.collections)+len(f.prefixes) > atproto.MaxCollections {
			return invalidOptions("too many wanted collections: > %d", atproto.MaxCollections)
		}
	}
	return nil
}

func (f *Filter) addDIDs(dids []string) error {
	for _, d := range dids {
		if !atproto.IsDID(d) {
			return invalidOptions("invalid DID: %s", d)
		}
	}
	f.dids = atproto.NewDIDSet(dids)
	if f.dids.Len() > atproto.MaxDIDs {
		return invalidOptions("too many wanted DIDs: %d > %d", f.dids.Len(), atproto.MaxDIDs)
	}
	return nil
}

// Wants says whether the subscriber wants an event of that kind, account and collection.
// Collections apply to commits only. The size needs the rendered frame: Fits checks it.
func (f *Filter) Wants(kind Kinds, did, collection []byte) bool {
	if f.Kinds&kind == 0 || f.dids != nil && !f.dids.Has(did) {
		return false
	}
	if !f.filtered || kind != Commit || f.collections[string(collection)] {
		return true
	}
	return slices.ContainsFunc(f.prefixes, func(p string) bool { return len(collection) >= len(p) && string(collection[:len(p)]) == p })
}

// Fits says whether a frame of n bytes of JSON is within the subscriber's limit.
func (f *Filter) Fits(n int) bool { return f.MaxBytes == 0 || n <= f.MaxBytes }

// DIDs returns the accounts that are wanted, nil for all.
func (f *Filter) DIDs() *atproto.DIDSet { return f.dids }

// WithDIDs returns a filter that has dids, a set with the same accounts as its own.
func (f Filter) WithDIDs(dids *atproto.DIDSet) Filter {
	f.dids = dids
	return f
}

// Size returns about how many bytes of memory the filter takes.
func (f *Filter) Size() int {
	size := f.dids.Size()
	for name := range f.collections {
		size += len(name) + 40 // and what a map takes for each of its keys
	}
	for _, p := range f.prefixes {
		size += len(p) + 16
	}
	return size
}

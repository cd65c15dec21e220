package jetstream

import (
	"fmt"
	"slices"
	"strings"

	"tempestd/internal/atproto"
)

// kinds are the names that Filter.Kinds can have; readerKinds are those in a filter of this
// daemon's readers.
var (
	kinds       = [...]string{"commit", "identity", "account", "sync"}
	readerKinds = [...]string{"commit", "identity", "account", "sync", "gap"}
)

// Filter says which events are wanted. The zero Filter wants all. An event is wanted if it
// satisfies each list that is not empty. The lists have no repeats, and must not be changed after
// the Filter was passed on.
//
// Collections do not apply to identity, account and sync events, which have none; DIDs and Kinds
// do. An event of a kind that this version does not know is wanted only if Kinds is empty.
type Filter struct {
	Collections []string // NSIDs, or prefixes of NSIDs that end in ".*"
	DIDs        []string
	Kinds       []string // "commit", "identity", "account", "sync"
}

// Nobody is a DID that no account has: a filter with it alone in DIDs wants no account's events.
const Nobody = "did:web:nobody.invalid"

// IsZero says whether the filter wants every event.
func (f Filter) IsZero() bool { return len(f.Collections)+len(f.DIDs)+len(f.Kinds) == 0 }

// FilterError is one fault in a filter, for which servers refuse it.
type FilterError struct {
	List   string // "collections", "dids" or "kinds"
	Value  string // the faulty value, "" for the list as a whole
	Reason string // in the server's own words
}

func (e *FilterError) Error() string { return e.Reason }

// ValidateFilter returns what a server of the protocol would refuse; every error is a *FilterError.
// With ProtocolAuto the filter must be valid in both protocols, because the server may speak
// either. The lengths of the lists are not checked: a server is not asked for a list that is longer
// than it accepts, and Run keeps the events that are wanted. It is safe for concurrent use.
func ValidateFilter(f Filter, p Protocol) []error { return validate(f, p, kinds[:]) }

// ValidateReader returns what is refused in a filter of this daemon's readers; every error is a
// *FilterError. Such a filter may name the kind "gap", and its lists must not be longer than
// servers accept. It is safe for concurrent use.
func ValidateReader(f Filter) []error {
	errs := validate(f, ProtocolV2, readerKinds[:])
	tooMany := func(list string, n, most int) {
		if n > most {
			errs = append(errs, &FilterError{List: list, Reason: fmt.Sprintf("%d %s are too many: accepted are up to %d", n, list, most)})
		}
	}
	tooMany("collections", len(f.Collections), atproto.MaxCollections)
	tooMany("dids", len(f.DIDs), atproto.MaxDIDs)
	return errs
}

func validate(f Filter, p Protocol, kinds []string) []error {
	var errs []error
	refuse := func(list, value, format string) {
		errs = append(errs, &FilterError{List: list, Value: value, Reason: fmt.Sprintf(format, value)})
	}
	for _, c := range f.Collections {
		head, wildcard := strings.CutSuffix(c, ".*")
		switch {
		case !wildcard && !atproto.IsNSID(c):
			refuse("collections", c, "invalid collection: %s")
		// v1 servers accept any prefix; an invalid one matches nothing
		case wildcard && p != ProtocolV1 && atproto.PrefixSegments(head) < atproto.MinPrefixSegments:
			refuse("collections", c, "invalid collection wildcard: %s")
		}
	}
	for _, d := range f.DIDs {
		if !atproto.IsDID(d) {
			refuse("dids", d, "invalid DID: %s")
		}
	}
	for _, k := range f.Kinds {
		if !slices.Contains(kinds, k) {
			refuse("kinds", k, "unknown kind %q (valid: "+strings.Join(kinds, ", ")+")")
		}
	}
	if len(f.Collections) > 0 && len(f.Kinds) > 0 && !slices.Contains(f.Kinds, "commit") {
		errs = append(errs, &FilterError{List: "collections", Reason: "collections filter can never apply: kinds excludes commit"})
	}
	return errs
}

// split divides the filter into the part that a server of the protocol is asked for and the part
// that is applied here.
func (f Filter) split(p Protocol) (ask, local Filter) {
	ask = f
	if len(f.Collections) > atproto.MaxCollections {
		ask.Collections, local.Collections = nil, f.Collections
	}
	if len(f.DIDs) > atproto.MaxDIDs {
		ask.DIDs, local.DIDs = nil, f.DIDs
	}
	if p == ProtocolV1 {
		ask.Kinds, local.Kinds = nil, f.Kinds
	}
	return ask, local
}

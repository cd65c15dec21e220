package jetstream

import (
	"fmt"
	"slices"
	"strings"
)

// Caps of what a server filters by. A longer list is not asked for: the server sends all, and Run keeps what is wanted.
const (
	MaxCollections = 100
	MaxDIDs        = 10_000
)

// kinds are what Filter.Kinds can name, readerKinds what it can in a filter of this daemon's readers.
var (
	kinds       = [...]string{"commit", "identity", "account", "sync"}
	readerKinds = [...]string{"commit", "identity", "account", "sync", "gap"}
)

// Filter says which events are wanted. The zero Filter wants all; each list that is not empty must hold for an event to be wanted. The lists are without
// repeats, and are not changed once they were given away.
//
// Collections say nothing about identity, account and sync events, which have none; DIDs and Kinds do. A kind that this version does not know
// is wanted only where Kinds is empty.
type Filter struct {
	Collections []string // NSIDs, or prefixes of some that end in ".*"
	DIDs        []string
	Kinds       []string // "commit", "identity", "account", "sync"
}

// IsZero says whether the filter wants everything.
func (f Filter) IsZero() bool { return len(f.Collections)+len(f.DIDs)+len(f.Kinds) == 0 }

// FilterError is one thing that servers refuse in a filter.
type FilterError struct {
	List   string // "collections", "dids" or "kinds"
	Value  string // the value it is about, "" for the list as a whole
	Reason string // in the server's own words
}

func (e *FilterError) Error() string { return e.Reason }

// ValidateFilter finds what a server of the protocol would refuse: every error is a *FilterError. With ProtocolAuto the filter must suit
// both protocols, because either may be met. How long a list is matters to no server: see MaxCollections and MaxDIDs.
func ValidateFilter(f Filter, p Protocol) []error { return validate(f, p, kinds[:]) }

// ValidateReader finds what is refused in a filter of this daemon's readers, which may name the kind "gap" and no list of which may be longer than servers' are:
// every error is a *FilterError.
func ValidateReader(f Filter) []error {
	errs := validate(f, ProtocolV2, readerKinds[:])
	tooMany := func(list string, n, most int) {
		if n > most {
			errs = append(errs, &FilterError{List: list, Reason: fmt.Sprintf("%d %s are too many: accepted are up to %d", n, list, most)})
		}
	}
	tooMany("collections", len(f.Collections), MaxCollections)
	tooMany("dids", len(f.DIDs), MaxDIDs)
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
		case !wildcard && !validNSID(c):
			refuse("collections", c, "invalid collection: %s")
		case wildcard && p != ProtocolV1 && !validNSID(head+".x"): // v1 servers take any prefix, and match nothing
			refuse("collections", c, "invalid collection wildcard: %s")
		}
	}
	for _, d := range f.DIDs {
		if !validDID(d) {
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

// split divides the filter into what a server of the protocol is asked for and what is left to do here.
func (f Filter) split(p Protocol) (ask, local Filter) {
	ask = f
	if len(f.Collections) > MaxCollections {
		ask.Collections, local.Collections = nil, f.Collections
	}
	if len(f.DIDs) > MaxDIDs {
		ask.DIDs, local.DIDs = nil, f.DIDs
	}
	if p == ProtocolV1 {
		ask.Kinds, local.Kinds = nil, f.Kinds
	}
	return ask, local
}

// The syntax of identifiers, from the AT Protocol's specifications.
const (
	maxNSID  = 317
	maxLabel = 63
	maxDID   = 2048
)

// validNSID: three segments at least, the last of letters and digits, the others also of inner hyphens; neither the first nor the last one begins
// with a digit.
func validNSID(s string) bool {
	labels := strings.Split(s, ".")
	if len(s) > maxNSID || len(labels) < 3 {
		return false
	}
	for i, label := range labels {
		if label == "" || len(label) > maxLabel {
			return false
		}
		last := i == len(labels)-1
		for j := range len(label) {
			c := label[j]
			inner := j > 0 && j < len(label)-1
			ok := isLetter(c) || isDigit(c) && (j > 0 || i > 0 && !last) || c == '-' && inner && !last
			if !ok {
				return false
			}
		}
	}
	return true
}

// validDID: "did:", a method of lower-case letters, and an identifier that ends in neither ':' nor '%'.
func validDID(s string) bool {
	rest, ok := strings.CutPrefix(s, "did:")
	method, id, found := strings.Cut(rest, ":")
	if !ok || !found || len(s) > maxDID || method == "" || id == "" || strings.HasSuffix(id, ":") || strings.HasSuffix(id, "%") {
		return false
	}
	for i := range len(method) {
		if method[i] < 'a' || method[i] > 'z' {
			return false
		}
	}
	return !strings.ContainsFunc(id, func(r rune) bool {
		return r >= 0x80 || !isLetter(byte(r)) && !isDigit(byte(r)) && !strings.ContainsRune("._:%-", r)
	})
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

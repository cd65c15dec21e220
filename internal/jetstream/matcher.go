package jetstream

import (
	"bytes"
	"strings"

	"tempestd/internal/atproto"
	"tempestd/messages"
)

// Matcher is a Filter that is prepared for one check per event. A nil Matcher wants everything. It
// is immutable, and so safe for concurrent use.
type Matcher struct {
	kinds       uint8 // one bit per messages.Kind; 0 means all
	dids        *atproto.DIDSet
	collections map[string]struct{}
	prefixes    map[string]struct{} // including the final dot
	unrepaired  bool                // wants no event that was fetched to close a gap
}

// noKind is a bit that no event has. It says that kinds were named, known or not.
const noKind = 1 << 7

// NewMatcher returns the matcher of a filter, nil for a filter that wants everything. The filter
// may be one of this daemon's readers and name the kind "gap" too. Values that [ValidateReader]
// refuses match nothing. The matcher has its own copy of every text: a request's may be parts of a
// long one.
func NewMatcher(f Filter) *Matcher {
	if f.IsZero() {
		return nil
	}
	m := &Matcher{dids: atproto.NewDIDSet(f.DIDs)}
	if len(f.Kinds) > 0 {
		m.kinds = noKind
	}
	for _, name := range f.Kinds {
		for k := messages.KindCommit; k <= messages.KindGap; k++ {
			if k.String() == name {
				m.kinds |= 1 << k
			}
		}
	}
	if len(f.Collections) == 0 {
		return m
	}
	m.collections, m.prefixes = make(map[string]struct{}), make(map[string]struct{})
	for _, c := range f.Collections {
		if n := len(c) - len("*"); n > 0 && c[n-1:] == ".*" {
			m.prefixes[strings.Clone(c[:n])] = struct{}{}
		} else {
			m.collections[strings.Clone(c)] = struct{}{}
		}
	}
	return m
}

// WithoutRepaired returns a matcher that wants the same events, but none that was fetched to close a
// gap.
func (m *Matcher) WithoutRepaired() *Matcher {
	var other Matcher
	if m != nil {
		other = *m
	}
	other.unrepaired = true
	return &other
}

// DIDs returns the accounts that are wanted, nil for all.
func (m *Matcher) DIDs() *atproto.DIDSet {
	if m == nil {
		return nil
	}
	return m.dids
}

// WithDIDs returns a matcher that has dids, a set with the same accounts as its own.
func (m *Matcher) WithDIDs(dids *atproto.DIDSet) *Matcher {
	other := *m
	other.dids = dids
	return &other
}

// WantsEvent says whether the stored event is wanted: an event in v1's shape, a v2 frame as it
// came, or a gap entry of our own. Only a list of kinds without "gap" leaves a gap entry out. The
// event is scanned, and nothing is allocated unless its fields are spelled with escapes. JSON that
// is no event is treated as an unknown kind without an account; bytes that are not JSON are not
// wanted.
func (m *Matcher) WantsEvent(event []byte) bool {
	if m == nil {
		return true
	}
	if m.unrepaired {
		if Repaired(event) {
			return false
		}
		if m.kinds == 0 && m.dids == nil && m.collections == nil {
			return true
		}
	}
	var f fields
	if f.parse(event) < 0 {
		return false
	}
	id, lack := f.identify()
	if lack != "" {
		id = identity{}
		if string(f.kind) == "gap" {
			return m.wantsKind(messages.KindGap)
		}
	}
	return m.wants(&id)
}

func (m *Matcher) wantsKind(k messages.Kind) bool { return m.kinds == 0 || m.kinds&(1<<k) != 0 }

// Size returns about how many bytes of memory the matcher takes.
func (m *Matcher) Size() int {
	if m == nil {
		return 0
	}
	size := m.dids.Size()
	for _, set := range []map[string]struct{}{m.collections, m.prefixes} {
		for name := range set {
			size += len(name) + 40 // and what a map takes for each of its keys
		}
	}
	return size
}

// Wants says whether an event of a kind, an account and, for a commit, a collection is wanted, by the
// rules that servers use. Nothing is allocated.
func (m *Matcher) Wants(kind messages.Kind, did, collection []byte) bool {
	if m == nil {
		return true
	}
	return m.wants(&identity{kind: kind, did: did, path: [3][]byte{collection}})
}

// wants says whether an event is wanted, by the rules that servers use.
func (m *Matcher) wants(id *identity) bool {
	if m == nil {
		return true
	}
	if !m.wantsKind(id.kind) {
		return false
	}
	if m.dids != nil && !m.dids.Has(id.did) {
		return false
	}
	if m.collections == nil || id.kind != messages.KindCommit {
		return true
	}
	collection := id.path[0]
	if _, ok := m.collections[string(collection)]; ok {
		return true
	}
	if len(m.prefixes) == 0 {
		return false
	}
	for n := 0; ; {
		i := bytes.IndexByte(collection[n:], '.')
		if i < 0 {
			return false
		}
		n += i + 1
		if _, ok := m.prefixes[string(collection[:n])]; ok {
			return true
		}
	}
}

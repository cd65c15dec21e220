package jetstream

import (
	"bytes"

	"tempestd/messages"
)

// matcher is a Filter made ready to be asked once an event. A nil matcher wants everything. It is immutable.
type matcher struct {
	kinds       uint8 // one bit a messages.Kind; 0 is all
	dids        map[string]struct{}
	collections map[string]struct{}
	prefixes    map[string]struct{} // with the dot they end in
}

func newMatcher(f Filter) *matcher {
	if f.IsZero() {
		return nil
	}
	m := &matcher{dids: setOf(f.DIDs)}
	for _, name := range f.Kinds {
		for k := messages.KindCommit; k <= messages.KindSync; k++ {
			if k.String() == name {
				m.kinds |= 1 << k
			}
		}
	}
	if len(f.Kinds) > 0 {
		m.kinds |= 1 << messages.KindGap // no upstream's: the kinds that were named are all there are
	}
	if len(f.Collections) == 0 {
		return m
	}
	m.collections, m.prefixes = make(map[string]struct{}), make(map[string]struct{})
	for _, c := range f.Collections {
		if n := len(c) - len("*"); n > 0 && c[n-1:] == ".*" {
			m.prefixes[c[:n]] = struct{}{}
		} else {
			m.collections[c] = struct{}{}
		}
	}
	return m
}

func setOf(list []string) map[string]struct{} {
	if len(list) == 0 {
		return nil
	}
	set := make(map[string]struct{}, len(list))
	for _, s := range list {
		set[s] = struct{}{}
	}
	return set
}

// wants says whether an event is wanted, by the server's own rules.
func (m *matcher) wants(id *identity) bool {
	if m == nil {
		return true
	}
	if m.kinds != 0 && m.kinds&(1<<id.kind) == 0 {
		return false
	}
	if m.dids != nil {
		if _, ok := m.dids[string(id.did)]; !ok {
			return false
		}
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

package jetsim

import "bytes"

// repairMember is the beginning of the last member of an event that was fetched to close a gap.
var repairMember = []byte(`,"repair":{"gap":`)

// asSent returns an entry as its source sent it, and whether it was fetched to close a gap.
func asSent(entry []byte) (sent []byte, repaired bool) {
	i := bytes.LastIndex(entry, repairMember)
	if i < 0 || !bytes.HasSuffix(entry, []byte("}}")) || bytes.IndexByte(entry[i:], '}') != len(entry)-i-2 {
		return entry, false
	}
	return append(bytes.Clone(entry[:i]), '}'), true
}

// repaired evaluates an entry that was fetched to close a gap. It stands behind newer entries.
func (v *verifier) repaired(sent []byte) {
	v.Stored++
	v.Repaired++
	at, ok := v.exact(sent)
	if !ok {
		v.Foreign++
		v.example("entry %d is no event sent: %.200q", v.Stored, sent)
		return
	}
	r := v.servers[at.server].log.at(at.index)
	switch may, _ := v.wanted(v.servers[at.server], r); {
	case !may:
		v.Foreign++
		v.example("entry %d is not what the subscription wants: %s", v.Stored, v.describe(at))
	case v.stored.set(r.num):
		v.Duplicated++
		v.example("entry %d is there already: %s", v.Stored, v.describe(at))
	}
}

package jetstream

import (
	"bytes"
	"encoding/binary"

	"github.com/cespare/xxhash/v2"

	"tempestd/messages"
)

// identity is what makes two events the same, wherever and whenever they are sent: for a commit
// (did, rev, collection, rkey, operation); for an identity or account event (did, the relay's
// sequence number); for a sync (did, rev, blocks). A sync needs the blocks because a repository can
// be declared again at the same rev, by a commit that was signed again. The upstream's time and
// sequence number are not part of the identity: they change when an upstream is restarted or
// replaced. The identity is the same in both protocols.
//
// A repair may store a bare commit: a record as its account's server has it now, without the rev of
// the commit that put it there. It is (did, collection, rkey, cid). A bare delete was found by
// comparing. It has no cid, so its own time, which is that of the comparison, takes that place.
type identity struct {
	kind     messages.Kind
	seq      int64
	did, rev []byte
	// path is collection, rkey and operation of a commit. path[0] is the blocks of a sync, and the
	// name of the kind of a nameless event.
	path [3][]byte
	// A nameless event has no identity of its own: its kind is unknown, or it lacks the number or
	// rev that would be its identity.
	nameless bool
	// A bare commit has its cid in the place of the rev, a bare delete its time in that of the number.
	bare  bool
	whole []byte // the content of a nameless event, which is its identity
}

// identify returns the identity of the event in the frame that f was parsed from, or what the event
// lacks. It does not set whole for a nameless event. The strings of f stay as they are spelled,
// with escapes.
func (f *fields) identify() (identity, string) {
	if !f.escaped {
		return f.identifyPlain()
	}
	plain := *f
	plain.unescape()
	id, lack := plain.identifyPlain()
	f.timeUS, f.witnessedUS = plain.timeUS, plain.witnessedUS
	if f.wrapped() {
		f.kind = plain.kind
	}
	return id, lack
}

// identifyPlain does what identify does, for fields without escapes.
func (f *fields) identifyPlain() (identity, string) {
	if f.wrapped() {
		if lack := f.open(); lack != "" {
			return identity{}, lack
		}
	}
	if f.witnessed != nil {
		f.witnessedUS = unixMicro(f.witnessed)
	}
	switch {
	case len(f.did) == 0:
		return identity{}, `"did" must be a string that is not empty`
	case f.timeUS == 0:
		return identity{}, `"time_us" must be an integer from 1 to 999999999999999999`
	case len(f.kind) == 0:
		return identity{}, `"kind" must be a string that is not empty`
	}
	id := identity{did: f.did}
	switch string(f.kind) {
	case "commit":
		id.kind, id.rev = messages.KindCommit, f.commit.rev
		id.path = [3][]byte{f.commit.collection, f.commit.rkey, f.commit.operation}
		if len(id.rev) == 0 && f.values.repair.to > 0 {
			return f.identifyBare()
		}
		if len(id.rev) == 0 || len(id.path[0]) == 0 || len(id.path[1]) == 0 || len(id.path[2]) == 0 {
			return identity{}, `"commit" must have "rev", "operation", "collection" and "rkey", strings that are not empty`
		}
		return id, ""
	case "identity":
		id.kind, id.seq = messages.KindIdentity, f.identitySeq
	case "account":
		id.kind, id.seq = messages.KindAccount, f.accountSeq
	case "sync":
		id.kind, id.rev = messages.KindSync, f.syncRev
		id.path[0] = f.blocks
	case "gap":
		return identity{}, `"kind" must not be "gap", which is tempestd's own`
	}
	if id.nameless = id.seq == 0 && len(id.rev) == 0; id.nameless {
		id.path[0] = f.kind
	}
	return id, ""
}

// identifyBare is identifyPlain for a commit without a rev.
func (f *fields) identifyBare() (identity, string) {
	id := identity{kind: messages.KindCommit, bare: true, did: f.did, path: [3][]byte{f.commit.collection, f.commit.rkey, f.commit.operation}}
	if string(f.commit.operation) == "delete" {
		id.seq = f.timeUS
	} else {
		id.rev = f.commit.textCID()
	}
	if len(id.path[0]) == 0 || len(id.path[1]) == 0 || len(id.path[2]) == 0 || id.seq == 0 && len(id.rev) == 0 {
		return identity{}, `"commit" must have "operation", "collection", "rkey" and, but for a delete, "rev" or "cid", strings that are not empty`
	}
	return id, ""
}

// textCID returns the cid, nil if it is missing or no string.
func (c *commitFields) textCID() []byte {
	if n := len(c.cid); n > len(`""`) && c.cid[0] == '"' {
		return unescape(c.cid[1 : n-1])
	}
	return nil
}

// fingerprint returns a 64-bit hash of the identity: the xxhash of the xxhashes of its parts, so
// that no separator can be forged and the parts need not be copied together. It is stored, so it
// must never change. It is the same for an event that the protocols spell differently.
func (id *identity) fingerprint() uint64 {
	var parts [7 * 8]byte
	binary.LittleEndian.PutUint64(parts[0:], uint64(id.kind))
	binary.LittleEndian.PutUint64(parts[8:], xxhash.Sum64(id.did))
	if id.kind == messages.KindCommit {
		binary.LittleEndian.PutUint64(parts[16:], xxhash.Sum64(id.rev))
		binary.LittleEndian.PutUint64(parts[24:], xxhash.Sum64(id.path[0]))
		binary.LittleEndian.PutUint64(parts[32:], xxhash.Sum64(id.path[1]))
		if id.bare {
			parts[7] = 2
			binary.LittleEndian.PutUint64(parts[48:], uint64(id.seq))
		} else {
			binary.LittleEndian.PutUint64(parts[40:], xxhash.Sum64(id.path[2]))
		}
	} else {
		binary.LittleEndian.PutUint64(parts[16:], xxhash.Sum64(id.rev))
		binary.LittleEndian.PutUint64(parts[48:], uint64(id.seq))
		if len(id.path[0]) > 0 {
			binary.LittleEndian.PutUint64(parts[24:], xxhash.Sum64(id.path[0]))
		}
		if id.nameless {
			parts[7] = 1
			binary.LittleEndian.PutUint64(parts[32:], xxhash.Sum64(id.whole))
		}
	}
	return xxhash.Sum64(parts[:])
}

// content returns the members of an identified event, in v1's shape and as they are spelled. It
// leaves out the members that are already part of the identity (did, kind), those that are specific
// to the instance (time, number), and what a repair added.
func (f *fields) content(frame []byte) []byte {
	if f.wrapped() {
		frame = f.appendV1(nil, frame)
	}
	return appendMembers(nil, frame, skipSpace(frame, 0), func(key []byte) bool {
		switch string(key) {
		case "did", "kind", "time_us", "cursor", witnessedKey, repairKey:
			return false
		}
		return true
	})
}

func (id *identity) equal(other *identity) bool {
	return id.kind == other.kind && id.seq == other.seq && id.nameless == other.nameless && id.bare == other.bare &&
		bytes.Equal(id.did, other.did) && bytes.Equal(id.rev, other.rev) &&
		bytes.Equal(id.path[0], other.path[0]) && bytes.Equal(id.path[1], other.path[1]) && (id.bare || bytes.Equal(id.path[2], other.path[2])) &&
		bytes.Equal(id.whole, other.whole)
}

// SameIdentity says whether two frames, each v1 or v2, carry the same event. It is exact, while
// equal fingerprints make that only very probable. A frame that [Scan] refuses is the same only as
// a frame with the same bytes. SameIdentity is safe for concurrent use.
func SameIdentity(a, b []byte) bool {
	if bytes.Equal(a, b) { // a server sends the same bytes again unless it was restarted
		return true
	}
	var fa, fb fields
	if fa.parse(a) < 0 || fb.parse(b) < 0 {
		return false
	}
	ia, lackA := fa.identify()
	ib, lackB := fb.identify()
	if lackA != "" || lackB != "" {
		return false
	}
	if ia.nameless && ib.nameless {
		ia.whole, ib.whole = fa.content(a), fb.content(b)
	}
	return ia.equal(&ib)
}

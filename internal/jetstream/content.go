package jetstream

import (
	"bytes"

	"github.com/cespare/xxhash/v2"

	"tempestd/internal/atproto"
	"tempestd/messages"
)

// Content is what a commit puts at a place: a record, told by its CID, or nothing. It is all that
// can be compared with a source that has no revs. Its strings alias the event, unless they are
// spelled with escapes.
type Content struct {
	DID, Collection, RKey []byte
	CID                   []byte // "" for a delete, and for a commit that does not tell it
	Rev                   []byte // nil for a bare commit
	Delete                bool
	TimeUS                int64 // as in Event
	Repaired              bool  // a repair has fetched it
}

// ReadContent reads an event that is a commit, stored or not, in either protocol. It returns false
// for all other events, and for bytes that are no event. It is safe for concurrent use.
func ReadContent(event []byte) (Content, bool) {
	var f fields
	if f.parse(event) < 0 {
		return Content{}, false
	}
	if f.escaped {
		f.unescape()
	}
	if f.wrapped() && f.open() != "" || string(f.kind) != "commit" {
		return Content{}, false
	}
	c := Content{DID: f.did, Collection: f.commit.collection, RKey: f.commit.rkey, CID: f.commit.textCID(), Rev: f.commit.rev,
		Delete: string(f.commit.operation) == "delete", Repaired: f.values.repair.to > 0}
	if f.witnessed != nil {
		f.witnessedUS = unixMicro(f.witnessed)
	}
	c.TimeUS = f.positionUS()
	if len(c.Rev) == 0 {
		c.Rev = nil
	}
	if c.Delete {
		c.CID = nil
	}
	return c, len(c.DID) > 0 && len(c.Collection) > 0 && len(c.RKey) > 0 && len(f.commit.operation) > 0
}

// Path returns a 64-bit hash of the place: account, collection and key.
func (c *Content) Path() uint64 {
	var h xxhash.Digest
	h.Reset()
	_, _ = h.Write(c.DID)
	_, _ = h.Write([]byte{0})
	_, _ = h.Write(c.Collection)
	_, _ = h.Write([]byte{0})
	_, _ = h.Write(c.RKey)
	return h.Sum64()
}

// SamePath says whether two commits are about the same place.
func (c *Content) SamePath(other *Content) bool {
	return bytes.Equal(c.DID, other.DID) && bytes.Equal(c.Collection, other.Collection) && bytes.Equal(c.RKey, other.RKey)
}

// Same says whether two commits put the same record at the same place. A delete puts nothing there,
// and is the same as no other commit.
func (c *Content) Same(other *Content) bool {
	return len(c.CID) > 0 && bytes.Equal(c.CID, other.CID) && c.SamePath(other)
}

// ScanRecord is [Scan] for an event of a source that has no revs: its "repair" is added later. It
// must be a commit without a rev.
func ScanRecord(event []byte, e *messages.Event) error {
	var f fields
	if i := f.parse(event); i < 0 {
		return badJSON(event, ^i)
	}
	f.values.repair = span{0, 1}
	id, lack := f.identify()
	switch {
	case lack != "":
		return badEvent(lack)
	case !id.bare:
		return badEvent("a commit without a rev is wanted")
	}
	f.fill(e, &id, event)
	return nil
}

// TimeUnknown says whether the time of a bare commit says nothing about when it happened: a delete
// was found by comparing, and only a key that is a TID tells when its record was made.
func (c *Content) TimeUnknown() bool {
	_, tid := atproto.TIDMicro(c.RKey)
	return c.Rev == nil && (c.Delete || !tid)
}

package jetsim

import (
	"encoding/base64"
	"strconv"
	"time"

	"tempestd/internal/archive/dagcbor"
	"tempestd/internal/atproto"
	"tempestd/internal/subscribe"
)

// appendV1 appends the v1 JSON of an event as a server sends it: with its seq, or without when seq
// is 0 (a legacy server). No v1 server sends sync events. They are written in the style of v1, the
// only shape that a consumer of both protocols can give them.
func (w *network) appendV1(b []byte, e *event, seq, timeUS int64) []byte {
	b = append(b, `{"did":"`...)
	b = append(b, w.did(e.account)...)
	b = append(b, `","time_us":`...)
	b = strconv.AppendInt(b, timeUS, 10)
	if seq > 0 {
		b = append(b, `,"cursor":`...)
		b = strconv.AppendInt(b, seq, 10)
	}
	if name := kindName(e.shape.kind()); e.shape.kind() != subscribe.Commit {
		b = append(b, `,"kind":"`...)
		b = append(b, name...)
		b = append(b, `","`...)
		b = append(b, name...)
		b = append(b, `":`...)
		b = w.appendMarker(b, e)
		return append(b, '}')
	}

	c := w.commitOf(e)
	spec := &w.specs[e.shape]
	b = append(b, `,"kind":"commit","commit":{"rev":"`...)
	b = appendTID(b, c.us, c.clock)
	b = append(b, `","operation":"`...)
	b = append(b, spec.operation...)
	b = append(b, `","collection":"`...)
	b = append(b, spec.collection...)
	b = append(b, `","rkey":"`...)
	b = w.appendKey(b, e, &c)
	if spec.operation == "delete" {
		return append(b, `"}}`...)
	}
	b = append(b, `","record":`...)
	bits := c.bits
	b = w.appendRecord(b, &bits, e, c.key)
	b = append(b, `,"cid":"`...)
	b = w.appendRecordCID(b, e, &c)
	return append(b, `"}}`...)
}

// appendV2 appends the v2 JSON of an event as a server sends it: an envelope around a payload with
// sorted keys. If witnessed is true, the payload ends with the member witnessedAt.
func (w *network) appendV2(b []byte, e *event, seq, timeUS int64, witnessed bool) []byte {
	kind := e.shape.kind()
	b = append(b, `{"$type":"message","payload":{"$type":"`+atproto.EventType...)
	b = append(b, kindName(kind)...)
	if kind == subscribe.Commit {
		b = w.appendV2Commit(b, e)
		b = appendV2Seq(b, seq)
	} else {
		// The marker's key sorts before "did", between "did" and "seq", or after "seq".
		did := func(b []byte) []byte { return append(append(b, `","did":"`...), w.did(e.account)...) }
		marker := func(b []byte) []byte {
			b = append(b, '"')
			b = append(b, kindName(kind)...)
			b = append(b, `":`...)
			return w.appendMarker(b, e)
		}
		switch kind {
		case subscribe.Account:
			b = marker(append(b, `",`...))
			b = append(b, `,"did":"`...)
			b = append(b, w.did(e.account)...)
			b = appendV2Seq(append(b, '"'), seq)
		case subscribe.Identity:
			b = marker(append(did(b), `",`...))
			b = appendV2Seq(b, seq)
		default:
			b = appendV2Seq(append(did(b), '"'), seq)
			b = marker(append(b, ','))
		}
	}
	b = append(b, `,"time":"`...)
	b = appendTimeUS(b, timeUS)
	if witnessed {
		b = append(b, witnessedAt...)
		b = appendTimeUS(b, timeUS)
	}
	return append(b, `"}}`...)
}

// witnessedAt is the JSON between an event's own time and the time when it was witnessed.
const witnessedAt = `","witnessedAt":"`

func appendV2Seq(b []byte, seq int64) []byte {
	return strconv.AppendInt(append(b, `,"seq":`...), seq, 10)
}

// appendV2Commit appends the members of a commit that sort before its seq.
func (w *network) appendV2Commit(b []byte, e *event) []byte {
	c := w.commitOf(e)
	spec := &w.specs[e.shape]
	if spec.operation != "delete" {
		b = append(b, `","cid":"`...)
		b = w.appendRecordCID(b, e, &c)
	}
	b = append(b, `","collection":"`...)
	b = append(b, spec.collection...)
	b = append(b, `","did":"`...)
	b = append(b, w.did(e.account)...)
	b = append(b, `","operation":"`...)
	b = append(b, spec.operation...)
	b = append(b, '"')
	if spec.operation != "delete" {
		b = append(b, `,"record":`...)
		b = w.appendRecord(b, &c.bits, e, c.key)
	}
	b = append(b, `,"rev":"`...)
	b = appendTID(b, c.us, c.clock)
	b = append(b, `","rkey":"`...)
	b = w.appendKey(b, e, &c)
	return append(b, '"')
}

// commitParts holds the values that the parts of a commit's JSON share. v1 and v2 write the parts
// in different orders.
type commitParts struct {
	us    uint64 // the time of the commit's rev
	clock uint64 // the clock identifier of the account's TIDs
	key   uint64 // the time of the record's key, in µs
	relay uint64 // the number of a relay, for the keys that name one
	bits  random // the source of the record
}

func (w *network) commitOf(e *event) commitParts {
	c := commitParts{us: w.revUS(e), clock: w.hash(saltSkew, e.account) >> 32, bits: e.bits}
	// A client makes its key before the server makes the rev. The operation's index in the key's lowest
	// bits keeps the keys of one commit distinct.
	lead := w.hash(saltLead, e.account) % 1_500_000
	if w.specs[e.shape].operation == "delete" { // of a record from before the network
		lead = 2*3600*1_000_000 + c.bits.next()%(300*24*3600*1_000_000)
	}
	c.key = c.us - lead&^(tick-1) | e.op
	if e.target > 0 {
		t := w.base(e.target)
		c.key = w.commitOf(&t).key
	}
	if e.shape == originUpdate {
		c.relay = c.bits.below(4)
	}
	return c
}

// appendKey appends the record's key.
func (w *network) appendKey(b []byte, e *event, c *commitParts) []byte {
	switch {
	case e.shape == originUpdate:
		b = append(b, w.did(e.account)...)
		b = append(b, "::did:web:relay-"...)
		b = strconv.AppendUint(b, c.relay, 10)
		return append(b, ".video.example"...)
	case w.specs[e.shape].alone:
		return append(b, "self"...)
	}
	return appendTID(b, c.key, c.clock)
}

// appendRecordCID appends the record's CID: the hash of the record in an archived network, and
// otherwise random bits of its own, because v2 writes it before the record and v1 after it.
func (w *network) appendRecordCID(b []byte, e *event, c *commitParts) []byte {
	if !w.archived {
		r := random(w.hash(saltCID, uint64(e.num)))
		return r.appendCID(b, recordCID)
	}
	var space [2048]byte
	b, _ = dagcbor.Sum(dagcbor.CodecDAGCBOR, w.appendRecordCBOR(space[:0], e, c)).AppendText(b)
	return b
}

// appendRecordCBOR appends the record as it is archived.
func (w *network) appendRecordCBOR(b []byte, e *event, c *commitParts) []byte {
	var space [2048]byte
	bits := c.bits
	record := w.appendRecord(space[:0], &bits, e, c.key)
	return appendCBOR(b, string(record))
}

// status draws the status that an account event announces; "" is an active account.
func (e *event) status(r *random) string {
	if r.below(4) > 0 {
		return ""
	}
	return [...]string{"deactivated", "takendown", statusDeleted, "suspended"}[r.below(4)]
}

// statusDeleted is the status of an account whose records are gone.
const statusDeleted = "deleted"

// appendMarker appends the object of an event that is no commit: the relay's own message.
func (w *network) appendMarker(b []byte, e *event) []byte {
	r := e.bits
	us := w.revUS(e)
	b = append(b, '{')
	status := ""
	switch e.shape.kind() {
	case subscribe.Account:
		status = e.status(&r)
		b = append(b, `"active":`...)
		b = strconv.AppendBool(b, status == "")
		b = append(b, ',')
	case subscribe.Sync: // the blocks hold the repository's new commit
		var blocks [168]byte
		for i := 0; i < len(blocks); i += 8 {
			x := r.next()
			for j := range 8 {
				blocks[i+j] = byte(x >> (8 * j))
			}
		}
		b = append(b, `"blocks":{"$bytes":"`...)
		b = base64.RawStdEncoding.AppendEncode(b, blocks[:])
		b = append(b, `"},`...)
	}
	b = append(b, `"did":"`...)
	b = append(b, w.did(e.account)...)
	switch {
	case e.shape.kind() == subscribe.Sync:
		b = append(b, `","rev":"`...)
		b = appendTID(b, us, w.hash(saltSkew, e.account)>>32)
	// Real servers send identity events with and without a handle.
	case e.shape.kind() == subscribe.Identity && r.below(2) == 0:
		b = append(b, `","handle":"`...)
		b = r.appendBase32(b, 8)
		b = append(b, ".example"...)
	}
	b = append(b, `","seq":`...)
	b = strconv.AppendInt(b, relayOrigin+e.num, 10)
	if status != "" {
		b = append(b, `,"status":"`...)
		b = append(b, status...)
		b = append(b, '"')
	}
	b = append(b, `,"time":"`...)
	b = appendTime(b, us)
	return append(b, `"}`...)
}

// appendTime appends Unix µs as RFC 3339 with milliseconds.
func appendTime(b []byte, us uint64) []byte {
	return time.UnixMicro(int64(us)).UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z")
}

// timeLayout is the layout of times in v2.
const timeLayout = "2006-01-02T15:04:05.000000Z"

// appendTimeUS appends Unix µs in the layout of v2.
func appendTimeUS(b []byte, us int64) []byte {
	return time.UnixMicro(us).UTC().AppendFormat(b, timeLayout)
}

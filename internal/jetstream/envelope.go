package jetstream

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"

	"tempestd/internal/atproto"
	"tempestd/messages"
)

// maxKind is the greatest length of a kind's name, in bytes.
const maxKind = 64

// open reads the members that a v2 payload spells in its own way: the kind, which is the fragment
// of its "$type", and the time. It returns what the payload lacks, "" for nothing.
func (f *fields) open() string {
	name := f.kind[bytes.LastIndexByte(f.kind, '#')+1:]
	if len(name) == len(f.kind) {
		name = nil
	}
	if lack := typeLack(name); lack != "" {
		return lack
	}
	if string(name) == "sync" && f.values.sync.to == 0 {
		f.syncRev, f.blocks = f.commit.rev, f.v2.blocks
	}
	f.kind = name
	if atproto.IsTime(f.seq) {
		// The number is a time: tempestd puts a time here for an event without a sequence number
		// (Entry).
		f.seq = 0
	}
	if f.timeUS = unixMicro(f.v2.time); f.timeUS == 0 {
		return `the payload's "time" must be a time of RFC 3339 after 1970`
	}
	return ""
}

// typeLack says why a payload's "$type" cannot name this kind, "" if it can.
func typeLack(kind []byte) string {
	switch string(kind) {
	// These are members that every event has in v1's shape, or that would turn it into an envelope.
	case "did", "time_us", "cursor", "kind", "payload", witnessedKey:
		return `the payload's "$type" must not name a member of every event`
	case "info":
		return `an info frame is none`
	}
	if !plainName(kind) {
		return `the payload's "$type" must be a string that ends in "#" and a kind`
	}
	return ""
}

// plainName says whether a name can be put into JSON, and into a log, unchanged.
func plainName(name []byte) bool {
	for _, c := range name {
		if !(isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'z' || c == '_' || c == '-') {
			return false
		}
	}
	return len(name) > 0 && len(name) <= maxKind
}

// appendEntry appends the event of an identified frame as it is stored: in v1's shape, and with the
// "witnessedAt" of a v2 frame as the last member.
func (f *fields) appendEntry(dst, frame []byte) []byte {
	if dst = f.appendV1(dst, frame); f.wrapped() && f.witnessedUS > 0 {
		dst = append(dst[:len(dst)-1], witnessedMember...)
		dst = append(append(dst, f.values.witnessed.of(frame)...), '}')
	}
	return f.appendRepair(dst, frame)
}

// appendRepair adds the "repair" of a v2 frame to its event in v1's shape, which ends dst.
func (f *fields) appendRepair(dst, frame []byte) []byte {
	if !f.wrapped() || f.values.repair.to == 0 {
		return dst
	}
	return append(appendMember(dst[:len(dst)-1], repairMember, frame, f.values.repair), '}')
}

// repairMember is the beginning of the "repair" in an object that has other members before it.
const repairMember = `,"` + repairKey + `":`

// witnessedMember is the beginning of an entry's last member, if the entry has a "witnessedAt".
const witnessedMember = `,"` + witnessedKey + `":`

// appendV1 appends the event of an identified frame in v1's shape.
//
// The members of a commit that v1 does not know go to the end of the commit's object. If the
// payload has no member with the name of its kind, that member is made of the rest of the payload.
func (f *fields) appendV1(dst, frame []byte) []byte {
	if !f.wrapped() {
		return append(dst, frame...)
	}
	dst = append(dst, `{"did":"`...)
	dst = append(dst, f.did...)
	dst = append(dst, `","time_us":`...)
	dst = strconv.AppendInt(dst, f.timeUS, 10)
	if f.seq > 0 {
		dst = append(dst, `,"cursor":`...)
		dst = strconv.AppendInt(dst, f.seq, 10)
	}
	dst = append(dst, `,"kind":"`...)
	dst = append(dst, f.kind...)
	dst = append(dst, `","`...)
	dst = append(dst, f.kind...)
	dst = append(dst, `":`...)
	body := span{}
	switch string(f.kind) {
	case "commit":
		return append(f.appendCommit(dst, frame), '}')
	case "identity":
		body = f.values.identity
	case "account":
		body = f.values.account
	case "sync":
		body = f.values.sync
	default:
		eachMember(frame, f.v2.from, func(key, _ []byte, value span) {
			if bytes.Equal(key, f.kind) {
				body = value
			}
		})
	}
	if body.to > 0 {
		dst = append(dst, body.of(frame)...)
		return append(dst, '}')
	}
	dst = append(dst, '{')
	dst = appendMembers(dst, frame, f.v2.from, func(key []byte) bool { return !isEnvelope(key) })
	return append(dst, "}}"...)
}

// appendCommit appends a commit's object in v1's shape.
func (f *fields) appendCommit(dst, frame []byte) []byte {
	dst = append(dst, '{')
	if f.commit.rev != nil {
		dst = append(dst, `"rev":"`...)
		dst = append(dst, f.commit.rev...)
		dst = append(dst, `",`...)
	}
	dst = append(dst, `"operation":"`...)
	dst = append(dst, f.commit.operation...)
	dst = append(dst, `","collection":"`...)
	dst = append(dst, f.commit.collection...)
	dst = append(dst, `","rkey":"`...)
	dst = append(dst, f.commit.rkey...)
	dst = append(dst, '"')
	if f.values.record.to > 0 {
		dst = append(dst, `,"record":`...)
		dst = append(dst, f.values.record.of(frame)...)
	}
	if f.values.cid.to > 0 {
		dst = append(dst, `,"cid":`...)
		dst = append(dst, f.values.cid.of(frame)...)
	}
	if f.values.more {
		dst = append(dst, ',')
		dst = appendMembers(dst, frame, f.v2.from, isUnknown)
	}
	return append(dst, '}')
}

// isEnvelope says whether v1 has a payload's member beside the object of the kind.
func isEnvelope(key []byte) bool {
	switch string(key) {
	case "$type", "did", "seq", "time", witnessedKey:
		return true
	}
	return false
}

// isUnknown says whether payloadMember does not know a payload's member.
func isUnknown(key []byte) bool {
	switch string(key) {
	case "rev", "operation", "collection", "rkey", "record", "cid", "identity", "account", "sync":
		return false
	}
	return !isEnvelope(key)
}

// appendMembers appends the wanted members of a valid object, with commas between them.
func appendMembers(dst, frame []byte, from int, wanted func(key []byte) bool) []byte {
	first := true
	eachMember(frame, from, func(key, spelled []byte, value span) {
		if !wanted(key) {
			return
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(dst, '"')
		dst = append(dst, spelled...)
		dst = append(dst, `":`...)
		dst = append(dst, value.of(frame)...)
	})
	return dst
}

// eachMember yields the members of the object that begins at i. The frame must have been parsed,
// because parsing bounds the nesting.
func eachMember(b []byte, i int, yield func(key, spelled []byte, value span)) {
	for i = skipSpace(b, i+1); b[i] != '}'; {
		if b[i] == ',' {
			i = skipSpace(b, i+1)
		}
		end, from, _ := keyEnd(b, i)
		to := valueEnd(b, from, 0)
		yield(unescape(b[i+1:end]), b[i+1:end], span{from, to})
		i = skipSpace(b, to)
	}
}

// Unwrap is [Scan] for an event that is kept in v1's shape: it appends the event of a v2 frame to
// dst in that shape, and a v1 frame as it is. The values are the upstream's own bytes. After an
// error dst is returned unchanged. Unwrap is safe for concurrent use on different dst and e.
//
//	{"did":…,"time_us":…,"cursor":<seq>,"kind":"commit",
//	 "commit":{"rev":…,"operation":…,"collection":…,"rkey":…,"record":…,"cid":…}}
//	{"did":…,"time_us":…,"cursor":<seq>,"kind":"sync","sync":{…}}
//
// "cursor" is v1's name for the sequence number. A server that speaks both protocols sends the same
// event in v1 with exactly these bytes (without the line break), except for kinds that v1 does not
// have. Members of a payload that this version does not know are kept in a commit and in an unknown
// kind, and left out elsewhere.
//
// A "witnessedAt" that is a time becomes the event's last member, spelled as it came. v1 servers
// have no such member. So the entry that is made of a v2 frame is the entry that is made of the v1
// frame, plus that member if the server sends it.
func Unwrap(dst, frame []byte, e *messages.Event) ([]byte, error) {
	var f fields
	if i := f.parse(frame); i < 0 {
		return dst, badJSON(frame, ^i)
	}
	id, lack := f.identify()
	if lack != "" {
		return dst, badEvent(lack)
	}
	dst = f.appendEntry(dst, frame)
	f.fill(e, &id, frame)
	return dst, nil
}

// control is a v2 frame that is not an event.
type control struct {
	isError       bool
	name, message string // printable, bounded
}

// control returns the info or error frame that f was parsed from; ok is false for any other frame.
func (f *fields) control(frame []byte) (c control, ok bool) {
	switch {
	case f.wrapped():
		if kind := unescape(f.kind); !bytes.HasSuffix(kind, []byte("#info")) {
			return control{}, false
		}
	case string(unescape(f.envelope)) == "error":
		c.isError = true
	default:
		return control{}, false
	}
	var said struct {
		Error, Message string
		Payload        struct{ Name, Message string }
	}
	_ = json.Unmarshal(frame, &said) // a member of the wrong type counts as missing
	c.name, c.message = said.Payload.Name, said.Payload.Message
	if c.isError {
		c.name, c.message = said.Error, said.Message
	}
	if !plainName([]byte(c.name)) {
		c.name, c.message = "", c.name+" "+c.message
	}
	c.message = printable(c.message)
	return c, true
}

// unixMicro returns the Unix µs of an RFC 3339 time after 1970, and 0 for anything else. Servers
// use one spelling only, which is read without an allocation.
func unixMicro(s []byte) int64 {
	if us, ok := fixedTime(s); ok {
		return max(us, 0)
	}
	t, err := time.Parse(time.RFC3339Nano, string(s))
	if err != nil {
		return 0
	}
	return max(t.UnixMicro(), 0)
}

// fixedTime reads the one spelling that servers use, "2026-11-22T06:07:16.582807Z".
func fixedTime(s []byte) (us int64, ok bool) {
	const form = "0000-00-00T00:00:00.000000Z"
	if len(s) != len(form) {
		return 0, false
	}
	for i := range len(form) {
		if form[i] == '0' && !isDigit(s[i]) || form[i] != '0' && form[i] != s[i] {
			return 0, false
		}
	}
	number := func(from, to int) (n int64) {
		for _, c := range s[from:to] {
			n = n*10 + int64(c-'0')
		}
		return n
	}
	day := int(number(8, 10))
	t := time.Date(int(number(0, 4)), time.Month(number(5, 7)), day, int(number(11, 13)), int(number(14, 16)), int(number(17, 19)), 0, time.UTC)
	if month := number(5, 7); month < 1 || month > 12 || t.Day() != day || number(11, 13) > 23 || number(14, 16) > 59 || number(17, 19) > 59 {
		return 0, false // no such date or time of day
	}
	return t.UnixMicro() + number(20, 26), true
}

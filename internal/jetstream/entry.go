package jetstream

import (
	"bytes"
	"slices"
	"strconv"
	"time"

	"tempestd/internal/atproto"
	"tempestd/messages"
)

// Entry reads a stream's entry for a subscriber that speaks Jetstream: an event in v1's shape, a v2
// frame that was stored as it came, or a gap entry of our own. The zero Entry is ready for Read. A
// reused Entry allocates only for strings that are spelled with escapes. It is not safe for
// concurrent use.
type Entry struct {
	event  []byte
	f      fields
	id     identity
	number int64 // the number that Renumber gave it, 0 for the upstream's own
}

// Read reads an entry. Its bytes must not change while e is used. It returns false for bytes that
// are no entry; then no other method may be called.
func (e *Entry) Read(event []byte) bool {
	e.event, e.f, e.id, e.number = event, fields{}, identity{}, 0
	if e.f.parse(event) < 0 {
		return false
	}
	if !e.f.wrapped() && string(e.f.kind) == "gap" {
		e.id.kind = messages.KindGap
		return true
	}
	var lack string
	e.id, lack = e.f.identify()
	return lack == ""
}

// Kind returns the event's kind.
func (e *Entry) Kind() messages.Kind { return e.id.kind }

// DID returns the account's DID, nil for a gap entry.
func (e *Entry) DID() []byte { return e.id.did }

// Collection returns a commit's collection, nil for any other kind.
func (e *Entry) Collection() []byte { return e.id.path[0] }

// TimeUS returns the event's position in time, Unix µs: see Scan.
func (e *Entry) TimeUS() int64 { return e.f.positionUS() }

// Seq returns the upstream's sequence number, 0 if the event has none.
func (e *Entry) Seq() int64 { return e.f.seq }

// Renumber gives the event another sequence number, at least 1. V1 and V2 then use it in place of
// the upstream's.
func (e *Entry) Renumber(n int64) { e.f.seq, e.number = n, n }

// V1 returns the event as v1 servers send it. These are the entry's own bytes, with three
// exceptions: the number that Renumber gave; the "witnessedAt" at the end of an entry that came by
// v2 (Unwrap), which is left out; and a v2 frame, which is converted to v1's shape. An exception is
// appended to buf. V1 returns buf, grown if need be.
func (e *Entry) V1(buf []byte) (event, grown []byte) {
	start := len(buf)
	if e.f.wrapped() {
		buf = e.f.appendRepair(e.f.appendV1(buf, e.event), e.event)
		return buf[start:], buf
	}
	event, grown = e.renumbered(buf, `"cursor":`, e.f.values.time.to)
	from, to := e.witness()
	if from == 0 {
		return event, grown
	}
	if e.number == 0 {
		grown = append(grown, event...)
	}
	rest := grown[len(grown)-to:]
	grown = append(grown[:len(grown)-from], rest...)
	return grown[start:], grown
}

// witness returns the member that v1 servers do not send: the "witnessedAt", if it is the last
// member but for a "repair". The result is where it begins and where it ends, counted from the end
// of the entry; both are 0 if there is nothing to leave out.
func (e *Entry) witness() (from, to int) {
	v, n := e.f.values.witnessed, len(e.event)
	if e.f.witnessedUS == 0 || !bytes.HasSuffix(e.event[:v.from], []byte(witnessedMember)) {
		return 0, 0
	}
	if repair := e.f.values.repair; v.to != n-1 && (repair.to != n-1 || v.to != repair.from-len(repairMember)) {
		return 0, 0
	}
	return n - v.from + len(witnessedMember), n - v.to
}

// renumbered returns the entry as it is stored, with the number that Renumber gave. If the entry
// has no member for the number, it gets one: behind the value that ends at index at, or, if a '{'
// is before at, as the first member of that object.
func (e *Entry) renumbered(buf []byte, key string, at int) (event, grown []byte) {
	if e.number == 0 {
		return e.event, buf
	}
	start := len(buf)
	before, after := "", ""
	where := e.f.values.number
	if where.to == 0 {
		where = span{at, at}
		if e.event[at-1] == '{' {
			before, after = key, ","
		} else {
			before = "," + key
		}
	}
	buf = append(append(buf, e.event[:where.from]...), before...)
	buf = append(strconv.AppendInt(buf, e.number, 10), after...)
	buf = append(buf, e.event[where.to:]...)
	return buf[start:], buf
}

// V2 returns the event's v2 frame: the entry's own bytes if it is a v2 frame, and otherwise the
// bytes that a server of both protocols sends for the same event, appended to buf. V2 returns buf,
// grown if need be. The frame is nil for a gap entry and for a kind that v2 cannot name.
//
// The values are the entry's own bytes, under sorted keys; "witnessedAt" is the last key if the
// entry has it. If the event has no sequence number because its server has none, its time takes
// that place: a time is a cursor too. A kind that this version does not know has its own object in
// the payload and nothing else; further members of the event itself, which no server sends, are
// left out, except "repair": it becomes a member of the envelope. A commit without a rev, which a
// repair may have stored, has none in the frame.
func (e *Entry) V2(buf []byte) (frame, grown []byte) {
	if e.f.wrapped() {
		return e.renumbered(buf, `"seq":`, e.f.v2.from+1)
	}
	if e.id.kind == messages.KindGap || e.id.kind == messages.KindUnknown && typeLack(unescape(e.f.kind)) != "" {
		return nil, buf
	}
	start := len(buf)
	buf = e.f.appendV2(buf, e.event, e.id.kind)
	if e.f.values.repair.to > 0 {
		buf = append(appendMember(buf[:len(buf)-1], repairMember, e.event, e.f.values.repair), '}')
	}
	return buf[start:], buf
}

// appendV2 appends the v2 frame of an identified event in v1's shape.
func (f *fields) appendV2(dst, event []byte, kind messages.Kind) []byte {
	dst = append(dst, atproto.EventFrame...)
	dst = append(dst, f.kind...)
	dst = append(dst, '"')
	switch kind {
	case messages.KindCommit:
		if f.values.more {
			return f.appendV2Members(dst, event, f.values.commit)
		}
		dst = appendMember(dst, `,"cid":`, event, f.values.cid)
		dst = appendText(dst, `,"collection":"`, f.commit.collection)
		dst = appendText(dst, `,"did":"`, f.did)
		dst = appendText(dst, `,"operation":"`, f.commit.operation)
		dst = appendMember(dst, `,"record":`, event, f.values.record)
		if f.commit.rev != nil {
			dst = appendText(dst, `,"rev":"`, f.commit.rev)
		}
		dst = appendText(dst, `,"rkey":"`, f.commit.rkey)
		dst = f.appendV2Seq(dst)
	case messages.KindIdentity:
		dst = appendText(dst, `,"did":"`, f.did)
		dst = appendMember(dst, `,"identity":`, event, f.values.identity)
		dst = f.appendV2Seq(dst)
	case messages.KindAccount:
		dst = appendMember(dst, `,"account":`, event, f.values.account)
		dst = appendText(dst, `,"did":"`, f.did)
		dst = f.appendV2Seq(dst)
	case messages.KindSync:
		dst = appendText(dst, `,"did":"`, f.did)
		dst = f.appendV2Seq(dst)
		dst = appendMember(dst, `,"sync":`, event, f.values.sync)
	default:
		return f.appendV2Members(dst, event, span{})
	}
	dst = append(appendTime(append(dst, `,"time":"`...), f.timeUS), '"')
	if f.witnessedUS > 0 {
		dst = appendMember(dst, witnessedMember, event, f.values.witnessed)
	}
	return append(dst, "}}"...)
}

func appendText(dst []byte, key string, spelled []byte) []byte {
	dst = append(dst, key...)
	dst = append(dst, spelled...)
	return append(dst, '"')
}

func appendMember(dst []byte, key string, event []byte, value span) []byte {
	if value.to == 0 {
		return dst
	}
	dst = append(dst, key...)
	return append(dst, value.of(event)...)
}

func (f *fields) appendV2Seq(dst []byte) []byte {
	seq := f.seq
	if seq == 0 {
		seq = f.positionUS()
	}
	return strconv.AppendInt(append(dst, `,"seq":`...), seq, 10)
}

// appendV2Members does the same as appendV2, after the "$type", for an event with members that
// servers do not send so far: the unknown members of a commit, or the member that has the name of
// an unknown kind.
func (f *fields) appendV2Members(dst, event []byte, commit span) []byte {
	type member struct{ key, value []byte }
	text := func(key string, spelled []byte) member {
		return member{[]byte(key), slices.Concat([]byte{'"'}, spelled, []byte{'"'})}
	}
	members := []member{text("did", f.did), text("time", appendTime(nil, f.timeUS)), {[]byte("seq"), f.appendV2Seq(nil)[len(`,"seq":`):]}}
	if f.witnessedUS > 0 {
		members = append(members, member{[]byte(witnessedKey), f.values.witnessed.of(event)})
	}
	if commit.to > 0 {
		members = append(members, text("collection", f.commit.collection), text("operation", f.commit.operation), text("rkey", f.commit.rkey))
		if f.commit.rev != nil {
			members = append(members, text("rev", f.commit.rev))
		}
		for _, v := range []struct {
			key   string
			value span
		}{{"cid", f.values.cid}, {"record", f.values.record}} {
			if v.value.to > 0 {
				members = append(members, member{[]byte(v.key), v.value.of(event)})
			}
		}
		eachMember(event, commit.from, func(key, spelled []byte, value span) {
			if isUnknown(key) {
				members = append(members, member{spelled, value.of(event)})
			}
		})
	} else {
		kind := unescape(f.kind)
		eachMember(event, skipSpace(event, 0), func(key, spelled []byte, value span) {
			if bytes.Equal(key, kind) && isUnknown(key) {
				members = append(members, member{spelled, value.of(event)})
			}
		})
	}
	slices.SortStableFunc(members, func(a, b member) int { return bytes.Compare(a.key, b.key) })
	for i, m := range members {
		if i+1 < len(members) && bytes.Equal(m.key, members[i+1].key) {
			continue // of a repeated key the last member counts
		}
		dst = append(dst, `,"`...)
		dst = append(dst, m.key...)
		dst = append(dst, `":`...)
		dst = append(dst, m.value...)
	}
	return append(dst, "}}"...)
}

// lastMicro is the last microsecond that RFC 3339 can express.
var lastMicro = time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC).UnixMicro()

// appendTime appends Unix µs as v2 servers write them, "2026-11-22T06:07:16.582807Z". A time after
// the year 9999 becomes the last moment of that year.
func appendTime(dst []byte, us int64) []byte {
	t := time.UnixMicro(min(us, lastMicro)).UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	dst = appendDigits(dst, year, 4)
	dst = appendDigits(append(dst, '-'), int(month), 2)
	dst = appendDigits(append(dst, '-'), day, 2)
	dst = appendDigits(append(dst, 'T'), hour, 2)
	dst = appendDigits(append(dst, ':'), minute, 2)
	dst = appendDigits(append(dst, ':'), second, 2)
	dst = appendDigits(append(dst, '.'), t.Nanosecond()/1000, 6)
	return append(dst, 'Z')
}

// appendDigits appends the last n decimal digits of v.
func appendDigits(dst []byte, v, n int) []byte {
	for range n {
		dst = append(dst, '0')
	}
	for i := len(dst) - 1; n > 0; i, n = i-1, n-1 {
		dst[i] = byte('0' + v%10)
		v /= 10
	}
	return dst
}
